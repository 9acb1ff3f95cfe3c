"""The utilities of a budgeted run, assembled once and stored: for 100,000 rows, reading and fitting take minutes.

    <context key>/assembled/<key>.npz       the arrays of `Utilities`, in one metric
    <context key>/assembled/<key>.fit.npz   the fit of the pool's estimates, for the error bars of selections

The key depends on the plan of pairs, so that a run with more pairs has another file.
"""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import ScoringError
from delift_core.samples import Sample
from delift_core.scoring.estimation.partial_matrix import (
    Fit,
    HeldOutErrors,
    PartialMatrix,
    expand_repeats,
    pair_utilities,
    read_matrix,
)
from delift_core.scoring.estimation.run_plan import (
    MatrixName,
    PlanFile,
    SampleText,
    UniqueSamples,
    matrix_plans,
    write_arrays,
)
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.metrics import Metric
from delift_core.scoring.pair_spec import PairBudget
from delift_core.scoring.store import PairStore
from delift_core.selection.kernels import Kernel
from delift_core.system.processes import garbage_collection_paused

VERSION = 2  # raise it when the same pairs give other numbers
_MATRICES = ("pool", "target", "existing", "estimated")
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Utilities:
    """The utilities of a finished run in one metric; row i is helped, column j helps.

    Matrices are dense if every pair was scored, else csr_arrays of the scored pairs, sorted, with explicit zeros.
    Measured and estimated values are never in one matrix.
    """

    pool: Kernel  # (n, n) float32; the diagonal is NaN if dense, absent if sparse
    diagonal: np.ndarray  # (n,) float32, each sample with itself as example
    target: Kernel | None  # (t, n) float32, target rows helped by pool columns; None without a target
    existing: Kernel | None  # (n, e) float32, pool rows helped by existing columns; None without existing samples
    # (n, n) float32, estimates of the pool pairs that were not scored: all, or for a large pool the largest of each
    # row; None if every pair was scored.
    estimated: csr_array | None = None


class UtilitiesFile:
    """The utilities of a run in one metric, and beside them the fit of its pool matrix."""

    def __init__(self, store_folder: Path, plan: Path, pool: tuple[str, ...], metric: Metric) -> None:
        """Args:
        store_folder: of the run's scoring context.
        plan: the run's plan file.
        pool: content hashes of the pool's samples, with repeats.
        """
        digest = hashlib.sha256(f"{VERSION} {metric} {plan.stem}\n".encode())
        digest.update(plan.read_bytes() if plan.exists() else b"")
        digest.update("\n".join(pool).encode())
        self.path = store_folder / "assembled" / f"{digest.hexdigest()[:16]}.npz"
        self.fit_path = self.path.with_suffix(".fit.npz")

    def read(self) -> Utilities | None:
        """The stored utilities; None if there are none or the file is damaged."""
        try:
            with self.path.open("rb") as stream, np.load(stream) as arrays:
                matrices = {name: _matrix(arrays, name) for name in _MATRICES}
                pool, estimated = matrices["pool"], matrices["estimated"]
                if pool is None or isinstance(estimated, np.ndarray):
                    return None
                return Utilities(pool, arrays["diagonal"], matrices["target"], matrices["existing"], estimated)
        except _DAMAGED:
            return None

    def write(self, utilities: Utilities) -> None:
        """Stores utilities.

        Raises:
            OSError: the disk is full or the folder is not writable.
        """
        arrays = {"diagonal": utilities.diagonal}
        for name in _MATRICES:
            matrix: Kernel | None = getattr(utilities, name)
            if isinstance(matrix, csr_array):
                arrays |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
                arrays[f"{name}.shape"] = np.array(matrix.shape)
            elif matrix is not None:
                arrays[name] = matrix
        write_arrays(self.path, arrays)

    def read_fit(self, pairs: int) -> Fit | None:
        """The stored fit; None if there is none, it is damaged, or it has another number of pairs."""
        try:
            with self.fit_path.open("rb") as stream, np.load(stream) as arrays:
                errors = HeldOutErrors(arrays["rows"].astype(np.int64), arrays["errors"], arrays["likeness"])
                fit = Fit(arrays["weights"], errors)
        except _DAMAGED:
            return None
        return fit if fit.weights.shape == (pairs,) else None

    def write_fit(self, fit: Fit) -> None:
        """Stores a fit; raises as `write`."""
        errors = fit.held_out_errors
        arrays = {"weights": fit.weights, "rows": errors.rows.astype(np.int32), "errors": errors.errors}
        write_arrays(self.fit_path, arrays | {"likeness": errors.similarity})


def _matrix(arrays: "np.lib.npyio.NpzFile", name: str) -> Kernel | None:
    if name in arrays.files:
        dense: np.ndarray = arrays[name]
        return dense
    if f"{name}.shape" not in arrays.files:
        return None
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_array((data, indices, indptr), shape=tuple(arrays[f"{name}.shape"].tolist()))


@dataclass(frozen=True, slots=True)
class BudgetedPairs:
    """The results of a budgeted run on disk."""

    store: PairStore
    names: RunSamples  # content hashes of the scored samples, with repeats
    budget: PairBudget

    def read(self, metric: Metric) -> Utilities | None:
        """The stored utilities; None if there are none or the file is damaged."""
        return self._file(metric).read()

    def write(self, utilities: Utilities, metric: Metric) -> None:
        """Stores utilities; raises as `UtilitiesFile.write`."""
        self._file(metric).write(utilities)

    def files(self) -> set[Path]:
        """The files of the plan, utilities and fits, existing or not."""
        plan = PlanFile(self.store.folder, UniqueSamples.of(self.names), self.budget)
        files = [self._file(metric) for metric in get_args(Metric)]
        return {plan.path, *(path for one in files for path in (one.path, one.fit_path))}

    def matrices(self, texts: Mapping[str, SampleText], metric: Metric) -> dict[MatrixName, PartialMatrix]:
        """The matrices of the unique samples.

        Args:
            texts: of every sample, by content hash.

        Raises:
            ScoringError: the plan or a block is missing or damaged; the run has to be continued.
        """
        samples = UniqueSamples.of(self.names)
        rounds = PlanFile(self.store.folder, samples, self.budget).read()
        plans = matrix_plans(samples, self.budget, texts, self.store)
        if set(rounds) != set(plans):
            raise ScoringError("its plan of pairs is missing or damaged on disk; continue the run")
        matrices = {
            name: read_matrix(self.store, samples, name, plan, rounds[name], metric) for name, plan in plans.items()
        }
        fit = self._file(metric).read_fit(len(matrices["pool"].fitted.values))
        return matrices | {"pool": replace(matrices["pool"], stored_fit=fit)}

    def assemble(self, texts: Mapping[str, SampleText], metric: Metric) -> Utilities | None:
        """Computes the utilities, and stores them and the fit if the disk has room; None if every pair was scored, and
        a dense matrix is better.

        Raises:
            ScoringError: as `matrices`.
        """
        matrices = self.matrices(texts, metric)
        if all(matrix.complete for matrix in matrices.values()):
            return None
        utilities = self._utilities(matrices, metric)
        with suppress(OSError):  # without room on the disk they are computed again the next time
            self.write(utilities, metric)
            if matrices["pool"].check is not None:  # else there is no error bar
                self._file(metric).write_fit(matrices["pool"].fit)
        return utilities

    def _utilities(self, matrices: Mapping[MatrixName, PartialMatrix], metric: Metric) -> Utilities:
        names, samples = self.names, UniqueSamples.of(self.names)
        own = np.arange(len(samples.pool))
        diagonal = pair_utilities(self.store, samples.pool, samples.pool, own, own, metric)
        if np.isnan(diagonal).any():
            raise ScoringError("pairs are missing or damaged on disk; continue the run")
        at_pool = positions_in(names.pool, samples.pool)
        at_target = positions_in(names.target, samples.target)
        at_existing = positions_in(names.existing, samples.existing)
        return Utilities(
            expand_repeats(matrices["pool"].measured(), at_pool, at_pool, diagonal),
            diagonal[at_pool],
            expand_repeats(matrices["target"].measured(), at_target, at_pool) if "target" in matrices else None,
            expand_repeats(matrices["existing"].measured(), at_pool, at_existing) if "existing" in matrices else None,
            expand_repeats(matrices["pool"].estimated(), at_pool, at_pool),
        )

    def _file(self, metric: Metric) -> UtilitiesFile:
        plan = PlanFile(self.store.folder, UniqueSamples.of(self.names), self.budget)
        return UtilitiesFile(self.store.folder, plan.path, self.names.pool, metric)


def positions_in(names: tuple[str, ...], unique: tuple[str, ...]) -> np.ndarray:
    """(n,) int64, the position of each name in the unique names."""
    position_of = {name: position for position, name in enumerate(unique)}
    return np.asarray([position_of[name] for name in names], dtype=np.int64)


def record_codes(pool: Sequence[Sample]) -> np.ndarray | None:
    """(n,) int64, equal for samples of the same record; None if every sample is a record of its own."""
    code_of: dict[tuple[str, int], int] = {}
    with garbage_collection_paused():
        codes = [code_of.setdefault((sample.source, sample.line), len(code_of)) for sample in pool]
    return None if len(code_of) == len(pool) else np.array(codes, dtype=np.int64)


def without_same_record(matrix: np.ndarray | csr_array, records: np.ndarray) -> np.ndarray | csr_array:
    """A pool matrix (n, n) with 0 for pairs of different turns of one record. The diagonal does not change, nor which
    entries a sparse matrix has.

    Args:
        records: from `record_codes`.
    """
    if isinstance(matrix, csr_array):
        rows = np.repeat(np.arange(len(records)), np.diff(matrix.indptr))
        columns = matrix.indices
        data = np.where((records[rows] == records[columns]) & (rows != columns), np.float32(0), matrix.data)
        return csr_array((data, columns, matrix.indptr), shape=matrix.shape)
    result = matrix.copy()
    order = np.argsort(records, kind="stable")
    for turns in np.split(order, np.flatnonzero(np.diff(records[order])) + 1):
        if len(turns) > 1:
            result[np.ix_(turns, turns)] = 0.0
            result[turns, turns] = matrix[turns, turns]
    return result
