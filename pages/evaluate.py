"""Evaluate: fine-tune on the subset and on the rows to compare it with, and test on held-out rows."""

import streamlit as st

from delift_core.curation.curate import CuratedSelection, keep_selection
from delift_core.evaluation.background import Mode, report_of
from delift_core.evaluation.evaluation_request import SUBSET
from delift_core.evaluation.report import EvaluationReport
from delift_core.evaluation.subset_evaluation import EvaluationSettings, arm_request, evaluations, folder_of, start
from delift_core.jobs.folder import JobFolder, JobStatus
from pages.ui.evaluate.evaluation_form import arm_title, ask_settings
from pages.ui.evaluate.evaluation_view import cost_view, progress_view, report_view
from pages.ui.score.job_view import BADGES, DIED
from pages.ui.shell import state
from pages.ui.shell.blocks import clear_errors, empty_state, plain, title
from pages.ui.shell.display import short_path
from pages.ui.shell.navigation import go_to, page_path
from pages.ui.shell.setup import page_setup


def begin(curated: CuratedSelection, settings: EvaluationSettings, mode: Mode) -> None:
    """Starts the worker."""
    with clear_errors():
        start(current.workspace, curated, settings, mode)
        st.rerun()


def actions(curated: CuratedSelection, settings: EvaluationSettings, status: JobStatus | None) -> None:
    """The button for the current state, for visitors who may start jobs."""
    if not current.workspace.actor.may("job"):
        return
    if status is None:
        if st.button(
            "Estimate time",
            type="primary",
            icon=":material/timer:",
            help="Loads the model and runs one training step, which is then discarded.",
        ):
            begin(curated, settings, "forecast")
    elif status.state == "forecast":
        if st.button("Start", type="primary", icon=":material/play_arrow:"):
            begin(curated, settings, "evaluate")
    elif status.state in ("cancelled", "interrupted", "failed"):
        if st.button("Continue", type="primary", icon=":material/resume:", help="Finished runs are not repeated."):
            begin(curated, settings, "evaluate")
    elif status.state == "done" and st.button(
        "Run again", icon=":material/refresh:", help="With the subset as it is now; what did not change is reused."
    ):
        begin(curated, settings, "evaluate")


def keep_arm(curated: CuratedSelection, report: EvaluationReport) -> None:
    """Saves the rows of an arm as a selection."""
    names = [arm.name for arm in report.arms if arm.positions and arm.name != SUBSET]
    if not names:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Rows of", names, format_func=arm_title, key="evaluate_keep_arm")
        if st.button("Save as a selection", icon=":material/bookmark_add:"):
            found = report.arm(name)
            assert found is not None
            with clear_errors():
                request = arm_request(curated.problem, name, found.positions)
                kept = keep_selection(current.workspace, curated.selector, request, name=arm_title(name))
                state.want_selection(kept.id)
                go_to("curate")


def result(curated: CuratedSelection, job: JobFolder, status: JobStatus) -> None:
    """The state and the report of a started evaluation."""
    if status.state == "failed":
        st.error(plain(status.progress.message), icon=":material/error:")
    elif status.active:
        progress_view(current.workspace, job)
    elif status.state == "forecast":
        cost_view(job)
    elif status.state in ("cancelled", "interrupted"):
        died = DIED if status.state == "interrupted" else ""
        words = f"{died}Stopped. Continue to run only what is missing."
        st.warning(words, icon=":material/pause_circle:")
    report = report_of(job)
    if report is not None:
        report_view(report)
        if (job.folder / "adapter").exists():
            st.caption(plain(f"The adapter is in {short_path(job.folder / 'adapter')}"))
        keep_arm(curated, report)


current = page_setup("evaluate")
if current.run is None or current.selection is None:
    title("Evaluate", ":material/science:")
    empty_state(":material/filter_alt:", "No selection to evaluate yet.", "select", "Make a selection")
assert current.selection is not None
if not current.workspace.datasets.records("heldout"):
    title("Evaluate", ":material/science:")
    empty_state(":material/database:", "You need held-out rows to test with.", "data", "Load held-out rows")
with clear_errors():
    heading = st.container()
    left, right = st.columns([1, 2], gap="large")
    curated = state.curated(current.selection)
    with left:
        assert current.pool is not None
        settings = ask_settings(current.workspace, current.selection, current.pool)
    if settings is None:
        with heading:
            title("Evaluate", ":material/science:")
        with right:
            st.info("Choose the held-out rows to test with.", icon=":material/science:")
            st.page_link(page_path("data"), label="Load held-out rows", icon=":material/arrow_forward:")
        st.stop()
    with left:
        job = folder_of(current.workspace, current.selection.id, settings)
        known = (job.folder / "request.json").exists()
        status = job.status() if known else None
        actions(curated, settings, status)
    with heading:
        title("Evaluate", ":material/science:", BADGES[status.state] if status else None)
    with right:
        if status is not None:
            result(curated, job, status)
        else:
            st.info(
                "Does this subset train better than others of its size? Estimate the time first.",
                icon=":material/science:",
            )
            reports = map(report_of, evaluations(current.workspace, current.selection.id))
            if last := next(filter(None, reports), None):
                st.caption("The last evaluation of this selection, with other settings:")
                report_view(last)
