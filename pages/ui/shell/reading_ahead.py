"""Opens the newest run of a large pool while the visitor still looks at the first page: its rows take seconds to read.

A page that needs the run meanwhile waits for this reading instead of doing it again.
"""

import threading
from contextlib import suppress

import streamlit as st

from delift_core.errors import DeliftError
from delift_core.selection.types import ObjectiveConfig
from delift_core.workspace import Workspace
from pages.ui.select.composition_view import facets_of
from pages.ui.shell import state

LARGE = 20_000
"""Rows below which opening a run takes no time worth saving."""


def read_ahead(workspace: Workspace) -> None:
    """Begins once for each workspace; what goes wrong is said where the run is asked for."""
    _begun(str(workspace.folder), workspace)


@st.cache_resource(max_entries=1, show_spinner=False)
def _begun(folder: str, _workspace: Workspace) -> threading.Thread:
    thread = threading.Thread(target=_read, args=(_workspace,), name="read-ahead", daemon=True)
    thread.start()
    return thread


def _read(workspace: Workspace) -> None:
    with suppress(DeliftError):
        run = next(iter(workspace.runs.records()), None)
        if run is None or run.status != "done" or workspace.datasets.record(run.spec.pool_id).n_samples < LARGE:
            return
        facets_of(state.scored_run(run))
        selection = next(iter(workspace.selections.records(run.id)), None)
        if selection is None:
            state.problem(run, "euclidean", ObjectiveConfig("instruction"))
        else:
            state.curated(selection)
