"""What every page does first: set up the app, open the workspace, draw the sidebar."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from delift_core.curation.scoring_runs import refresh
from delift_core.errors import DeliftError
from delift_core.jobs.folder import JobStatus, job_folders
from delift_core.jobs.progress import JobProgress
from delift_core.system.texts import duration
from delift_core.workspace import DatasetRecord, RunRecord, SelectionSummary, Workspace
from pages.ui.shell import state
from pages.ui.shell.address import put
from pages.ui.shell.blocks import plain, state_words
from pages.ui.shell.navigation import HEALTH, ICON, LOGO, PAGES, enter, entered, page_path
from pages.ui.shell.state import Current
from pages.ui.shell.visitor import OPEN_TO_ALL, is_open_to_all, visitor, who_line

_T = TypeVar("_T")
_POLL_SECONDS = 2.0
_NAME_FITS = 20
_GONE = "gone"


def page_setup(name: str) -> Current:
    """Draws the sidebar of a page, and returns what the visitor is working on."""
    if not entered():
        enter()
        st.rerun()  # through app.py, as every later run, so that no widget is mounted twice
    entry = next(page for page in (*PAGES, HEALTH) if page.name == name)
    actor = visitor()
    if is_open_to_all():
        st.error(OPEN_TO_ALL, icon=":material/gpp_maybe:")
    try:
        workspace = state.workspace(actor)
    except DeliftError as error:
        st.title(entry.title)
        st.error(plain(str(error)), icon=":material/folder_off:")
        st.button("Try again", type="primary", icon=":material/refresh:")  # any click reruns the page
        who_line(actor)
        st.stop()
    st.logo(str(LOGO), size="large", icon_image=str(ICON))
    with st.sidebar:
        current = _pickers(workspace)
        if name != "score":  # which shows the job itself, or calls `job_line`
            job_line(workspace)
        if name != "evaluate":
            _evaluation_line(workspace)
        who_line(actor)
    _say_what_is_gone(name, current)
    return current


def _pickers(workspace: Workspace) -> Current:
    runs = [refresh(workspace, run.id)[0] if run.status == "running" else run for run in workspace.runs.records()]
    pools = {record.id: record for record in workspace.datasets.records()}
    run = _pick_run(workspace, runs, pools)
    selections = workspace.selections.records(run.id) if run else ()
    selection = _pick_selection(selections)
    pool = pools.get(run.spec.pool_id) if run else next((p for p in pools.values() if p.role == "pool"), None)
    return Current(workspace, pool, run, selection)


def _pick_run(workspace: Workspace, runs: list[RunRecord], pools: dict[str, DatasetRecord]) -> RunRecord | None:
    # No status in the label: the browser keeps the label of a chosen option.
    words = {run.id: f"{run.id} · {pools[run.spec.pool_id].name}" for run in runs}
    chosen = _pick("run", words, default_run(workspace, runs), "A scoring run: one pool, scored with one model.")
    return next((run for run in runs if run.id == chosen), None)


def _pick_selection(selections: tuple[SelectionSummary, ...]) -> SelectionSummary | None:
    words = {one.id: f"{one.name} · {one.n_chosen:,} chosen" for one in selections}
    chosen = _pick("selection", words, next(iter(words), None), "A selection saved from this run.")
    found = next((one for one in selections if one.id == chosen), None)
    if found is not None and len(found.name) > _NAME_FITS:
        st.caption(plain(found.name))
    return found


def _pick(kind: str, words: Mapping[str, str], default: str | None, help: str) -> str | None:
    """A picker of a run or a selection; the id of the chosen one, None if there are none."""
    key = f"{kind}_picker"
    _settle(kind, key, words, default)
    if not words:
        return None
    label = kind.capitalize()
    chosen = st.selectbox(
        label, list(words), format_func=words.__getitem__, key=key, persist_state="session", help=help
    )
    put(kind, chosen)
    return chosen


def default_run(workspace: Workspace, runs: list[RunRecord]) -> str | None:
    """The run that a new visitor sees: that of the selection in the address, else the newest finished one, else a
    running one, else one with scored pairs, else the newest."""
    asked = None if "run_picker" in st.session_state else st.query_params.get("selection")
    of_selection = {one.id: one.run_id for one in workspace.selections.records()}.get(asked) if asked else None
    kinds = (
        lambda run: run.id == of_selection,
        lambda run: run.status == "done",
        lambda run: run.status == "running",
        lambda run: run.n_pairs > 0,
        lambda run: True,
    )
    return next((run.id for kind in kinds for run in runs if kind(run)), None)


def _settle(kind: str, key: str, known: Mapping[str, object], default: str | None) -> None:
    """Sets a picker to what another page asked for, or to the default if its value no longer exists."""
    wanted = state.wanted(kind)
    if wanted is None and key not in st.session_state:  # a new visitor: what the address asks for
        wanted = st.query_params.get(kind)
    if wanted is not None and wanted not in known:
        st.session_state[_GONE] = _Gone(kind, wanted)
    held = wanted if wanted in known else st.session_state.get(key)
    held = held if held in known else default
    if held is not None:  # on every run: on a new page Streamlit keeps the value, but draws the picker without it
        st.session_state[key] = held
    else:
        st.session_state.pop(key, None)


@dataclass(slots=True)
class _Gone:
    """A run or selection in the address that does not exist; `page`: where that was said."""

    kind: str
    id: str
    page: str = ""


def _say_what_is_gone(page: str, current: Current) -> None:
    """Shows a warning on the page that was opened, and not on the next one."""
    gone: _Gone | None = st.session_state.get(_GONE)
    if gone is None:
        return
    gone.page = gone.page or page
    shown = {"run": current.run, "selection": current.selection}[gone.kind]
    if gone.page != page:
        del st.session_state[_GONE]
        return
    instead = f"Showing {gone.kind} {shown.id} instead." if shown else f"There is no other {gone.kind} to show."
    st.warning(
        f"There is no {gone.kind} {plain(gone.id)} in this workspace: it was deleted, or belongs to another workspace. "
        f"{instead}",
        icon=":material/link_off:",
    )


def running(workspace: Workspace) -> tuple[RunRecord, JobStatus] | None:
    """The run that is being scored, else one that waits for its turn, if any."""
    found = [refresh(workspace, record.id) for record in workspace.runs.records() if record.status == "running"]
    active = [(record, status) for record, status in found if status.active]
    return min(active, key=lambda one: one[1].state == "waiting", default=None)


def job_line(workspace: Workspace) -> None:
    """The progress of the running job, with a link to it; updates itself."""

    def draw(found: tuple[RunRecord, JobStatus]) -> None:
        record, progress = found[0], found[1].progress
        left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        st.progress(progress.share, text=f"{record.id} · {state_words(progress)}{left}")
        query = {"watch": record.id}
        st.page_link(page_path("score"), label="Watch or cancel", icon=":material/monitoring:", query_params=query)

    _follow(lambda: running(workspace), draw)


def _follow(look: Callable[[], _T | None], draw: Callable[[_T], None]) -> None:
    """Draws what is at work every few seconds; reruns the page when it has ended."""
    if look() is None:
        return

    @st.fragment(run_every=_POLL_SECONDS)
    def line() -> None:
        found = look()
        if found is None:
            st.rerun()
        draw(found)

    line()


def _evaluation_line(workspace: Workspace) -> None:
    """The progress of the running evaluation, if any, with a link to it; updates itself."""

    def draw(progress: JobProgress) -> None:
        left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        st.progress(progress.share, text=f"Evaluation · {state_words(progress)}{left}")
        st.page_link(page_path("evaluate"), label="Go to Evaluate", icon=":material/science:")

    _follow(lambda: _evaluation_at_work(workspace), draw)


def _evaluation_at_work(workspace: Workspace) -> JobProgress | None:
    found = (job.status() for job in job_folders(workspace.folder, "evaluation"))
    return next((status.progress for status in found if status.active), None)
