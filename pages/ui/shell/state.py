"""The workspace of the server, and what the visitor has chosen in it (ids only)."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.pair_reading import PairReader
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.selector import SelectionProblem, Selector
from delift_core.evaluation.method_orders import kept_order
from delift_core.scoring.metrics import Metric
from delift_core.selection.methods import Method
from delift_core.selection.types import ObjectiveConfig
from delift_core.system.access import Actor
from delift_core.system.processes import default_workspace
from delift_core.workspace import DatasetRecord, RunRecord, SelectionSummary, Workspace

_T = TypeVar("_T")
_WANTED_RUN, _WANTED_SELECTION = "wanted_run", "wanted_selection"


@dataclass(frozen=True, slots=True)
class Current:
    """What is selected in the sidebar; None if there is nothing yet."""

    workspace: Workspace
    pool: DatasetRecord | None
    run: RunRecord | None
    selection: SelectionSummary | None


_READER = Actor("the server", "viewer")
"""Reads what is shared by all visitors, without the rights of any of them."""


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
    """Selects a run in the sidebar from the next rerun on."""
    st.session_state[_WANTED_RUN] = run_id


def want_selection(selection_id: str) -> None:
    """Selects a selection in the sidebar from the next rerun on."""
    st.session_state[_WANTED_SELECTION] = selection_id


def wanted(kind: str) -> str | None:
    """The id that `want_run` or `want_selection` set; returned once."""
    key = {"run": _WANTED_RUN, "selection": _WANTED_SELECTION}[kind]
    value = st.session_state.pop(key, None)
    return str(value) if value is not None else None


def selector(run: RunRecord) -> Selector:
    """The selector of a finished run; one for all visitors, since it remembers matrices, kernels and orders."""
    return _selector(run.id, str(run.finished_at))


@st.cache_resource(max_entries=3, show_spinner="Opening the run…")
def _selector(run_id: str, finished_at: str) -> Selector:
    def read_order(problem: SelectionProblem, method: Method, seed: int) -> np.ndarray | None:
        return kept_order(workspace(), problem, method, seed=seed)

    return Selector(open_run(workspace(), run_id), read_order)


def scored_run(run: RunRecord) -> ScoredRun:
    """A finished run's samples, read once."""
    return selector(run).run


def remember(run: ScoredRun, key: Hashable, compute: Callable[[], _T], spinner: str) -> _T:
    """A value that is slow to compute from a run; computed once, for all visitors."""

    def compute_visibly() -> _T:
        with st.spinner(spinner):
            return compute()

    return selector(run.record).remember(key, compute_visibly)


def positions_in_dataset(run: ScoredRun) -> np.ndarray:
    """(n,) int64, the position in its data set of each pool row; they differ if some rows could not be scored."""

    def find() -> np.ndarray:
        datasets, pool_id = workspace().datasets, run.record.spec.pool_id
        if datasets.record(pool_id).n_samples == len(run.pool):
            return np.arange(len(run.pool))
        position_of = {sample.id: position for position, sample in enumerate(datasets.load(pool_id).samples)}
        return np.array([position_of[sample.id] for sample in run.pool], dtype=np.int64)

    return remember(run, "positions in the data set", find, "Reading the rows…")


def rows_read(run: ScoredRun) -> np.ndarray:
    """(n,) bool, which pool rows were read."""
    pool_id = run.record.spec.pool_id
    return _rows_read(run.record.id, str(run.record.finished_at), workspace().reads.count(pool_id), run)


@st.cache_resource(max_entries=4, show_spinner=False)
def _rows_read(run_id: str, finished_at: str, count: int, _run: ScoredRun) -> np.ndarray:
    return rows_named(_run, workspace().reads.ids(_run.record.spec.pool_id))


def rows_named(run: ScoredRun, sample_ids: Iterable[str]) -> np.ndarray:
    """(n,) bool, which pool rows have one of these ids; ids that are not in the pool are ignored."""
    position_of, named = run.position_of, np.zeros(len(run.pool), dtype=bool)
    named[[position_of[sample_id] for sample_id in sample_ids if sample_id in position_of]] = True
    return named


def known_tags(curated: CuratedSelection) -> list[str]:
    """The tags in use in a selection, by name."""
    return sorted({tag for borne in curated.marks.tags.values() for tag in borne})


def pair_reader(run: ScoredRun) -> PairReader:
    """The run's model for reading single pairs; one model is kept, for all visitors.

    Raises:
        DeliftError: it cannot be loaded, or has changed since.
    """
    return _pair_reader(run.record.id, str(run.record.finished_at), run)


@st.cache_resource(max_entries=1, show_spinner="Loading the model…")
def _pair_reader(run_id: str, finished_at: str, _run: ScoredRun) -> PairReader:
    return PairReader(_run)


def problem(run: RunRecord, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
    """A run with a metric and an objective; its matrices are read once."""
    opened = selector(run)
    with st.spinner("Reading the utilities…"):
        return opened.problem(metric, config)


def curated(selection: SelectionSummary) -> CuratedSelection:
    """A saved selection with its current edits; opened once for each state of the edits."""
    store = workspace()
    key = selection.id, selection.name, str(store.runs.record(selection.run_id).finished_at)
    version = store.edits.version(selection.id)
    found = _curated(*key, version, selection)
    if found.version != version:  # edited in between: must not be found under this version again
        _curated.clear(*key, version, selection)
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _curated(
    selection_id: str, name: str, finished_at: str, version: tuple[int, int], _selection: SelectionSummary
) -> CuratedSelection:
    store = workspace()
    opened = selector(store.runs.record(_selection.run_id))
    with st.spinner("Reading the utilities…"):
        return open_selection(store, selection_id, opened)
