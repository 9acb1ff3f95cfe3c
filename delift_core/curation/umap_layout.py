"""Coordinates of samples on the map: similar embeddings get near points.

Distances on the map are not utilities, and the axes have no meaning.
"""

import errno
import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.errors import DeliftError, ScoringError
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.jobs.progress import JobProgress
from delift_core.models.vectors import unit_rows
from delift_core.system.callbacks import Stop
from delift_core.system.files import write_whole

MAX_UMAP_POINTS = 10_000
_FEWEST_FOR_UMAP = 4
_FEWEST_FOR_SPECTRAL_START = 12
_COMPONENTS = 50
_UMAP_NEIGHBOURS = 15
_NEAREST = 5
_SCATTER = 0.3
_BLOCK_ROWS = 4_000


def map_coordinates(embeddings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Lays embeddings out in the plane with UMAP under cosine distance (McInnes, Healy and Melville 2018).

    Fewer than four points get their principal coordinates. Of more than `MAX_UMAP_POINTS` points, UMAP lays out that
    many landmarks, evenly spaced in the input order. Each other point is placed at the weighted mean of its five
    nearest landmarks (by cosine in the first 50 principal components), with a random offset against overlaps.

    Args:
        embeddings: (m, d) float32, finite.
        seed: equal seeds and inputs give equal maps on one machine.

    Returns:
        (m, 2) float32, centred on the origin.

    Raises:
        DeliftError: the array is not a matrix, or holds NaN or infinity.
    """
    if embeddings.ndim != 2:
        raise DeliftError(f"embeddings of shape {embeddings.shape} are not a matrix; give one row per sample")
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise DeliftError(
            f"{broken.size} of {len(embeddings)} embeddings hold NaN or infinity, the first at row {broken[0]}; "
            "embed these samples again or leave them out"
        )
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    if len(points) < _FEWEST_FOR_UMAP:
        coordinates = _principal(points)
    elif len(points) <= MAX_UMAP_POINTS:
        coordinates = _umap(points, seed)
    else:
        coordinates = _by_landmarks(points, seed)
    return np.asarray(coordinates - coordinates.mean(axis=0) if len(coordinates) else coordinates, dtype=np.float32)


def _principal(points: np.ndarray) -> np.ndarray:
    """(m, 2) principal coordinates, 0 where the points span fewer dimensions; signs are fixed by the largest entry."""
    plane = np.zeros((len(points), 2))
    if len(points) < 2:
        return plane
    left, lengths, _ = np.linalg.svd(points.astype(np.float64) - points.mean(axis=0), full_matrices=False)
    scores = left[:, :2] * lengths[:2]
    signs = np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])])
    plane[:, : scores.shape[1]] = scores * np.where(signs == 0, 1, signs)
    return plane


def _umap(points: np.ndarray, seed: int) -> np.ndarray:
    neighbours = min(_UMAP_NEIGHBOURS, len(points) - 1)
    with warnings.catch_warnings():
        # These warnings are about settings chosen on purpose: one thread, no search index, a disconnected graph.
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
        with threadpool_limits(limits=1):  # with more threads, the order of summation and so the map would vary
            return np.asarray(reducer.fit_transform(points))


def _by_landmarks(points: np.ndarray, seed: int) -> np.ndarray:
    """(m, 2): UMAP of the landmarks, and the other points at their nearest landmarks."""
    landmarks = np.unique(np.linspace(0, len(points) - 1, MAX_UMAP_POINTS).round().astype(np.int64))
    plane = _umap(points[landmarks], seed)  # (l, 2)
    reduced = unit_rows(_components(unit_rows(points), _COMPONENTS))  # (m, 50)
    of_landmarks = reduced[landmarks].T.copy()  # (50, l)
    placed = np.empty((len(points), 2), dtype=np.float32)
    jitter = np.random.default_rng(seed).normal(size=(len(points), 2))
    for start in range(0, len(points), _BLOCK_ROWS):
        similarity = reduced[start : start + _BLOCK_ROWS] @ of_landmarks  # (b, l)
        near = np.argpartition(-similarity, _NEAREST, axis=1)[:, :_NEAREST]  # (b, 5)
        weights = np.maximum(np.take_along_axis(similarity, near, axis=1), 1e-6).astype(np.float64) ** 4
        weights /= weights.sum(axis=1, keepdims=True)
        around = plane[near]  # (b, 5, 2)
        middle = np.einsum("bk,bkd->bd", weights, around)  # (b, 2)
        spread = np.sqrt(np.einsum("bk,bkd->bd", weights, (around - middle[:, None]) ** 2))
        placed[start : start + _BLOCK_ROWS] = middle + _SCATTER * spread * jitter[start : start + _BLOCK_ROWS]
    placed[landmarks] = plane
    return placed


def principal_coordinates(embeddings: np.ndarray) -> np.ndarray:
    """(m, 2) float32, the first two principal components under cosine distance, centred: a map at once.

    Args:
        embeddings: (m, d) float32, finite.
    """
    return _components(unit_rows(np.asarray(embeddings, dtype=np.float32)), 2)


def _components(points: np.ndarray, count: int) -> np.ndarray:
    """(m, count) float32 principal components, fitted to about `MAX_UMAP_POINTS` points; 0 where there are fewer."""
    found = np.zeros((len(points), count), dtype=np.float32)
    if len(points):
        some = points[:: max(1, len(points) // MAX_UMAP_POINTS)]
        middle = some.mean(axis=0)
        _, axes = np.linalg.eigh(((some - middle).T @ (some - middle)).astype(np.float64))
        axes = axes[:, ::-1][:, :count].astype(np.float32)  # (d, count), largest eigenvalue first
        axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
        scores = (points - middle) @ axes
        found[:, : scores.shape[1]] = scores - scores.mean(axis=0)
    return found


def _nearest(points: np.ndarray, neighbours: int) -> tuple[np.ndarray | None, ...]:
    """Exact neighbours by matrix products; UMAP's own approximate search takes a minute to compile."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        search = NearestNeighbors(n_neighbors=neighbours, metric="cosine", algorithm="brute").fit(points)
        distances, indices = search.kneighbors(points)
    return indices, distances.astype(np.float32), None


_VERSION = 1
_EMBEDDINGS = "embeddings.npy"


def kept_layout(run: ScoredRun) -> np.ndarray | None:
    """(n + t + e, 2) float32, coordinates of pool, target and existing samples, in this order; None if not made yet."""
    path = layout_path(run)
    try:
        found: np.ndarray = np.load(path)
        return found
    except (OSError, ValueError, EOFError):  # missing or damaged
        return None


def start_layout(run: ScoredRun) -> JobFolder:
    """Starts a job that lays out a run's map, unless it is at work; once it is done, `kept_layout` returns the map.

    Raises:
        ScoringError: the process cannot be started, or its input cannot be written.
    """
    out = layout_path(run)
    job = JobFolder(out.absolute().parents[3] / "maps" / f"{run.record.id}.{out.stem}", "map")  # utility/KEY/maps/FILE
    if not job.status().active:
        job.prepare({"out": str(out.absolute())})
        with job.writing():
            out.parent.mkdir(exist_ok=True)
            np.save(job.folder / _EMBEDDINGS, run.embeddings())
        job.start()
    return job


def why_no_layout(status: JobStatus) -> str:
    """Why a job of `start_layout` ended without a layout, as a clause; "" if it did not."""
    if status.state == "interrupted":  # compiled code aborts if it gets no memory
        return "its process ended unexpectedly, as it does when memory runs out"
    return status.progress.message if status.state == "failed" else ""


def layout_path(run: ScoredRun) -> Path:
    """The file of a run's layout, named by a hash of its rows."""
    digest = hashlib.sha256(f"layout {_VERSION}".encode())
    for part in (run.pool, run.target, run.existing):
        digest.update(f"\n{len(part)}\n".encode())
        digest.update("\n".join(sample.content_hash for sample in part).encode())
    return run.store.folder / "maps" / f"{digest.hexdigest()[:16]}.npy"


def work(job: JobFolder, stop: Stop) -> None:
    """Reads embeddings, removes their file, and writes the coordinates once the CPU is free.

    Raises:
        ScoringError: memory or disk space ran out.
        Stopped: `stop` answered True while the job was waiting.
    """
    try:
        points = np.load(job.folder / _EMBEDDINGS)
        (job.folder / _EMBEDDINGS).unlink()
        with job.wait_for_device("cpu", stop):
            job.write_progress(JobProgress("laying out"))
            buffer = io.BytesIO()
            np.save(buffer, map_coordinates(points))
            write_whole(Path(job.read("request.json")["out"]), buffer.getvalue())
    except MemoryError as error:
        raise ScoringError("it ran out of memory") from error
    except ImportError as error:  # also raised for a library that does not fit into memory
        if not any(words in str(error) for words in ("failed to map segment", os.strerror(errno.ENOMEM))):
            raise
        raise ScoringError("it ran out of memory") from error
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.ENOSPC):
            raise
        why = "it ran out of memory" if error.errno == errno.ENOMEM else "the disk is full"
        raise ScoringError(why) from error
    job.write_progress(JobProgress("done"))
