"""The curator's verbs over a workspace: load the samples, select, look, overrule. Pages and commands call these.

It joins the parts and keeps the results; numbers are computed by `selection`, files are written by `export`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from delift_core.baselines.ordering import MODEL_METHODS
from delift_core.curation.problem import SelectionProblem, open_problem
from delift_core.curation.reliability import ErrorBar
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.curation.subset import Subset, subset_after_edits
from delift_core.data.loading import load_file
from delift_core.data.loading.text_edits import RecordFormat, edit_texts, reparse
from delift_core.data.sample_project import sample_project_files
from delift_core.errors import SelectionError
from delift_core.samples import Sample
from delift_core.scoring.metrics import Metric
from delift_core.selection.coverage import value
from delift_core.selection.explain import Explainer, Reason
from delift_core.selection.explain_text import in_words
from delift_core.selection.types import Fixed, GreedyOrder, Selection
from delift_core.workspace import NO_MARKS, DatasetRecord, DatasetRole, Marks, Override, SelectionRecord, Workspace

RowStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand"]


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


def from_sample_project(record: DatasetRecord) -> bool:
    """Whether a data set is one of the sample project's, or was made from it; it fits no other pool."""
    ours = {path.parts[-2:] for path in sample_project_files().paths}
    return Path(record.origin).parts[-2:] in ours


def fitting_sets(workspace: Workspace, role: DatasetRole, pool: DatasetRecord) -> list[DatasetRecord]:
    """The sets that may go with a pool unasked, newest first: the sample project's sets with its pool alone."""
    found = [one for one in workspace.datasets.records(role) if from_sample_project(one) == from_sample_project(pool)]
    return found or (list(workspace.datasets.records(role)) if from_sample_project(pool) else [])


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

    @cached_property
    def marked_status(self) -> np.ndarray:
        """(n,) str, as `status`, but every row that was kept or dropped by hand says so, where that changed nothing
        too."""
        status = self.status.copy()
        status[self.subset.pinned] = "kept-by-hand"
        status[self.subset.banned] = "dropped-by-hand"
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

    @cached_property
    def error_bar(self) -> ErrorBar | None:
        """Of what the optimiser chose; None where every pair was scored. It takes a second for a large pool."""
        return self.problem.error_bar(self.record.selection.chosen, seed=self.record.seed)

    def why(self, position: int) -> str:
        """Why the optimiser chose a pool row or left it out, in words; other rows are named by their number."""
        return self.why_naming(position)[0]

    def why_naming(
        self, position: int, name: Callable[[Sample], str] = lambda sample: sample.place
    ) -> tuple[str, tuple[int, ...]]:
        """The words of `why`, and the positions of the rows that they name, in order.

        Args:
            name: what to call a row.
        """
        return self._naming(self._explainer.reason(position), name)

    def whys_naming(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(n,) `why_naming` of every pool sample; for a whole pool far quicker than one by one."""
        return tuple(self._naming(reason, lambda sample: sample.place) for reason in self._explainer.reasons())

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.record.selection, self.problem.kernel)

    def _naming(self, reason: Reason, name: Callable[[Sample], str]) -> tuple[str, tuple[int, ...]]:
        named: dict[int, None] = {}

        def name_of(other: int) -> str:
            named[other] = None
            return name(self.problem.run.pool[other])

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
        problem = open_problem(workspace, record.run_id, _metric(record), record.selection.config)
    edits = workspace.edits.current(selection_id)
    position_of, pool, marks = problem.run.position_of, problem.run.pool, edits.marks
    subset = subset_after_edits(record.selection, position_of, edits.overrides)
    if not marks.records:
        return CuratedSelection(record, problem, subset, pool, marks, edits.version)
    reading, samples = _reading(workspace, problem.run), list(pool)
    for sample_id, changed in marks.records.items():
        samples[position_of[sample_id]] = reparse(pool[position_of[sample_id]], changed, reading)
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
    after = edit_texts(now, texts, _reading(workspace, curated.problem.run))
    if after.raw == now.raw:
        return False
    detail = "" if after.raw == scored.raw else after.raw
    workspace.edits.apply(curated.record.id, "text", [now.id], author=author, detail=detail)
    return True


def _reading(workspace: Workspace, run: ScoredRun) -> RecordFormat:
    pool = workspace.datasets.record(run.record.spec.pool_id)
    return RecordFormat(pool.format, pool.mapping)


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
    again = before.selection
    selection = curated.problem.select(
        again.budget,
        seed=before.seed,
        fixed=fixed,
        quotas=again.quotas,
        greedy=_kept_order(curated, fixed),
        random=curated.problem.random if before.seed == 0 else None,
        method=again.method,
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


def _kept_order(curated: CuratedSelection, fixed: Fixed) -> GreedyOrder | None:
    """The order around fixed rows of a method that the run's numbers do not suffice for: as it was kept; else None."""
    made = curated.record.selection
    if made.method != "given" and made.method not in MODEL_METHODS:
        return None
    return curated.problem.order_given(made.greedy.order, made.budget, quotas=made.quotas, fixed=fixed)


def _next_round(name: str) -> str:
    stem, _, number = name.rpartition(" · round ")
    return f"{stem} · round {int(number) + 1}" if stem and number.isdecimal() else f"{name} · round 2"


def _metric(record: SelectionRecord) -> Metric:
    known: dict[str, Metric] = {"euclidean": "euclidean", "pmi": "pmi", "pmi-per-token": "pmi-per-token"}
    if record.metric not in known:
        raise SelectionError(f"selection {record.id} uses the unknown metric {record.metric!r}; select again")
    return known[record.metric]
