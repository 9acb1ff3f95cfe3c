"""The utilities of a run on a budget: put together from its blocks, by whoever needs them first, and kept in a file.

The worker does so when it has scored the last pair, so that the first look at 100,000 rows does not wait for the fit.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import ScoringError
from delift_core.jobs.assembled import AssembledFile, FitFile
from delift_core.selection.kernels import Kernel
from delift_core.utility.metrics import Metric
from delift_core.utility.pairs import PairBudget
from delift_core.utility.partial import PartialMatrix, read_partial, spread_out
from delift_core.utility.parts import Texts, parts_to_plan
from delift_core.utility.plan import RunSamples
from delift_core.utility.planned import PartName, PlanFile, UniqueSamples
from delift_core.utility.reading import chosen_utilities
from delift_core.utility.store import PairStore


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
