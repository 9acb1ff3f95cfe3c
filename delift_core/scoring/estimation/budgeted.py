"""A scoring run with a budget of pairs: rounds of choosing and scoring, each based on the results so far.

It can stop and continue like a run of all pairs. Chosen pairs are in the plan file before they are scored, scored pairs
in the store (but for the last seconds before a kill), and equal samples and budgets lead to equal pairs.
"""

import time
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from delift_core.models.encoded import EncodedSample
from delift_core.models.prompts import WholePairs
from delift_core.scoring.estimation.pair_choice import (
    MatrixPlan,
    Measured,
    Round,
    next_round,
    opening_rounds,
    pair_keys,
)
from delift_core.scoring.estimation.partial_matrix import pair_utilities
from delift_core.scoring.estimation.run_plan import (
    PLANNING_SEED,
    MatrixName,
    PlanFile,
    Rounds,
    SampleText,
    UniqueSamples,
    matrix_plans,
)
from delift_core.scoring.forecast import (
    PAIRS_PER_VISIT,
    PairPlan,
    RunCost,
    RunSamples,
    budgeted_pair_tokens,
    group_missing,
    work_tokens,
)
from delift_core.scoring.metrics import Metric
from delift_core.scoring.pair_spec import PairBudget, count_pairs
from delift_core.scoring.scoring_run import Backend, Report, ScoringProgress, ScoringRun
from delift_core.scoring.store import PairStore
from delift_core.system.callbacks import Stop, never

PLANNING_METRIC: Metric = "euclidean"
"""The metric whose large entries are searched for; the scored pairs serve every metric."""

# Its numbers, its row's name, and its share of the example's name.
_DISK_BYTES_PER_PAIR = 16 + 65 + 65 // PAIRS_PER_VISIT
# Features, and as many numbers each in the model, its estimates and the search.
_PLANNING_BYTES_PER_SAMPLE = 160 * 4 * 8


def read_measured(store: PairStore, samples: UniqueSamples, name: MatrixName, rounds: tuple[Round, ...]) -> Measured:
    """The scored pairs of some rounds of a matrix, in the planning metric."""
    rows = np.concatenate([one.rows for one in rounds])
    columns = np.concatenate([one.columns for one in rounds])
    values = pair_utilities(store, samples.rows(name), samples.columns(name), rows, columns, PLANNING_METRIC)
    return Measured(rows, columns, values.astype(np.float64))


class BudgetedRun:
    """A run with a budget of pairs; the counterpart of `ScoringRun`."""

    def __init__(
        self,
        backend: Backend,
        encoded: Mapping[str, EncodedSample],
        store: PairStore,
        samples: RunSamples,
        budget: PairBudget,
        texts: Mapping[str, SampleText],
        *,
        whole: WholePairs | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        encoded, texts: every sample of the run, by content hash.
        whole: for pairs that cannot be cut into prefix and suffix.
        """
        self._whole = whole
        self._backend, self._encoded, self._store = backend, encoded, store
        self._samples, self._budget, self._texts = UniqueSamples.of(samples), budget, texts
        self._all = samples.all
        self._file = PlanFile(store.folder, self._samples, budget)
        self._rounds: Rounds = self._file.read()
        self._clock, self._started = clock, clock()
        self._total = count_pairs(budget, *map(len, (self._samples.pool, self._samples.target, self._samples.existing)))
        self._done = self._total - self._count_missing()
        self._work_done = 0
        self._alone_plan = PairPlan(store.missing_zero_shot(self._all), (), 0)
        self._alone_done = 0
        self._to_score = self._total - self._done

    @property
    def progress(self) -> ScoringProgress:
        """The current progress; pairs that are not chosen yet count with a typical pair's tokens."""
        missing = self._total - self._done
        ahead = missing * self._tokens_per_pair
        work, elapsed = (self._work_done, self._work_done + round(ahead)), self._clock() - self._started
        return ScoringProgress(
            "scoring", self._done, self._total, "", *work, elapsed, self._alone_done, len(self._alone_plan.zero_shot)
        )

    @property
    def cost(self) -> RunCost:
        """The cost of the run at its start."""
        disk = self._to_score * _DISK_BYTES_PER_PAIR
        planning = len(self._all) * _PLANNING_BYTES_PER_SAMPLE
        alone = work_tokens(self._alone_plan, self._encoded)
        return RunCost(self._total, self._to_score, disk, planning, alone, self._tokens_per_pair)

    def work(self, report: Report = lambda progress: None, stop: Stop = never) -> bool:
        """As `ScoringRun.work`, in rounds."""
        self._alone_plan, self._alone_done = PairPlan(self._store.missing_zero_shot(self._all), (), 0), 0
        if not self._score(self._alone_plan, report, stop):
            return False
        number = 0
        while True:
            if not any(len(made) > number for made in self._rounds.values()) and not self._choose(number):
                return True
            if not self._score(self._plan_of(number), report, stop):
                return False
            number += 1

    @cached_property
    def _plans(self) -> dict[MatrixName, MatrixPlan]:
        return matrix_plans(self._samples, self._budget, self._texts, self._store)

    def _choose(self, number: int) -> bool:
        """Adds a round to every matrix with budget left; returns whether there was one."""
        added: Rounds = dict(self._rounds)
        for name, plan in self._plans.items():
            made = self._rounds.get(name, ())
            if not made:
                added[name] = opening_rounds(plan, PLANNING_SEED)
                continue
            fitted = tuple(one for one in made if one.kind != "held-out")
            chosen = next_round(
                plan, read_measured(self._store, self._samples, name, fitted), pair_keys(plan, made), PLANNING_SEED
            )
            if chosen is not None:
                added[name] = (*made, chosen)
        if added == self._rounds:
            return False
        self._file.write(added)
        self._rounds = added
        return True

    def _plan_of(self, number: int) -> PairPlan:
        """The missing pairs of round `number` of every matrix; the diagonal belongs to the first round."""
        wanted: dict[str, list[str]] = {}
        if number == 0:
            for name in self._samples.pool:
                wanted[name] = [name]
        for name, made in self._rounds.items():
            if len(made) > number:
                rows, columns = self._samples.rows(name), self._samples.columns(name)
                for row, column in zip(made[number].rows.tolist(), made[number].columns.tolist(), strict=True):
                    wanted.setdefault(columns[column], []).append(rows[row])
        groups = group_missing(self._store, {helper: tuple(rows) for helper, rows in wanted.items()})
        missing = sum(group.pairs for group in groups)
        return PairPlan((), groups, missing)

    def _count_missing(self) -> int:
        """The number of pairs that are not on disk or not chosen yet."""
        numbers = range(max((len(made) for made in self._rounds.values()), default=0))
        chosen = sum(len(one.rows) for made in self._rounds.values() for one in made)
        missing = sum(self._plan_of(number).pairs_total for number in numbers)
        diagonal = 0 if numbers else len(self._samples.pool)
        return self._total - len(self._samples.pool) - chosen + missing + diagonal

    def _score(self, plan: PairPlan, report: Report, stop: Stop) -> bool:
        before, work_before, alone_before = self._done, self._work_done, self._alone_done
        run = ScoringRun(
            self._backend,
            self._encoded,
            self._store,
            plan,
            whole=self._whole,
            keep_pairs=self._store.buffer_pairs,
            clock=self._clock,
        )

        def follow(progress: ScoringProgress) -> None:
            self._done = before + progress.done
            self._work_done = work_before + progress.work_done
            self._alone_done = alone_before + progress.alone_done
            report(self.progress)

        try:
            finished = run.work(follow, stop)
        finally:
            self._store.compact()
        self._done = before + run.progress.done
        return finished

    @cached_property
    def _tokens_per_pair(self) -> float:
        return budgeted_pair_tokens(self._encoded)
