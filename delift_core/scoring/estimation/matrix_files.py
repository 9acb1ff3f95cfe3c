"""The utilities of a run on a budget, put together once and kept: of 100,000 rows their reading and the fitting of
estimates take minutes, and neither changes once the run is done.

    <context key>/assembled/<key>.npz       the arrays of `Utilities`, in one metric
    <context key>/assembled/<key>.fit.npz   the fit of the pool's estimates, from which a selection's error bar follows

The key holds the plan of the pairs, so that a run which scored more has another file.
"""

import hashlib
import io
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
    Misses,
    PartialMatrix,
    chosen_utilities,
    read_partial,
    spread_out,
)
from delift_core.scoring.estimation.plan_file import PartName, PlanFile, Texts, UniqueSamples, parts_to_plan
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.metrics import Metric
from delift_core.scoring.pair_spec import PairBudget
from delift_core.scoring.store import PairStore
from delift_core.selection.kernels import Kernel
from delift_core.system.files import write_whole
from delift_core.system.processes import garbage_collection_paused

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


@dataclass(frozen=True, slots=True)
class Utilities:
    """What selection needs of a finished run, in one metric; row i is helped, column j helps.

    Matrices are dense when every pair was scored, and else csr_arrays that hold the scored pairs (sorted; an entry is a
    value, also when it is 0). Measured and estimated values are never in one matrix.

    Attributes:
        pool: (n, n) float32; dense, NaN on the diagonal, or sparse, without it.
        diagonal: (n,) float32, each sample with itself as example.
        target: (t, n) float32, target rows helped by pool columns; None without a target.
        existing: (n, e) float32, pool rows helped by existing columns; None without existing samples.
        estimated: (n, n) float32, estimates of pool pairs that were not scored: all of them, or of a large pool the
            largest of each row; None when every pair was scored.
    """

    pool: Kernel
    diagonal: np.ndarray
    target: Kernel | None
    existing: Kernel | None
    estimated: csr_array | None = None


@dataclass(frozen=True, slots=True)
class BudgetedPairs:
    """Where the pairs of a run on a budget lie.

    Attributes:
        names: the samples that were scored, with repeats.
    """

    store: PairStore
    names: RunSamples
    budget: PairBudget

    def kept(self, metric: Metric) -> Utilities | None:
        """What was put together before; None where nothing was, or it is damaged."""
        found = self._file(metric).read()
        return Utilities(*found) if found is not None else None

    def keep(self, made: Utilities, metric: Metric) -> None:
        """Keeps utilities, so that they are read the next time.

        Raises:
            OSError: the disk is full or the folder may not be written to.
        """
        self._file(metric).write((made.pool, made.diagonal, made.target, made.existing, made.estimated))

    def files(self) -> set[Path]:
        """The plan, and the utilities in each metric, where they lie or would."""
        plan = PlanFile(self.store.folder, UniqueSamples.of(self.names), self.budget)
        made = [self._file(metric) for metric in get_args(Metric)]
        return {plan.path, *(one.path for one in made), *(FitFile(one).path for one in made)}

    def parts(self, texts: Mapping[str, Texts], metric: Metric) -> dict[PartName, PartialMatrix]:
        """The matrices, of samples without repeats.

        Args:
            texts: of every sample, by content hash.

        Raises:
            ScoringError: the plan or a block is missing; the run has to be continued.
        """
        samples = UniqueSamples.of(self.names)
        rounds = PlanFile(self.store.folder, samples, self.budget).read()
        parts = parts_to_plan(samples, self.budget, texts, self.store)
        if set(rounds) != set(parts):
            raise ScoringError("its plan of pairs is missing or damaged on disk; continue the run")
        read = {
            name: read_partial(self.store, samples, name, part, rounds[name], metric) for name, part in parts.items()
        }
        kept = FitFile(self._file(metric)).read(len(read["pool"].fitted.values))
        return read | {"pool": replace(read["pool"], kept=kept)}

    def put_together(self, texts: Mapping[str, Texts], metric: Metric) -> Utilities | None:
        """Utilities from the blocks, kept with the fit where there is room; None where no pair is missing, and so a
        dense matrix says it better.

        Raises:
            ScoringError: as `parts`.
        """
        parts = self.parts(texts, metric)
        if all(part.complete for part in parts.values()):
            return None
        made = self._of(parts, metric)
        with suppress(OSError):  # no room to keep them: they are put together again the next time
            self.keep(made, metric)
            if parts["pool"].check is not None:  # else there is no error bar
                FitFile(self._file(metric)).write(parts["pool"].fit)
        return made

    def _of(self, parts: Mapping[PartName, PartialMatrix], metric: Metric) -> Utilities:
        names, samples = self.names, UniqueSamples.of(self.names)
        own = np.arange(len(samples.pool))
        diagonal = chosen_utilities(self.store, samples.pool, samples.pool, own, own, metric)
        if np.isnan(diagonal).any():
            raise ScoringError("pairs are missing or damaged on disk; continue the run")
        at_pool = places(names.pool, samples.pool)
        at_target, at_existing = places(names.target, samples.target), places(names.existing, samples.existing)
        return Utilities(
            spread_out(parts["pool"].measured(), at_pool, at_pool, diagonal),
            diagonal[at_pool],
            spread_out(parts["target"].measured(), at_target, at_pool) if "target" in parts else None,
            spread_out(parts["existing"].measured(), at_pool, at_existing) if "existing" in parts else None,
            spread_out(parts["pool"].estimated(), at_pool, at_pool),
        )

    def _file(self, metric: Metric) -> AssembledFile:
        plan = PlanFile(self.store.folder, UniqueSamples.of(self.names), self.budget)
        return AssembledFile(self.store.folder, plan.path, self.names.pool, metric)


def places(names: tuple[str, ...], unique: tuple[str, ...]) -> np.ndarray:
    """(n,) int64: where each name stands among the names without repeats."""
    place = {name: position for position, name in enumerate(unique)}
    return np.asarray([place[name] for name in names], dtype=np.int64)


def records_of(pool: Sequence[Sample]) -> np.ndarray | None:
    """(n,) int64, which record each sample is of; None where every sample is a record."""
    code_of: dict[tuple[str, int], int] = {}
    with garbage_collection_paused():
        codes = [code_of.setdefault((sample.source, sample.line), len(code_of)) for sample in pool]
    return None if len(code_of) == len(pool) else np.array(codes, dtype=np.int64)


def without_own_turns(matrix: np.ndarray | csr_array, records: np.ndarray) -> np.ndarray | csr_array:
    """A pool matrix (n, n) with 0 for different turns of one record; the diagonal and which entries there are stay.

    Args:
        records: from `records_of`.
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
