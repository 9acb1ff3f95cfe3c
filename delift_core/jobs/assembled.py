"""The utilities of a run on a budget, put together once and kept: of 100,000 rows their reading and the fitting of
estimates take minutes, and neither changes once the run is done.

    <context key>/assembled/<key>.npz       the arrays of `Utilities`, in one metric
    <context key>/assembled/<key>.fit.npz   the fit of the pool's estimates, from which a selection's error bar follows

The key holds the plan of the pairs, so that a run which scored more has another file.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from delift_core.files import write_whole
from delift_core.selection.kernels import Kernel
from delift_core.utility.metrics import Metric
from delift_core.utility.partial import Fit, Misses

VERSION = 2  # of what is computed; raise it when the same pairs would give other numbers
_MATRICES = ("pool", "target", "existing", "estimated")

Assembled = tuple[Kernel, np.ndarray, Kernel | None, Kernel | None, csr_array | None]
"""Pool, diagonal, target, existing and estimated, see `Utilities`."""


class AssembledFile:
    """One run's utilities in one metric."""

    def __init__(self, store_folder: Path, plan: Path, pool: tuple[str, ...], metric: Metric) -> None:
        """Args:
        store_folder: of the run's scoring context.
        plan: the file that names the run's pairs and samples without repeats.
        pool: content hashes of the pool's samples, with repeats.
        """
        digest = hashlib.sha256(f"{VERSION} {metric} {plan.stem}\n".encode())
        digest.update(plan.read_bytes() if plan.exists() else b"")
        digest.update("\n".join(pool).encode())
        self.path = store_folder / "assembled" / f"{digest.hexdigest()[:16]}.npz"

    def read(self) -> Assembled | None:
        """What was kept; None where nothing was, or it is damaged."""
        try:
            with self.path.open("rb") as stream, np.load(stream) as arrays:  # a damaged file is closed too
                matrices = {name: _matrix(arrays, name) for name in _MATRICES}
                pool, estimated = matrices["pool"], matrices["estimated"]
                if pool is None or isinstance(estimated, np.ndarray):
                    return None
                return pool, arrays["diagonal"], matrices["target"], matrices["existing"], estimated
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, parts: Assembled) -> None:
        """Keeps them, in place of what was kept.

        Raises:
            OSError: the disk is full or the folder may not be written to.
        """
        pool, diagonal, target, existing, estimated = parts
        arrays = {"diagonal": diagonal}
        for name, matrix in zip(_MATRICES, (pool, target, existing, estimated), strict=True):
            if isinstance(matrix, csr_array):
                arrays |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
                arrays[f"{name}.shape"] = np.array(matrix.shape)
            elif matrix is not None:
                arrays[name] = matrix
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        self.path.parent.mkdir(exist_ok=True)
        write_whole(self.path, buffer.getvalue())


class FitFile:
    """The fit of one run's pool in one metric, beside its utilities."""

    def __init__(self, assembled: AssembledFile) -> None:
        self.path = assembled.path.with_suffix(".fit.npz")

    def read(self, pairs: int) -> Fit | None:
        """What was kept; None where nothing was, it is damaged, or not of as many pairs."""
        try:
            with self.path.open("rb") as stream, np.load(stream) as arrays:
                misses = Misses(arrays["rows"].astype(np.int64), arrays["errors"], arrays["likeness"])
                fit = Fit(arrays["weights"], misses)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return fit if fit.weights.shape == (pairs,) else None

    def write(self, fit: Fit) -> None:
        """Keeps it, in place of what was kept.

        Raises:
            OSError: the disk is full or the folder may not be written to.
        """
        misses, buffer = fit.misses, io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            weights=fit.weights,
            rows=misses.rows.astype(np.int32),
            errors=misses.errors,
            likeness=misses.likeness,
        )
        self.path.parent.mkdir(exist_ok=True)
        write_whole(self.path, buffer.getvalue())


def _matrix(arrays: "np.lib.npyio.NpzFile", name: str) -> Kernel | None:
    if name in arrays.files:
        dense: np.ndarray = arrays[name]
        return dense
    if f"{name}.shape" not in arrays.files:
        return None
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_array((data, indices, indptr), shape=tuple(arrays[f"{name}.shape"].tolist()))
