"""What a curator does in a workspace: open a selection with its edits, change texts, select again around the edits.

Pages and commands call these functions; `selection` computes, `workspace` stores, `export` writes files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.selector import SelectionProblem, Selector
from delift_core.data import sample_project_files
from delift_core.data.loading import Dataset, load_file
from delift_core.data.loading.record_reader import RecordReader, edit_texts, reader_of, reparse
from delift_core.errors import SelectionError
from delift_core.samples import Sample
from delift_core.scoring.metrics import Metric
from delift_core.selection.explain import Explainer, Reason
from delift_core.selection.explain_text import as_sentence
from delift_core.selection.methods import asks_model
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import ErrorBar, FixedRows, Selection
from delift_core.workspace import NO_MARKS, DatasetRecord, DatasetRole, Marks, Override, SelectionRecord, Workspace

RowStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand"]


@dataclass(frozen=True, slots=True)
class SampleProject:
    """The data sets of the sample project in a workspace."""

    pool: DatasetRecord
    target: DatasetRecord
    existing: DatasetRecord
    heldout: DatasetRecord


def add_sample_project(workspace: Workspace) -> SampleProject:
    """Adds the sample project's data sets, once: a second call returns the same records."""
    files = sample_project_files()

    def add(path: Path, name: str, role: DatasetRole) -> DatasetRecord:
        return workspace.datasets.add(load_file(path, name=name), role=role)

    return SampleProject(
        pool=add(files.pool, "Sample pool", "pool"),
        target=add(files.target, "Sample target", "target"),
        existing=add(files.existing, "Sample existing", "existing"),
        heldout=add(files.heldout, "Sample held-out", "heldout"),
    )


def from_sample_project(record: DatasetRecord) -> bool:
    """Whether a data set belongs to the sample project, or was made from one of its data sets."""
    files = {path.parts[-2:] for path in sample_project_files().paths}
    return Path(record.origin.name).parts[-2:] in files


def fitting_sets(workspace: Workspace, role: DatasetRole, pool: DatasetRecord) -> list[DatasetRecord]:
    """The sets to propose for a pool, newest first; sets of the sample project are proposed for its own pool only."""
    sets, of_project = workspace.datasets.records(role), from_sample_project(pool)
    return [one for one in sets if from_sample_project(one) == of_project] or (list(sets) if of_project else [])


@dataclass(frozen=True, slots=True)
class Subset:
    """A selection after edits; all arrays are int64 positions in the pool.

    Attributes:
        positions: (m,) the subset: chosen rows that were not dropped, in pick order, then rows that were added.
        by_hand: rows kept by hand that the optimiser did not choose or was made to choose around, in pool order.
        dropped: rows dropped by hand that the optimiser chose or was kept from choosing, in pool order.
        pinned: every row kept by hand, in pool order.
        banned: every row dropped by hand, in pool order.
    """

    positions: np.ndarray
    by_hand: np.ndarray
    dropped: np.ndarray
    pinned: np.ndarray
    banned: np.ndarray


def subset_after_edits(
    selection: Selection, position_of: Mapping[str, int], overrides: Mapping[str, Literal["keep", "drop"]]
) -> Subset:
    """Applies the curator's decisions to a selection.

    Args:
        position_of: position of each pool sample, by id.
        overrides: sample id to "keep" or "drop"; other samples follow the selection.

    Raises:
        SelectionError: the selection was made from a pool of another size, or an id is not in this pool.
    """
    if len(position_of) != len(selection.residual_gains):
        raise SelectionError(
            f"the selection was made from {len(selection.residual_gains):,} samples, the pool has "
            f"{len(position_of):,}: use the pool of its run"
        )
    unknown = next((sample_id for sample_id in overrides if sample_id not in position_of), None)
    if unknown is not None:
        raise SelectionError(f"edited sample {unknown!r} is not in the pool: use the pool of the selection's run")
    kept, dropped = (
        np.array(sorted(position_of[sample_id] for sample_id, made in overrides.items() if made == decision), np.int64)
        for decision in ("keep", "drop")
    )
    added = np.setdiff1d(kept, selection.chosen)
    remaining = selection.chosen[~np.isin(selection.chosen, dropped)]
    return Subset(
        positions=np.concatenate([remaining, added]).astype(np.int64),
        by_hand=np.union1d(added, np.intersect1d(kept, selection.fixed.kept)).astype(np.int64),
        dropped=np.intersect1d(dropped, np.union1d(selection.chosen, selection.fixed.dropped)).astype(np.int64),
        pinned=kept,
        banned=dropped,
    )


@dataclass(frozen=True)
class CuratedSelection:
    """A stored selection with the curator's edits.

    Attributes:
        samples: (n,) the pool with changed texts. Utilities, ranks, gains and reasons are of the scored texts.
        marks: tags, notes and changed records, by sample id.
        version: of the edits, see `EditLog.version`.
    """

    record: SelectionRecord
    selector: Selector
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

    @cached_property
    def marked_status(self) -> np.ndarray:
        """(n,) str, as `status`, but also "kept-by-hand" and "dropped-by-hand" for edits that change nothing."""
        status = self.status.copy()
        status[self.subset.pinned] = "kept-by-hand"
        status[self.subset.banned] = "dropped-by-hand"
        return status

    @property
    def statuses(self) -> tuple[RowStatus, ...]:
        """(n,) the status of each pool sample."""
        return tuple(self.status.tolist())

    @cached_property
    def coverage(self) -> float:
        """The objective f(A) of the subset; without edits, the stored value of the selection."""
        if np.array_equal(self.subset.positions, self.record.selection.chosen):
            return self.record.selection.certificate.value
        return self.problem.coverage(self.subset.positions)

    @cached_property
    def error_bar(self) -> ErrorBar | None:
        """The error bar of the selection before edits; None if every pair was scored. Slow for a large pool."""
        return self.problem.error_bar(self.record.selection.chosen, seed=self.record.seed)

    def reason(self, position: int) -> str:
        """Why the optimiser chose a pool row or left it out, as text; other rows are named by their number."""
        return self.reason_naming(position)[0]

    def reason_naming(
        self, position: int, name: Callable[[Sample], str] = lambda sample: sample.place
    ) -> tuple[str, tuple[int, ...]]:
        """The text of `reason`, and the positions of the rows that it names, in order.

        Args:
            name: returns the name of a row.
        """
        return self.as_text(self.explained(position), name)

    def explained(self, position: int) -> Reason:
        """Why the optimiser chose a pool row or left it out, as facts."""
        return self._explainer.reason(position)

    def reasons_naming(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(n,) `reason_naming` of every pool sample, much faster than one by one."""
        return tuple(self.as_text(reason, lambda sample: sample.place) for reason in self._explainer.reasons())

    @property
    def _explainer(self) -> Explainer:
        """Edits do not change it, so it is remembered beyond them."""
        selection = self.record.selection
        return self.problem.remember(("explainer", self.record.id), lambda: Explainer(selection, self.problem.kernel))

    def as_text(self, reason: Reason, name: Callable[[Sample], str]) -> tuple[str, tuple[int, ...]]:
        """As `reason_naming`, of a reason that the caller has already."""
        named: dict[int, None] = {}

        def name_of(other: int) -> str:
            named[other] = None
            return name(self.problem.run.pool[other])

        return as_sentence(reason, name_of), tuple(named)


def open_selection(workspace: Workspace, selection_id: str, selector: Selector | None = None) -> CuratedSelection:
    """Opens a stored selection with its current edits.

    Args:
        selector: of the selection's run, if the caller has it already.
    """
    record = workspace.selections.load(selection_id)
    selector = selector or Selector(open_run(workspace, record.run_id))
    request = request_of(record)
    problem = selector.problem(request.metric, request.config)
    edits = workspace.edits.current(selection_id)
    position_of, pool, marks = problem.run.position_of, problem.run.pool, edits.marks
    subset = subset_after_edits(record.selection, position_of, edits.overrides)
    if not marks.records:
        return CuratedSelection(record, selector, problem, subset, pool, marks, edits.version)
    reader, samples = _reader(workspace, problem.run), list(pool)
    for sample_id, changed in marks.records.items():
        samples[position_of[sample_id]] = reparse(pool[position_of[sample_id]], changed, reader)
    return CuratedSelection(record, selector, problem, subset, tuple(samples), marks, edits.version)


def edit_text(
    workspace: Workspace, curated: CuratedSelection, position: int, texts: Mapping[str, str], *, author: str
) -> bool:
    """Changes texts of a row for this selection; returns whether anything changed.

    Args:
        texts: new text by path, see `data.loading.record_reader.record_texts`.

    Raises:
        DataError: the changed record could not be read; nothing is changed.
    """
    now, scored = curated.samples[position], curated.problem.run.pool[position]
    after = edit_texts(now, texts, _reader(workspace, curated.problem.run))
    if after.raw == now.raw:
        return False
    detail = "" if after.raw == scored.raw else after.raw
    workspace.edits.apply(curated.record.id, "text", [now.id], author=author, detail=detail)
    return True


def _reader(workspace: Workspace, run: ScoredRun) -> RecordReader:
    """The reader of the pool's records."""
    pool = workspace.datasets.record(run.record.spec.pool_id)
    return reader_of(Dataset(pool.name, pool.format, pool.mapping, run.pool, turns=pool.turns, origin=pool.origin))


def keep_selection(
    workspace: Workspace, selector: Selector, request: SelectionRequest, *, name: str
) -> SelectionRecord:
    """Stores the answer to a request under a name.

    Raises:
        SelectionError: as `Selector.select`.
    """
    run, made = selector.run.record.id, selector.select(request)
    return workspace.selections.add(run, made, name=name, metric=request.metric, seed=request.seed)


def request_of(record: SelectionRecord) -> SelectionRequest:
    """The request that a stored selection answers, for exact greedy whatever its engine was.

    Its order stands in the request if the rows were given, or if the method would ask the model again.

    Raises:
        SelectionError: the metric is unknown.
    """
    made = record.selection
    again = made.method == "given" or asks_model(made.method)
    return SelectionRequest(
        made.config,
        made.budget,
        cast(Metric, record.metric),
        made.quotas,
        made.fixed,
        made.method,
        seed=record.seed,
        given=made.greedy.order if again else None,
    )


def reoptimise(workspace: Workspace, curated: CuratedSelection, *, author: str) -> SelectionRecord:
    """Selects again around the curator's edits, within the same budget and quotas.

    Rows kept by hand stay in, rows dropped by hand stay out. The result is a new selection with all edits, named after
    the old one and numbered by round.

    Raises:
        SelectionError: nothing was edited, or the kept rows do not fit the budget or the quotas.
    """
    before, run = curated.record, curated.problem.run
    overrides = workspace.edits.overrides(before.id)
    if not overrides:
        raise SelectionError("no row was kept or dropped by hand: edit some rows first")
    by_decision: dict[Override, list[str]] = {"keep": [], "drop": []}
    for sample_id, decision in overrides.items():
        by_decision[decision].append(sample_id)
    fixed = FixedRows(*(tuple(sorted(run.position_of[sample_id] for sample_id in ids)) for ids in by_decision.values()))
    request = replace(request_of(before), fixed=fixed)
    after = keep_selection(workspace, curated.selector, request, name=_next_round(before.name))
    why = f"carried over from {before.name} ({before.id})"
    for decision, ids in by_decision.items():
        if ids:
            workspace.edits.apply(after.id, decision, ids, author=author, why=why)
    for edit in workspace.edits.history(before.id):
        if edit.state == "applied" and edit.action not in ("keep", "drop", "reset"):
            workspace.edits.apply(after.id, edit.action, edit.sample_ids, author=author, why=why, detail=edit.detail)
    return after


def _next_round(name: str) -> str:
    stem, _, number = name.rpartition(" · round ")
    return f"{stem} · round {int(number) + 1}" if stem and number.isdecimal() else f"{name} · round 2"
