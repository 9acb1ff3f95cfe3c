"""A scoring run on a budget of pairs: rounds of choosing and scoring, each on the numbers of those before it.

It stops and goes on like a run of all pairs: what was chosen is in the plan file before it is scored, what was scored
is in the store (but for the last seconds before a kill), and the same samples and budget lead to the same pairs.
"""

import time
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from delift_core.models.prompts import EncodedSample, Template
from delift_core.scoring.estimation.pair_choice import Measured, Part, Round, keys_of, next_round, opening_rounds
from delift_core.scoring.estimation.partial_matrix import chosen_utilities
from delift_core.scoring.estimation.plan_file import (
    PLANNING_SEED,
    PartName,
    PlanFile,
    Rounds,
    Texts,
    UniqueSamples,
    parts_to_plan,
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
from delift_core.scoring.scoring_run import Backend, Report, ScoringProgress, ScoringRun, Stop
from delift_core.scoring.store import PairStore

PLANNED_BY: Metric = "euclidean"
"""The metric whose large entries are looked for; the pairs serve every metric."""

_DISK_BYTES_PER_PAIR = 16 + 65 + 65 // PAIRS_PER_VISIT  # its numbers, its row's name, its part of the example's
_PLANNING_BYTES_PER_SAMPLE = 160 * 4 * 8  # cues, and as many numbers again in the model, its estimates and the search


def read_measured(store: PairStore, samples: UniqueSamples, part: PartName, rounds: tuple[Round, ...]) -> Measured:
    """The scored pairs of some rounds, in the planner's metric."""
    rows = np.concatenate([one.rows for one in rounds])
    columns = np.concatenate([one.columns for one in rounds])
    values = chosen_utilities(store, samples.rows(part), samples.columns(part), rows, columns, PLANNED_BY)
    return Measured(rows, columns, values.astype(np.float64))


class BudgetedRun:
    """A budget, who works it off, and how far it has come; the counterpart of `ScoringRun`."""

    def __init__(
        self,
        backend: Backend,
        template: Template,
        encoded: Mapping[str, EncodedSample],
        store: PairStore,
        samples: RunSamples,
        budget: PairBudget,
        texts: Mapping[str, Texts],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        encoded, texts: every sample of the run, by content hash.
        """
        self._backend, self._template, self._encoded, self._store = backend, template, encoded, store
        self._samples, self._budget, self._texts = UniqueSamples.of(samples), budget, texts
        self._all = samples.all
        self._file = PlanFile(store.folder, self._samples, budget)
        self._rounds: Rounds = self._file.read()
        self._clock, self._started = clock, clock()
        self._total = count_pairs(budget, *map(len, (self._samples.pool, self._samples.target, self._samples.existing)))
        self._done = self._total - self._missing_of_known()
        self._work_done = 0
        self._alone_plan = PairPlan(store.missing_zero_shot(self._all), (), 0)
        self._alone_done = 0
        self._to_score = self._total - self._done

    @property
    def progress(self) -> ScoringProgress:
        """Where the run stands now; work that is not chosen yet is counted at a typical pair's tokens."""
        missing = self._total - self._done
        ahead = missing * self._tokens_per_pair
        work, elapsed = (self._work_done, self._work_done + round(ahead)), self._clock() - self._started
        return ScoringProgress(
            self._done, self._total, *work, elapsed, self._alone_done, len(self._alone_plan.zero_shot)
        )

    @property
    def cost(self) -> RunCost:
        """What the run had to do when it was made."""
        disk = self._to_score * _DISK_BYTES_PER_PAIR
        planning = len(self._all) * _PLANNING_BYTES_PER_SAMPLE
        alone = work_tokens(self._alone_plan, self._encoded, len(self._template.head))
        return RunCost(self._total, self._to_score, disk, planning, alone, self._tokens_per_pair)

    def work(self, report: Report = lambda progress: None, stop: Stop = lambda: False) -> bool:
        """As `ScoringRun.work`, over all rounds."""
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
    def _parts(self) -> dict[PartName, Part]:
        return parts_to_plan(self._samples, self._budget, self._texts, self._store)

    def _choose(self, number: int) -> bool:
        """Adds a round to every matrix that has budget left, and says whether there was any."""
        added: Rounds = dict(self._rounds)
        for name, part in self._parts.items():
            made = self._rounds.get(name, ())
            if not made:
                added[name] = opening_rounds(part, PLANNING_SEED)
                continue
            fitted = tuple(one for one in made if one.kind != "held-out")
            chosen = next_round(
                part, read_measured(self._store, self._samples, name, fitted), keys_of(part, made), PLANNING_SEED
            )
            if chosen is not None:
                added[name] = (*made, chosen)
        if added == self._rounds:
            return False
        self._file.write(added)
        self._rounds = added
        return True

    def _plan_of(self, number: int) -> PairPlan:
        """What is missing of the rounds of one number; the diagonal belongs to the first."""
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

    def _missing_of_known(self) -> int:
        """Pairs that are not on disk, as far as they are chosen; those that are not chosen yet count as missing."""
        numbers = range(max((len(made) for made in self._rounds.values()), default=0))
        chosen = sum(len(one.rows) for made in self._rounds.values() for one in made)
        missing = sum(self._plan_of(number).pairs_total for number in numbers)
        diagonal = 0 if numbers else len(self._samples.pool)
        return self._total - len(self._samples.pool) - chosen + missing + diagonal

    def _score(self, plan: PairPlan, report: Report, stop: Stop) -> bool:
        before, work_before, alone_before = self._done, self._work_done, self._alone_done
        run = ScoringRun(
            self._backend,
            self._template,
            self._encoded,
            self._store,
            plan,
            keep_pairs=self._store.buffer_pairs,
            clock=self._clock,
        )

        def follow(progress: ScoringProgress) -> None:
            self._done = before + progress.pairs_done
            self._work_done = work_before + progress.work_done
            self._alone_done = alone_before + progress.alone_done
            report(self.progress)

        try:
            finished = run.work(follow, stop)
        finally:
            self._store.compact()
        self._done = before + run.progress.pairs_done
        return finished

    @cached_property
    def _tokens_per_pair(self) -> float:
        return budgeted_pair_tokens(self._encoded, len(self._template.head))
