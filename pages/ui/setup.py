"""What every page does first: enter the app, open the workspace, draw the sidebar."""

from collections.abc import Mapping

import streamlit as st

from delift_core.durations import duration
from delift_core.errors import DeliftError
from delift_core.jobs.folder import JobStatus
from delift_core.jobs.runs import refresh
from delift_core.workspace import DatasetRecord, RunRecord, SelectionSummary, Workspace
from pages.ui import state
from pages.ui.address import put
from pages.ui.blocks import plain, state_words
from pages.ui.navigation import HEALTH, ICON, LOGO, PAGES, enter, entered, page_path
from pages.ui.reading_ahead import read_ahead
from pages.ui.state import Current
from pages.ui.visitor import OPEN_TO_ALL, is_open_to_all, visitor, who_line

_POLL_SECONDS = 2.0
_NAME_FITS = 20


def page_setup(name: str) -> Current:
    """Draws the title and the sidebar of a page, and returns what the visitor is working on."""
    if not entered():
        enter()
        st.rerun()  # through app.py this time, as every later run, so that no widget is mounted twice
    entry = next(page for page in (*PAGES, HEALTH) if page.name == name)
    actor = visitor()
    if is_open_to_all():
        st.error(OPEN_TO_ALL, icon=":material/gpp_maybe:")
    try:
        workspace = state.workspace(actor)
    except DeliftError as error:
        st.title(entry.title)
        st.error(plain(str(error)), icon=":material/folder_off:")
        st.button("Try again", type="primary", icon=":material/refresh:")  # to press it draws the page anew
        who_line(actor)
        st.stop()
    read_ahead(workspace)
    st.logo(str(LOGO), size="large", icon_image=str(ICON))
    with st.sidebar:
        current = _pickers(workspace)
        if name != "score":  # that page shows the job itself
            _job_line(workspace)
        who_line(actor)
    return current


def _pickers(workspace: Workspace) -> Current:
    runs = [refresh(workspace, run.id)[0] for run in workspace.runs.records()]
    pools = {record.id: record for record in workspace.datasets.records()}
    run = _pick_run(runs, pools)
    selections = workspace.selections.records(run.id) if run else ()
    selection = _pick_selection(selections)
    pool = pools.get(run.spec.pool_id) if run else next((p for p in pools.values() if p.role == "pool"), None)
    return Current(workspace, pool, run, selection)


def _pick_run(runs: list[RunRecord], pools: dict[str, DatasetRecord]) -> RunRecord | None:
    by_id = {run.id: run for run in runs}
    _settle("run", "run_picker", by_id)
    if not by_id:
        return None
    chosen = st.selectbox(  # no status in the label: the browser keeps the words of a chosen option
        "Run",
        list(by_id),
        format_func=lambda run_id: f"{run_id} · {pools[by_id[run_id].spec.pool_id].name}",
        key="run_picker",
        persist_state="session",
        help="A scoring run: one pool measured with one model.",
    )
    put("run", chosen)
    return by_id[chosen]


def _pick_selection(selections: tuple[SelectionSummary, ...]) -> SelectionSummary | None:
    by_id = {selection.id: selection for selection in selections}
    _settle("selection", "selection_picker", by_id)
    if not by_id:
        return None
    chosen = st.selectbox(
        "Selection",
        list(by_id),
        format_func=lambda selection_id: f"{by_id[selection_id].name} · {by_id[selection_id].n_chosen} rows",
        key="selection_picker",
        persist_state="session",
        help="What was chosen from this run, under the name you kept it by.",
    )
    put("selection", chosen)
    if len(by_id[chosen].name) > _NAME_FITS:
        st.caption(plain(by_id[chosen].name))
    return by_id[chosen]


def _settle(kind: str, key: str, known: Mapping[str, object]) -> None:
    """Puts a picker on what another page asked for, and off what is no longer there."""
    wanted = state.wanted(kind)
    if wanted is None and key not in st.session_state:  # a new visitor: what the address asks for
        wanted = st.query_params.get(kind)
    held = wanted if wanted in known else st.session_state.get(key)
    if held in known:  # set on every run: on a new page Streamlit keeps the value, but draws the picker without it
        st.session_state[key] = held
    else:
        st.session_state.pop(key, None)


def running(workspace: Workspace) -> tuple[RunRecord, JobStatus] | None:
    """The run that is being scored now, else one that waits for its turn, if any."""
    found = [refresh(workspace, record.id) for record in workspace.runs.records() if record.status == "running"]
    active = [(record, status) for record, status in found if status.active]
    return min(active, key=lambda one: one[1].state == "waiting", default=None)


def _job_line(workspace: Workspace) -> None:
    if running(workspace) is None:
        return

    @st.fragment(run_every=_POLL_SECONDS)
    def line() -> None:
        found = running(workspace)
        if found is None:
            st.rerun()
        record, status = found
        progress = status.progress
        share = progress.pairs_done / progress.pairs_total if progress.pairs_total else 0.0
        left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        st.progress(share, text=f"{record.id} · {state_words(progress)}{left}")
        st.page_link(page_path("score"), label="Watch or cancel", icon=":material/monitoring:")

    line()
