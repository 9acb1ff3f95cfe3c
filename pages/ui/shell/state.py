"""The one workspace of the server, and what the visitor has chosen in it (ids only)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from delift_core.baselines.ordering import MODEL_METHODS
from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.pair_reading import PairReader
from delift_core.curation.problem import SelectionProblem, problem_for
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.errors import SelectionError
from delift_core.evaluation.method_orders import kept_order
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.scoring.metrics import Metric
from delift_core.selection.coverage import value
from delift_core.selection.methods import METHODS
from delift_core.selection.request import Engine
from delift_core.selection.types import Budget, ChosenBy, ObjectiveConfig, Quotas, Selection
from delift_core.system.access import Actor
from delift_core.system.defaults import default_workspace
from delift_core.workspace import DatasetRecord, RunRecord, SelectionSummary, Workspace

_WANTED_RUN, _WANTED_SELECTION = "wanted_run", "wanted_selection"


@dataclass(frozen=True, slots=True)
class Current:
    """What the sidebar points at; None where there is nothing yet."""

    workspace: Workspace
    pool: DatasetRecord | None
    run: RunRecord | None
    selection: SelectionSummary | None


_READER = Actor("the server", "viewer")
"""What is read once for all visitors is read without the rights of any."""


def workspace(actor: Actor = _READER) -> Workspace:
    """The server's workspace, opened once for all visitors, as one of them may use it.

    Raises:
        WorkspaceError: it cannot be opened.
    """
    return _open_workspace(str(default_workspace())).acting_as(actor)


@st.cache_resource(max_entries=1, show_spinner=False, on_release=lambda opened: opened.close())
def _open_workspace(folder: str) -> Workspace:
    return Workspace.open(Path(folder))


def want_run(run_id: str) -> None:
    """Points the sidebar at a run from the next rerun on."""
    st.session_state[_WANTED_RUN] = run_id


def want_selection(selection_id: str) -> None:
    """Points the sidebar at a selection from the next rerun on."""
    st.session_state[_WANTED_SELECTION] = selection_id


def wanted(kind: str) -> str | None:
    """Takes the id that `want_run` or `want_selection` left, once."""
    key = {"run": _WANTED_RUN, "selection": _WANTED_SELECTION}[kind]
    value = st.session_state.pop(key, None)
    return str(value) if value is not None else None


def scored_run(run: RunRecord) -> ScoredRun:
    """A finished run's samples, read once."""
    return _scored_run(run.id, str(run.finished_at))


@st.cache_resource(max_entries=4, show_spinner="Opening the run…")
def _scored_run(run_id: str, finished_at: str) -> ScoredRun:
    return open_run(workspace(), run_id)


def rows_named(run: ScoredRun, sample_ids: Iterable[str]) -> np.ndarray:
    """(n,) bool, which pool rows have one of these ids; ids that are not in the pool are passed over."""
    position_of, named = run.position_of, np.zeros(len(run.pool), dtype=bool)
    named[[position_of[sample_id] for sample_id in sample_ids if sample_id in position_of]] = True
    return named


def known_tags(curated: CuratedSelection) -> list[str]:
    """The tags that some row of a selection bears, by name."""
    return sorted({tag for borne in curated.marks.tags.values() for tag in borne})


def pair_reader(run: ScoredRun) -> PairReader:
    """The run's model for reading single pairs; one is kept, for all visitors.

    Raises:
        DeliftError: it cannot be loaded, or is another one by now.
    """
    return _pair_reader(run.record.id, str(run.record.finished_at), run)


@st.cache_resource(max_entries=1, show_spinner="Loading the model…")
def _pair_reader(run_id: str, finished_at: str, _run: ScoredRun) -> PairReader:
    return PairReader(_run)


def problem(run: RunRecord, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
    """The selection problem of a run; its matrices are read, and its greedy order computed, once."""
    return _problem(run.id, str(run.finished_at), metric, config)


@st.cache_resource(max_entries=4, show_spinner="Reading the utilities…")
def _problem(run_id: str, finished_at: str, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
    run, utilities = _scored_run(run_id, finished_at), _utilities(run_id, finished_at, metric)
    return problem_for(run, metric, config, utilities)


class NotMeasured(SelectionError):
    """A method asks the model about every row, and nobody has asked yet."""


def select(
    problem: SelectionProblem,
    budget: Budget,
    quotas: Quotas | None,
    method: ChosenBy = "delift",
    seed: int = 0,
    engine: Engine = "auto",
) -> Selection:
    """The selection for a budget, from orders and random subsets that the problem keeps.

    Args:
        seed: of a method that draws.
        engine: of DELIFT's own order.

    Raises:
        SelectionError: the budget or the quotas cannot be met, the engine knows no quotas, or the method takes no
            pool of this size.
        NotMeasured: the method asks the model, and has not done so.
    """
    if method not in ("delift", *METHODS):
        raise SelectionError(f"There is no method {method!r} to choose by: take one of the list.")
    asked = next((name for name in METHODS if name == method and name in MODEL_METHODS), None)
    if asked and not problem.has_order(asked, seed):
        order = kept_order(workspace(), problem, asked, seed=seed)
        if order is None:
            raise NotMeasured(f"{METHODS[asked].title} asks the model about every row: evaluate with it first.")
        problem.keep_order(asked, order, seed)
    random = problem.random if seed == 0 and quotas is None else None
    with st.spinner("Putting the rows in order…"):
        return problem.select(budget, quotas=quotas, random=random, seed=seed, engine=engine, method=method)


@st.cache_resource(max_entries=4, show_spinner=False)
def _utilities(run_id: str, finished_at: str, metric: Metric) -> Utilities:
    """Read once for all objectives over them."""
    return _scored_run(run_id, finished_at).utilities(metric)


def coverage(problem: SelectionProblem, positions: np.ndarray) -> float:
    """The objective of a subset; kept, since it walks the whole kernel."""
    record = problem.run.record
    return _coverage(
        record.id, str(record.finished_at), problem.metric, problem.config, positions.tobytes(), problem.kernel
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _coverage(
    run_id: str, finished_at: str, metric: Metric, config: ObjectiveConfig, positions: bytes, _kernel: np.ndarray
) -> float:
    return value(_kernel, np.frombuffer(positions, dtype=np.int64))


def curated(selection: SelectionSummary) -> CuratedSelection:
    """A kept selection with its edits as they stand now; opened once for each state of its edits."""
    store = workspace()
    key = selection.id, selection.name, str(store.runs.record(selection.run_id).finished_at)
    version = store.edits.version(selection.id)
    found = _curated(*key, version, selection)
    if found.version != version:  # edited by another in between: must not be found under this version again
        _curated.clear(*key, version, selection)
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _curated(
    selection_id: str, name: str, finished_at: str, version: tuple[int, int], _selection: SelectionSummary
) -> CuratedSelection:
    store = workspace()
    run = store.runs.record(_selection.run_id)
    metric: Metric = next(name for name in ("euclidean", "pmi", "pmi-per-token") if name == _selection.metric)
    return open_selection(store, selection_id, problem(run, metric, _selection.config))
