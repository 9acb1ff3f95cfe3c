"""Score: measure the utilities of a pool with a model, in the background."""

import streamlit as st

from delift_core.figures.curves import alt_histogram, utility_histogram
from delift_core.jobs.backends import Placement
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.jobs.runs import cancel, refresh, start
from delift_core.selection.diagnose import diagnose
from delift_core.selection.types import ObjectiveConfig
from delift_core.workspace import RunRecord, RunSpec, Workspace
from pages.ui import state
from pages.ui.blocks import chart, clear_errors, duration, empty_state, plain, size, state_words, title
from pages.ui.navigation import page_path
from pages.ui.scoring_form import ask_placement, ask_spec, pairs_of
from pages.ui.setup import page_setup, running

BADGES = {
    "queued": ("Cost measured", "blue"),
    "running": ("Running", "blue"),
    "done": ("Scored", "green"),
    "cancelled": ("Cancelled", "orange"),
    "interrupted": ("Interrupted", "orange"),
    "failed": ("Failed", "red"),
}


def run_of(workspace: Workspace, spec: RunSpec) -> RunRecord | None:
    """The run that these settings belong to, if it was ever started."""
    return next((run for run in workspace.runs.records() if run.spec == spec), None)


def begin(workspace: Workspace, spec: RunSpec, placement: Placement, *, measure: bool) -> None:
    """Starts a worker and points the sidebar at its run."""
    with clear_errors():
        state.want_run(start(workspace, spec, mode="forecast" if measure else "score", placement=placement).id)
        st.rerun()


def cost_view(status: JobStatus) -> None:
    """What a run will cost, as measured."""
    forecast = status.progress.forecast
    if forecast is None or forecast.seconds is None:
        return
    with st.grid(2, min_column_width=130):
        st.metric("Pairs to score", f"{forecast.pairs_missing:,}", border=True, help=f"of {forecast.pairs_total:,}")
        st.metric("Time", duration(forecast.seconds), border=True, help=f"{forecast.tokens_per_second:,.0f} tokens/s")
        st.metric("Memory", size(forecast.memory_bytes), border=True, help=f"{size(forecast.memory_available)} free")
        st.metric("Disk", size(forecast.disk_bytes), border=True, help=f"{size(forecast.disk_available)} free")
    if forecast.refusal:
        st.error(plain(forecast.refusal), icon=":material/memory:")


def notes_view(status: JobStatus) -> None:
    """What the curator should know of the rows: cut prompts, rows that cannot be scored."""
    progress = status.progress
    if progress.truncated:
        st.warning(f"{progress.truncated:,} prompts were cut from the left to fit the context.", icon=":material/cut:")
    if progress.refused:
        with st.expander(f"{len(progress.refused):,} rows cannot be scored", icon=":material/report:"):
            for refusal in progress.refused[:20]:
                st.text(refusal.reason)


@st.fragment(run_every=2.0)  # each look takes time from the scoring
def progress_view(workspace: Workspace, run_id: str) -> None:
    """The bar, the rate, the time left, and Cancel; the whole page follows once the job has ended."""
    status = JobFolder(workspace.jobs_folder / run_id).status()
    if not status.active:
        st.rerun()
    progress = status.progress
    share = progress.pairs_done / progress.pairs_total if progress.pairs_total else 0.0
    left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    what = f" · {progress.pairs_done:,} of {progress.pairs_total:,} pairs" if progress.pairs_total else ""
    st.progress(share, text=f"{state_words(progress)}{what}{left}")
    with st.grid(3, min_column_width=110):
        st.metric("Pairs done", f"{progress.pairs_done:,}", border=True)
        st.metric("Pairs per second", f"{progress.pairs_per_second:,.1f}", border=True)
        st.metric(
            "Time left", duration(progress.seconds_left) if progress.seconds_left is not None else "–", border=True
        )
    st.caption("The run goes on when you leave this page or close the browser.")
    if st.button("Cancel", icon=":material/stop_circle:", help="Everything scored so far is kept."):
        cancel(workspace, run_id)
        st.toast("Stopping; finished blocks are kept.", icon=":material/stop_circle:")


def result_view(run: RunRecord) -> None:
    """What the utilities look like, and the way on."""
    utilities = state.problem(run, "euclidean", ObjectiveConfig("instruction")).utilities.pool
    st.markdown(plain(diagnose(utilities).sentence))
    chart(utility_histogram(utilities), key="histogram", alt=alt_histogram(utilities))
    st.page_link(page_path("select"), label="Go on to Select", icon=":material/arrow_forward:")


def actions(workspace: Workspace, spec: RunSpec, placement: Placement, run: RunRecord | None) -> None:
    """The one button that makes sense now."""
    status = run.status if run else None
    blocked = running(workspace) is not None
    if status in ("cancelled", "interrupted", "failed"):
        if st.button("Continue", type="primary", icon=":material/resume:", disabled=blocked):
            begin(workspace, spec, placement, measure=False)
    elif status == "queued":
        if st.button("Start scoring", type="primary", icon=":material/play_arrow:", disabled=blocked):
            begin(workspace, spec, placement, measure=False)
    elif status == "done":
        repair = "Scores again what is missing or damaged on disk, and nothing else."
        if st.button("Check again", icon=":material/refresh:", disabled=blocked, help=repair):
            begin(workspace, spec, placement, measure=False)
    elif status is None and st.button(
        "Measure the cost",
        type="primary",
        icon=":material/timer:",
        disabled=blocked,
        help="Loads the model and scores for five seconds; those pairs are kept.",
    ):
        begin(workspace, spec, placement, measure=True)


current = page_setup("score")
workspace = current.workspace
pools = workspace.datasets.records("pool")
if not pools:
    title("Score", ":material/speed:")
    empty_state(":material/database:", "There is no pool to score yet.", "data", "Load a pool")
with clear_errors():
    heading = st.container()
    left, right = st.columns([1, 2], gap="large")
    with left:
        spec = ask_spec(workspace, current.run)
        placement = ask_placement()
        run = run_of(workspace, spec)
        run, status = refresh(workspace, run.id) if run else (None, None)
        if run is None or run.status in ("queued", "running"):
            st.markdown(f"**{pairs_of(workspace, spec):,} pairs** of rows in all")
        actions(workspace, spec, placement, run)
    with heading:
        title("Score", ":material/speed:", BADGES[run.status] if run else None)
    with right:
        if run is None or status is None:
            st.info("Measure the cost first: it says how long this will take on this machine.", icon=":material/timer:")
        else:
            if run.message:
                st.error(plain(run.message), icon=":material/error:")
            if status.active:
                progress_view(workspace, run.id)
            elif run.status == "done":
                st.success(f"All {run.n_pairs:,} pairs are scored.", icon=":material/check_circle:")
                result_view(run)
            elif run.status == "queued":
                cost_view(status)
            elif run.status != "failed":
                st.warning(
                    f"Stopped at {status.progress.pairs_done:,} of {status.progress.pairs_total:,} pairs; "
                    "continuing scores only what is missing.",
                    icon=":material/pause_circle:",
                )
            notes_view(status)
