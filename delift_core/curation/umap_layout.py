"""Where samples stand on the map: two coordinates per embedding, such that alike samples stand close.

Distances on the map are not utilities and the axes mean nothing. The module knows embeddings only, neither samples
nor how they were embedded.
"""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.errors import DeliftError
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.system.files import write_whole

MOST_BY_UMAP = 10_000
_FEWEST_FOR_UMAP = 4
_FEWEST_FOR_SPECTRAL_START = 12
_COMPONENTS = 50
_NEAREST = 5
_SCATTER = 0.3
_BLOCK_ROWS = 4_000


def map_coordinates(embeddings: np.ndarray, *, seed: int = 0, neighbours: int = 15) -> np.ndarray:
    """Lays embeddings out in the plane with UMAP under cosine distance (McInnes, Healy and Melville 2018).

    Fewer than four points have no neighbourhood structure to keep: they get their principal coordinates. Of more than
    `MOST_BY_UMAP` points, UMAP lays out that many, evenly spaced in their order; each other point stands among the five
    of these that are nearest to it by cosine in the first 50 principal components, weighted by their nearness, a
    little beside their mean so that points do not hide each other.

    Args:
        embeddings: (m, d) float32, finite.
        seed: equal seeds and inputs give equal maps on one machine.
        neighbours: how many neighbours count as near, >= 2; lowered to m - 1 for a small m.

    Returns:
        (m, 2) float32, centred on the origin.

    Raises:
        DeliftError: the array is not a matrix, holds NaN or infinity, or `neighbours` is below 2.
    """
    if embeddings.ndim != 2:
        raise DeliftError(f"embeddings of shape {embeddings.shape} are not a matrix; give one row per sample")
    if neighbours < 2:
        raise DeliftError(f"a map with {neighbours} neighbours has no structure; choose at least 2")
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise DeliftError(
            f"{broken.size} of {len(embeddings)} embeddings hold NaN or infinity, the first at row {broken[0]}; "
            "embed these samples again or leave them out"
        )
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    if len(points) < _FEWEST_FOR_UMAP:
        coordinates = _principal(points)
    elif len(points) <= MOST_BY_UMAP:
        coordinates = _umap(points, seed, min(neighbours, len(points) - 1))
    else:
        coordinates = _by_landmarks(points, seed, neighbours)
    return np.asarray(coordinates - coordinates.mean(axis=0) if len(coordinates) else coordinates, dtype=np.float32)


def _principal(points: np.ndarray) -> np.ndarray:
    """The first two principal coordinates, 0 where the points span fewer, signs fixed by the largest entry."""
    plane = np.zeros((len(points), 2))
    if len(points) < 2:
        return plane
    left, lengths, _ = np.linalg.svd(points.astype(np.float64) - points.mean(axis=0), full_matrices=False)
    scores = left[:, :2] * lengths[:2]
    signs = np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])])
    plane[:, : scores.shape[1]] = scores * np.where(signs == 0, 1, signs)
    return plane


def _umap(points: np.ndarray, seed: int, neighbours: int) -> np.ndarray:
    with warnings.catch_warnings():
        # Of our own settings: one thread for a repeatable map, no later additions to it, loose ends allowed.
        for known in ("overridden to 1 by setting random_state", "knn_search_index", "not fully connected"):
            warnings.filterwarnings("ignore", message=f".*{known}", category=UserWarning)
        import umap
        from threadpoolctl import threadpool_limits

        reducer = umap.UMAP(
            n_components=2,
            n_neighbors=neighbours,
            metric="cosine",
            min_dist=0.1,
            init="spectral" if len(points) >= _FEWEST_FOR_SPECTRAL_START else "random",
            random_state=seed,
            n_jobs=1,
            precomputed_knn=_nearest(points, neighbours),
        )
        with threadpool_limits(limits=1):  # sums in another order would give another map on another number of threads
            return np.asarray(reducer.fit_transform(points))


def _by_landmarks(points: np.ndarray, seed: int, neighbours: int) -> np.ndarray:
    """UMAP of some points, and the others among those that they are most alike."""
    landmarks = np.unique(np.linspace(0, len(points) - 1, MOST_BY_UMAP).round().astype(np.int64))
    plane = _umap(points[landmarks], seed, neighbours)
    reduced = _unit(_components(_unit(points), _COMPONENTS))
    known = reduced[landmarks].T.copy()
    placed = np.empty((len(points), 2), dtype=np.float32)
    jitter = np.random.default_rng(seed).normal(size=(len(points), 2))
    for start in range(0, len(points), _BLOCK_ROWS):
        likeness = reduced[start : start + _BLOCK_ROWS] @ known
        near = np.argpartition(-likeness, _NEAREST, axis=1)[:, :_NEAREST]
        weights = np.maximum(np.take_along_axis(likeness, near, axis=1), 1e-6).astype(np.float64) ** 4
        weights /= weights.sum(axis=1, keepdims=True)
        around = plane[near]  # (block, 5, 2)
        middle = np.einsum("bk,bkd->bd", weights, around)
        spread = np.sqrt(np.einsum("bk,bkd->bd", weights, (around - middle[:, None]) ** 2))
        placed[start : start + _BLOCK_ROWS] = middle + _SCATTER * spread * jitter[start : start + _BLOCK_ROWS]
    placed[landmarks] = plane
    return placed


def principal_coordinates(embeddings: np.ndarray) -> np.ndarray:
    """(m, 2) float32, the first two principal components under cosine distance, centred: a map without waiting.

    Args:
        embeddings: (m, d) float32, finite.
    """
    return _components(_unit(np.asarray(embeddings, dtype=np.float32)), 2)


def _unit(points: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    scaled: np.ndarray = points / np.where(lengths > 0, lengths, 1)
    return scaled


def _components(points: np.ndarray, count: int) -> np.ndarray:
    """(m, count) float32 principal components, found from at most `MOST_BY_UMAP` points; 0 where there are fewer."""
    found = np.zeros((len(points), count), dtype=np.float32)
    if len(points):
        some = points[:: max(1, len(points) // MOST_BY_UMAP)]
        middle = some.mean(axis=0)
        _, axes = np.linalg.eigh(((some - middle).T @ (some - middle)).astype(np.float64))
        axes = axes[:, ::-1][:, :count].astype(np.float32)
        axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
        scores = (points - middle) @ axes
        found[:, : scores.shape[1]] = scores - scores.mean(axis=0)
    return found


def _exact_neighbours(points: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray, None]:
    """Neighbours by matrix products: exact, and spares the approximate search, whose compilation takes a minute."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours, metric="cosine", algorithm="brute").fit(points)
    distances, indices = search.kneighbors(points)
    return indices, distances.astype(np.float32), None


def _nearest(points: np.ndarray, neighbours: int) -> tuple[np.ndarray | None, ...]:
    """The exact neighbours, on one thread for the same reason as above."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return _exact_neighbours(points, neighbours)


_VERSION = 1
_NICENESS = 10


def kept_layout(run: ScoredRun) -> np.ndarray | None:
    """(n + t + e, 2) float32 coordinates of pool, target and existing samples, in this order; None where not made."""
    path = layout_path(run)
    try:
        found: np.ndarray = np.load(path)
        return found
    except (OSError, ValueError, EOFError):  # not there, or not what was written: it is made again
        return None


def start_layout(run: ScoredRun) -> subprocess.Popen[bytes]:
    """Begins to lay out a run's map; `kept_layout` has it once the process has ended well.

    Raises:
        OSError: the process or its input cannot be made.
    """
    out = layout_path(run)
    out.parent.mkdir(exist_ok=True)
    handle, embeddings = tempfile.mkstemp(prefix=".", suffix=".npy", dir=out.parent)
    with os.fdopen(handle, "wb") as stream:
        np.save(stream, run.embeddings())
    return subprocess.Popen(  # noqa: S603  # this Python, this package, files that we made
        [sys.executable, "-m", "delift_core.curation.umap_layout", embeddings, str(out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def why_no_layout(code: int) -> str:
    """Why a process that `start_layout` began made no layout, by its exit code (other than 0), as a clause."""
    if code in (errno.ENOMEM, -signal.SIGABRT):  # compiled code aborts where it gets no memory
        return "it ran out of memory"
    if code == -signal.SIGKILL:
        return "the system ended it, as it does when memory runs out"
    if code == errno.ENOSPC:
        return "the disk is full"
    return f"its process ended with code {code}"


def layout_path(run: ScoredRun) -> Path:
    """Where a run's layout lies once it is made; other rows, another file."""
    digest = hashlib.sha256(f"layout {_VERSION}".encode())
    for part in (run.pool, run.target, run.existing):
        digest.update(f"\n{len(part)}\n".encode())
        digest.update("\n".join(sample.content_hash for sample in part).encode())
    return run.store.folder / "maps" / f"{digest.hexdigest()[:16]}.npy"


def main(embeddings: Path, out: Path) -> int:
    """Reads embeddings, removes their file, and at its turn writes the coordinates; returns the exit code."""
    workspace = out.absolute().parents[3]  # utility/KEY/maps/FILE
    try:
        points = np.load(embeddings)
        embeddings.unlink()
        with wait_for_device(Ticket("a map", str(workspace), time.time_ns()), "cpu"):
            buffer = io.BytesIO()
            np.save(buffer, map_coordinates(points))
            write_whole(out, buffer.getvalue())
    except MemoryError:
        return errno.ENOMEM
    except ImportError as error:  # a library that does not fit into memory is one that cannot be imported
        if not any(words in str(error) for words in ("failed to map segment", os.strerror(errno.ENOMEM))):
            raise
        return errno.ENOMEM
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.ENOSPC):
            raise
        return error.errno
    return 0


if __name__ == "__main__":
    os.nice(_NICENESS)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
