"""The curator's verbs over a workspace: load the samples, select, look, overrule. Pages and commands call these.

It joins the parts and keeps the results; numbers are computed by `selection`, files are written by `export`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from delift_core.edits import Subset, subset_after_edits
from delift_core.errors import SelectionError
from delift_core.jobs.runs import ScoredRun, open_run
from delift_core.jobs.utilities import Utilities
from delift_core.reliability import ErrorBar, error_bar
from delift_core.rewriting import Reading, read_again, rewritten
from delift_core.sample_project import sample_project_files
from delift_core.samples import Sample
from delift_core.selection.baseline import RandomCurves, random_curves
from delift_core.selection.coverage import value
from delift_core.selection.diagnose import caution_of_second_set, diagnose
from delift_core.selection.engine import select_from_kernel
from delift_core.selection.engines import AUTO, EngineChoice, format_engine, order_by
from delift_core.selection.explain import Explainer, Reason
from delift_core.selection.fixed import order_within, select_around
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.memory import memory_said
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.partitioned import MapParts
from delift_core.selection.replay import Replay, replay_of
from delift_core.selection.types import (
    NOTHING_FIXED,
    Budget,
    Fixed,
    GreedyOrder,
    ObjectiveConfig,
    Quotas,
    Selection,
    Stage,
)
from delift_core.selection.words import in_words
from delift_core.sources import load_file
from delift_core.utility.metrics import Metric
from delift_core.utility.partial import PartialMatrix
from delift_core.workspace import NO_MARKS, DatasetRecord, DatasetRole, Marks, Override, SelectionRecord, Workspace

RowStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand"]

STAGES: dict[Stage, str] = {
    "instruction": "Keep the rows that between them help the model most on the whole pool.",
    "task": "As instruction tuning, with a bonus for rows that help the model on the target task.",
    "continual": "Keep the rows that help where the existing rows do not help already.",
}


@dataclass(frozen=True, slots=True)
class SampleProject:
    """The sample project's data sets in a workspace."""

    pool: DatasetRecord
    target: DatasetRecord
    existing: DatasetRecord
    heldout: DatasetRecord


def add_sample_project(workspace: Workspace) -> SampleProject:
    """Loads the sample project; doing so again gives the same records."""
    files = sample_project_files()

    def add(path: Path, name: str, role: DatasetRole) -> DatasetRecord:
        return workspace.datasets.add(load_file(path, name=name), role=role, origin=str(path))

    return SampleProject(
        pool=add(files.pool, "Sample pool", "pool"),
        target=add(files.target, "Sample target", "target"),
        existing=add(files.existing, "Sample existing", "existing"),
        heldout=add(files.heldout, "Sample held-out", "heldout"),
    )


@dataclass(frozen=True)
class SelectionProblem:
    """What is to be selected from: a finished run in one metric under one objective. Any budget can be cut from it."""

    run: ScoredRun
    metric: Metric
    config: ObjectiveConfig
    utilities: Utilities

    @cached_property
    def kernel(self) -> Kernel:
        """(r, n) float32 represented kernel, see `selection.objectives`."""
        with memory_said("choosing", len(self.run.pool)):
            return represented_kernel(
                self.config,
                self.utilities.pool,
                diagonal=self.utilities.diagonal,
                target=self.utilities.target if self.config.stage == "task" else None,
                existing=self.utilities.existing if self.config.stage == "continual" else None,
            )

    @cached_property
    def greedy(self) -> GreedyOrder:
        """The whole greedy order."""
        with memory_said("choosing", len(self.run.pool)):
            return greedy_order(self.kernel)

    @cached_property
    def replay(self) -> Replay | None:
        """What it takes to change the order around fixed rows; None of a dense kernel, whose order is made anew."""
        return None if isinstance(self.kernel, np.ndarray) else replay_of(self.kernel, self.greedy)

    @cached_property
    def random(self) -> RandomCurves:
        """Random subsets of every size, so that a change of budget needs no new ones."""
        with memory_said("drawing random subsets", len(self.run.pool)):
            return random_curves(self.kernel)

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """What a curator must know of the utilities before trusting a selection from them, a sentence each."""
        diagnosis = diagnose(self.utilities.pool)
        of_pool = None if diagnosis.verdict == "useful" else diagnosis.sentence
        found = (of_pool, caution_of_second_set(self.config, self.kernel))
        return tuple(sentence for sentence in found if sentence)

    @cached_property
    def partial(self) -> PartialMatrix | None:
        """The pool's matrix as it was scored in part; None of a run of all pairs."""
        parts = self.run.partial(self.metric)
        return parts["pool"] if parts else None

    def error_bar(self, chosen: np.ndarray, *, seed: int = 0) -> ErrorBar | None:
        """How far a selection can be trusted that was made from some of the pairs; None when all were scored.

        Args:
            chosen: (k,) positions in the pool.
            seed: the same selection and seed give the same answer.
        """
        if self.partial is None:
            return None
        return error_bar(self.partial, self.kernel, self.run.places, chosen, seed=seed)

    def order_within(self, budget: Budget, quotas: Quotas) -> GreedyOrder:
        """The whole order that keeps to quotas; see `selection.fixed.order_within` for the budgets that it serves.

        Raises:
            SelectionError: the quotas cannot be met within the budget.
        """
        with memory_said("choosing", len(self.run.pool)):
            return order_within(self.kernel, budget, quotas, NOTHING_FIXED)

    def select(
        self,
        budget: Budget,
        *,
        seed: int = 0,
        fixed: Fixed = NOTHING_FIXED,
        quotas: Quotas | None = None,
        greedy: GreedyOrder | None = None,
        random: RandomCurves | None = None,
        engine: EngineChoice = AUTO,
        map_parts: MapParts = map,
    ) -> Selection:
        """The selection for a budget; the order is computed once, so that a change of budget answers at once.

        Args:
            seed: of the random baseline.
            fixed: rows decided by hand, around which the others are chosen.
            quotas: what is to be taken of each group; the budget is then in rows or percent.
            greedy: the order around these fixed rows and within these quotas, when the caller has it already.
            random: random subsets with nothing fixed, likewise; `seed` is not read then.
            engine: what makes the order, with nothing fixed and without quotas; `seed` is then of its chance as well.
            map_parts: where the partitioned engine works on its parts.

        Raises:
            SelectionError: the budget or the quotas cannot be met, the utilities do not allow a selection, or memory
                ran out.
        """
        counts = self.run.token_counts() if budget.unit == "tokens" else None
        with memory_said("choosing", len(self.run.pool)):
            if engine != AUTO:
                _ensure_plain(engine, fixed, quotas)
                greedy = order_by(engine, self.kernel, budget, seed=seed, map_parts=map_parts)
                made = select_from_kernel(
                    self.config, budget, self.kernel, greedy, token_counts=counts, seed=seed, random=random
                )
                return replace(made, engine=format_engine(engine))
            if greedy is None and (fixed.kept or fixed.dropped or quotas is not None):
                return select_around(
                    self.config,
                    budget,
                    self.kernel,
                    fixed,
                    quotas=quotas,
                    token_counts=counts,
                    seed=seed,
                    replay=None if quotas else self.replay,
                    random=random,
                )
            return select_from_kernel(
                self.config,
                budget,
                self.kernel,
                self.greedy if greedy is None else greedy,
                token_counts=counts,
                seed=seed,
                fixed=fixed,
                quotas=quotas,
                random=random,
            )


def _ensure_plain(engine: EngineChoice, fixed: Fixed, quotas: Quotas | None) -> None:
    if quotas is not None or fixed.kept or fixed.dropped:
        what = "quotas" if quotas is not None else "rows kept or dropped by hand"
        raise SelectionError(f"The engine {format_engine(engine)!r} knows no {what}: use the engine auto.")


def pose(workspace: Workspace, run_id: str, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
    """The selection problem of a finished run.

    Raises:
        ScoringError: the run is not finished.
        SelectionError: the stage needs a set that the run does not have.
    """
    run = open_run(workspace, run_id)
    return pose_for(run, metric, config, run.utilities(metric))


def pose_for(run: ScoredRun, metric: Metric, config: ObjectiveConfig, utilities: Utilities) -> SelectionProblem:
    """As `pose`, of a run that is open and whose utilities in this metric are read.

    Raises:
        SelectionError: the stage needs a set that the run does not have.
    """
    needed = {"task": ("target", run.target), "continual": ("existing", run.existing)}.get(config.stage)
    if needed and not needed[1]:
        raise SelectionError(
            f"stage {config.stage!r} needs a set of {needed[0]} rows and run {run.record.id} has none; "
            f"score the pool again with the {needed[0]} set added (only the new pairs are scored)"
        )
    return SelectionProblem(run, metric, config, utilities)


@dataclass(frozen=True)
class CuratedSelection:
    """A kept selection with the curator's edits.

    Attributes:
        samples: (n,) the pool as it now reads: rows whose text was changed have the new one. Utilities, and so ranks,
            gains and reasons, are those of the texts as they were scored.
        marks: tags, notes and changed records, by sample id.
        version: of the edits, see `EditLog.version`.
    """

    record: SelectionRecord
    problem: SelectionProblem
    subset: Subset
    samples: tuple[Sample, ...]
    marks: Marks = NO_MARKS
    version: tuple[int, int] = (0, 0)

    @cached_property
    def status(self) -> np.ndarray:
        """(n,) str, the `RowStatus` of each pool sample."""
        status = np.full(len(self.problem.run.pool), "dropped", dtype="<U15")
        status[self.record.selection.chosen] = "chosen"
        status[self.subset.by_hand] = "kept-by-hand"
        status[self.subset.dropped] = "dropped-by-hand"
        return status

    def status_of(self, position: int) -> RowStatus:
        """What became of one pool sample."""
        status: RowStatus = self.status[position].item()
        return status

    @property
    def statuses(self) -> tuple[RowStatus, ...]:
        """(n,) what became of each pool sample."""
        return tuple(self.status.tolist())

    @cached_property
    def coverage(self) -> float:
        """The objective f(A) of the subset; where nothing was edited that of the selection, without another walk."""
        if np.array_equal(self.subset.positions, self.record.selection.chosen):
            return self.record.selection.certificate.value
        return value(self.problem.kernel, self.subset.positions)

    def why(self, position: int) -> str:
        """One sentence on why the optimiser chose a pool sample or left it out; samples are named by their line."""
        return self.why_naming(position)[0]

    def why_naming(self, position: int) -> tuple[str, tuple[int, ...]]:
        """The sentence of `why`, and the positions of the samples that it names, in order."""
        return self._naming(self._explainer.reason(position))

    def whys_naming(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(n,) `why_naming` of every pool sample; for a whole pool far quicker than one by one."""
        return tuple(self._naming(reason) for reason in self._explainer.reasons())

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.record.selection, self.problem.kernel)

    def _naming(self, reason: Reason) -> tuple[str, tuple[int, ...]]:
        named: dict[int, None] = {}

        def name_of(other: int) -> str:
            named[other] = None
            return f"line {self.problem.run.pool[other].line}"

        return in_words(reason, name_of), tuple(named)


def open_selection(
    workspace: Workspace, selection_id: str, problem: SelectionProblem | None = None
) -> CuratedSelection:
    """A kept selection, its problem and its edits as they stand now.

    Args:
        problem: the selection's own problem, when the caller has it already.
    """
    record = workspace.selections.load(selection_id)
    if problem is None:
        problem = pose(workspace, record.run_id, _metric(record), record.selection.config)
    edits = workspace.edits.standing(selection_id)
    position_of, pool, marks = problem.run.position_of, problem.run.pool, edits.marks
    subset = subset_after_edits(record.selection, position_of, edits.overrides)
    if not marks.records:
        return CuratedSelection(record, problem, subset, pool, marks, edits.version)
    reading, samples = _reading(workspace, problem.run), list(pool)
    for sample_id, changed in marks.records.items():
        samples[position_of[sample_id]] = read_again(pool[position_of[sample_id]], changed, reading)
    return CuratedSelection(record, problem, subset, tuple(samples), marks, edits.version)


def edit_text(
    workspace: Workspace, curated: CuratedSelection, position: int, texts: Mapping[str, str], *, author: str
) -> bool:
    """Changes texts of a row's record for this selection, and says whether anything changed.

    Args:
        texts: the new string under each path of `rewriting.record_texts`.

    Raises:
        DataError: the record could no longer be used; nothing is changed.
    """
    now, scored = curated.samples[position], curated.problem.run.pool[position]
    after = rewritten(now, texts, _reading(workspace, curated.problem.run))
    if after.raw == now.raw:
        return False
    detail = "" if after.raw == scored.raw else after.raw
    workspace.edits.apply(curated.record.id, "text", [now.id], author=author, detail=detail)
    return True


def _reading(workspace: Workspace, run: ScoredRun) -> Reading:
    pool = workspace.datasets.record(run.record.spec.pool_id)
    return Reading(pool.format, pool.mapping)


def keep_selection(
    workspace: Workspace, problem: SelectionProblem, selection: Selection, *, name: str, seed: int = 0
) -> SelectionRecord:
    """Keeps a selection under a name."""
    return workspace.selections.add(problem.run.record.id, selection, name=name, metric=problem.metric, seed=seed)


def reoptimise(workspace: Workspace, curated: CuratedSelection, *, author: str) -> SelectionRecord:
    """Selects again around the curator's edits: what is kept by hand stays in, what is dropped stays out, the optimiser
    chooses the others anew within the same budget and quotas. The result is a new selection, to which the edits are
    carried over, with the same name and the number of the round.

    Raises:
        SelectionError: nothing was edited, or the kept rows do not fit the budget or the quotas.
    """
    before, run = curated.record, curated.problem.run
    overrides = workspace.edits.overrides(before.id)
    if not overrides:
        raise SelectionError("nothing was kept or dropped by hand: there is nothing to choose around")
    by_verdict: dict[Override, list[str]] = {"keep": [], "drop": []}
    for sample_id, verdict in overrides.items():
        by_verdict[verdict].append(sample_id)
    fixed = Fixed(*(tuple(sorted(run.position_of[sample_id] for sample_id in ids)) for ids in by_verdict.values()))
    selection = curated.problem.select(
        before.selection.budget,
        seed=before.seed,
        fixed=fixed,
        quotas=before.selection.quotas,
        random=curated.problem.random if before.seed == 0 else None,
    )
    after = keep_selection(workspace, curated.problem, selection, name=_next_round(before.name), seed=before.seed)
    why = f"carried over from {before.name} ({before.id})"
    for verdict, ids in by_verdict.items():
        if ids:
            workspace.edits.apply(after.id, verdict, ids, author=author, why=why)
    for edit in workspace.edits.history(before.id):
        if edit.state == "applied" and edit.action not in ("keep", "drop", "reset"):
            workspace.edits.apply(after.id, edit.action, edit.sample_ids, author=author, why=why, detail=edit.detail)
    return after


def _next_round(name: str) -> str:
    stem, _, number = name.rpartition(" · round ")
    return f"{stem} · round {int(number) + 1}" if stem and number.isdecimal() else f"{name} · round 2"


def _metric(record: SelectionRecord) -> Metric:
    known: dict[str, Metric] = {"euclidean": "euclidean", "pmi": "pmi", "pmi-per-token": "pmi-per-token"}
    if record.metric not in known:
        raise SelectionError(f"selection {record.id} uses the unknown metric {record.metric!r}; select again")
    return known[record.metric]
