"""Score: measure the utilities of a pool with a model, in the background."""

from functools import partial

import numpy as np
import streamlit as st

from delift_core.curation.scoring_runs import refresh, start
from delift_core.jobs.backends import Placement
from delift_core.jobs.folder import JobStatus
from delift_core.scoring.pair_spec import ALL_PAIRS
from delift_core.selection.diagnose import diagnose
from delift_core.selection.types import ObjectiveConfig
from delift_core.workspace import RunRecord, RunSpec, Workspace
from pages.figures.curves import alt_histogram, utility_histogram
from pages.ui.score.job_view import BADGES, DIED, cost_view, notes_view, progress_view, start_knowingly
from pages.ui.score.scoring_form import ask_placement, ask_spec, pairs_line, rows_of
from pages.ui.shell import state
from pages.ui.shell.blocks import chart, clear_errors, empty_state, plain, title
from pages.ui.shell.model_text_view import ask_model_text, model_text_view
from pages.ui.shell.navigation import page_path
from pages.ui.shell.setup import job_line, page_setup, running

UTILITY_WORDS = (
    "Utility is how much the model's error on a row's response falls when another row is shown as an example. The "
    "error is 0 when the model predicts every token with certainty, and 1 when it expects none of them. Above 0 the "
    "example helps, at 0 it changes nothing, below 0 it misleads the model."
)
MEASURE_HELP = (
    "Loads the model and scores for about five seconds. Pairs finished by then are kept; on a busy machine there may "
    "be none."
)


def begin(workspace: Workspace, spec: RunSpec, placement: Placement, *, measure: bool) -> None:
    """Starts a worker and selects its run in the sidebar."""
    with clear_errors():
        state.want_run(start(workspace, spec, mode="forecast" if measure else "score", placement=placement).id)
        st.rerun()


def result_view(run: RunRecord) -> None:
    """The distribution of the utilities, with a link to Select."""
    utilities = state.problem(run, "euclidean", ObjectiveConfig("instruction")).utilities.pool
    st.markdown(plain(diagnose(utilities).sentence))
    scored = utilities if isinstance(utilities, np.ndarray) else utilities.data
    chart(utility_histogram(scored), key="histogram", alt=alt_histogram(scored))
    st.caption(UTILITY_WORDS)
    st.page_link(page_path("select"), label="Continue to Select", icon=":material/arrow_forward:")


def pair_text_view(workspace: Workspace, spec: RunSpec) -> None:
    """What the model reads of two rows of the pool, the one as the example of the other."""
    with st.container(horizontal=True):
        rows = workspace.datasets.record(spec.pool_id).n_samples
        at = int(st.number_input("Row", 1, rows, key="read_row", help="By its position in the pool"))
        before = int(st.number_input("Example", 1, rows, min(2, rows), key="read_example"))
    found = [workspace.datasets.page(spec.pool_id, positions=[one - 1], limit=1).rows[0].sample for one in (at, before)]
    model_text_view(spec, *found)


def actions(
    workspace: Workspace, spec: RunSpec, placement: Placement, run: RunRecord | None, job: JobStatus | None
) -> None:
    """The buttons for the current state of the run."""
    status = run.status if run else None
    blocked = not workspace.actor.may("job")

    def go() -> None:
        start_knowingly(job, rows_of(workspace, spec), partial(begin, workspace, spec, placement, measure=False))

    if status in ("cancelled", "interrupted", "failed"):
        if st.button("Continue", type="primary", icon=":material/resume:", disabled=blocked):
            go()
    elif status == "queued":
        if st.button("Start scoring", type="primary", icon=":material/play_arrow:", disabled=blocked):
            go()
        if st.button("Estimate again", icon=":material/timer:", disabled=blocked, help=MEASURE_HELP):
            begin(workspace, spec, placement, measure=True)
    elif status == "done":
        repair = "Looks for missing or damaged scores on disk, and scores only those again."
        if st.button("Rescan", icon=":material/refresh:", disabled=blocked, help=repair):
            begin(workspace, spec, placement, measure=False)
    elif status is None and st.button(
        "Estimate time",
        type="primary",
        icon=":material/timer:",
        disabled=blocked,
        help=MEASURE_HELP,
    ):
        begin(workspace, spec, placement, measure=True)


if watched := st.query_params.get("watch"):  # from the link beside the sidebar's progress
    state.want_run(watched)
    del st.query_params["watch"]
current = page_setup("score")
workspace = current.workspace
pools = workspace.datasets.records("pool")
if not pools:
    title("Score", ":material/speed:")
    empty_state(":material/database:", "No pool to score yet.", "data", "Load a pool")
with clear_errors():
    heading = st.container()
    left, right = st.columns([1, 2], gap="large")
    with left:
        spec = ask_spec(workspace, current.run)
        placement = ask_placement()
        run = workspace.runs.find(spec)
        run, status = refresh(workspace, run.id) if run else (None, None)
        if run is None or run.status == "queued":  # else the progress says more
            pairs_line(workspace, spec)
        if spec.model:
            actions(workspace, spec, placement, run, status)
    at_work = running(workspace)
    if at_work is not None and (run is None or at_work[0].id != run.id):
        with st.sidebar:
            job_line(workspace)
    with heading:
        waits = status is not None and status.progress.phase == "waiting" and status.active
        title("Score", ":material/speed:", BADGES["waiting" if waits else run.status] if run else None)
    with right:
        if not spec.model:
            st.info("Enter the model to score with: a Hugging Face ID or a folder.", icon=":material/smart_toy:")
        elif run is None or status is None:
            st.info("Estimate the time first, to see how long scoring takes on this machine.", icon=":material/timer:")
        else:
            if run.message:
                st.error(plain(run.message), icon=":material/error:")
            if status.active:
                progress_view(workspace, run.id)
            elif run.status == "done":
                which = "All" if run.spec.pairs == ALL_PAIRS else "The requested"
                st.success(f"{which} {run.n_pairs:,} pairs are scored.", icon=":material/check_circle:")
                result_view(run)
            elif run.status == "queued":
                cost_view(status)
            elif run.status != "failed":
                died = DIED if run.status == "interrupted" else ""
                st.warning(
                    f"{died}Stopped at {status.progress.done:,} of {status.progress.total:,} pairs. "
                    "Continue to score only the missing pairs.",
                    icon=":material/pause_circle:",
                )
            notes_view(status)
        if spec.model and ask_model_text("score_model_text"):
            pair_text_view(workspace, spec)
