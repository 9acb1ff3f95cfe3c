"""A scoring job: its cost, its progress, and notes on its rows."""

from collections.abc import Callable

import streamlit as st

from delift_core.curation.scoring_runs import cancel
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.scoring.forecast import LONG_SECONDS, SmallerRun
from delift_core.system.texts import byte_size, duration, row_count
from delift_core.workspace import Workspace
from pages.ui.shell.blocks import clear_errors, clock_time, plain, state_words

BADGES = {
    "queued": ("Only estimated", "blue"),
    "forecast": ("Time estimated", "blue"),
    "starting": ("Starting", "blue"),
    "waiting": ("Waiting its turn", "orange"),
    "calibrating": ("Estimating time", "blue"),
    "running": ("Running", "blue"),
    "evaluating": ("Running", "blue"),
    "done": ("Done", "green"),
    "cancelled": ("Cancelled", "orange"),
    "interrupted": ("Interrupted", "orange"),
    "failed": ("Failed", "red"),
}
"""A badge (label, colour) for each state of a run or an evaluation."""
DIED = "The worker process ended unexpectedly; the system may have stopped it because memory ran out. "


def cost_view(status: JobStatus) -> None:
    """The measured cost of a run."""
    forecast = status.progress.facts.forecast
    if forecast is None or forecast.seconds is None:
        return
    with st.grid(2, min_column_width=130):
        st.metric("Pairs to score", f"{forecast.pairs_missing:,}", border=True, help=f"of {forecast.pairs_total:,}")
        st.metric("Time", duration(forecast.seconds), border=True, help=f"{forecast.tokens_per_second:,.0f} tokens/s")
        st.metric(
            "Memory", byte_size(forecast.memory_bytes), border=True, help=f"{byte_size(forecast.memory_available)} free"
        )
        st.metric(
            "Disk", byte_size(forecast.disk_bytes), border=True, help=f"{byte_size(forecast.disk_available)} free"
        )
    measured = f"Measured at {clock_time(status.progress.updated_at)}."
    weights = f" {forecast.weights}." if forecast.weights else ""
    st.caption(f"{measured}{plain(weights)} Scoring takes longer when this machine is busier.")
    if forecast.refusal:
        st.error(plain(forecast.refusal), icon=":material/memory:")
    for caution in () if forecast.refusal else forecast.cautions:
        st.warning(plain(caution), icon=":material/memory:")


def start_knowingly(status: JobStatus | None, rows: tuple[int, int, int], go: Callable[[], None]) -> None:
    """Starts or continues a run; asks first if it is expected to take longer than an hour.

    Args:
        rows: number of rows of the pool, the target and the existing set.
        go: starts the run.
    """
    forecast = status.progress.facts.forecast if status else None
    seconds = status.progress.seconds_left if status else None
    if forecast and status and status.state == "forecast":
        seconds = forecast.seconds
    if forecast is None or seconds is None or seconds <= LONG_SECONDS:
        go()
    else:
        _ask_long_run(seconds, forecast.smaller_runs(*rows), go)


@st.dialog("This run will take a long time")
def _ask_long_run(seconds: float, smaller: tuple[SmallerRun, ...], go: Callable[[], None]) -> None:
    """Asks before a long run is started.

    Args:
        smaller: faster runs, on some of the pairs.
    """
    st.markdown(f"Scoring these pairs takes about **{duration(seconds)}** on this machine.")
    if smaller:
        st.markdown("Scoring only some of them is faster, and the rest are estimated. Choose how many under *Pairs*:")
        st.markdown("\n".join(f"- {_part(run)}: {run.pairs:,} pairs, about {duration(run.seconds)}" for run in smaller))
    with st.container(horizontal=True):
        if st.button("Back", icon=":material/arrow_back:"):
            st.rerun()
        if st.button("Start anyway", type="primary", icon=":material/play_arrow:"):
            go()


def _part(run: SmallerRun) -> str:
    amount = f"{run.budget.amount:g}"
    return f"{amount}% of the pairs" if run.budget.unit == "percent" else f"{amount} per row"


def notes_view(status: JobStatus) -> None:
    """Notes on the rows: cut prompts, damaged blocks, rows that cannot be scored."""
    facts = status.progress.facts
    if facts.truncated:
        st.warning(f"{facts.truncated:,} prompts were cut at the start to fit the context.", icon=":material/cut:")
    for caution in facts.rendering.cautions:
        st.warning(f"{caution[0].upper()}{caution[1:]}.", icon=":material/text_fields:")
    if facts.damaged:
        words = "1 block of scores was" if facts.damaged == 1 else f"{facts.damaged:,} blocks of scores were"
        st.warning(f"{words} damaged on disk and scored again.", icon=":material/healing:")
    if facts.refused:
        with st.expander(f"{row_count(len(facts.refused))} cannot be scored", icon=":material/report:"):
            for refusal in facts.refused[:20]:
                st.text(refusal.reason)


@st.fragment(run_every=2.0)  # polling takes time from the scoring
def progress_view(workspace: Workspace, run_id: str) -> None:
    """Progress, rate, time left and Cancel; reruns the whole page when the job has ended."""
    status = JobFolder(workspace.jobs_folder / run_id).status()
    if not status.active:
        st.rerun()
    progress = status.progress
    left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    what = f" · {progress.done:,} of {progress.total:,} pairs" if progress.total else ""
    st.progress(progress.share, text=f"{state_words(progress)}{what}{left}")
    with st.grid(3, min_column_width=110):
        st.metric("Pairs done", f"{progress.done:,}", border=True)
        st.metric("Pairs per second", f"{progress.per_second:,.1f}", border=True)
        st.metric(
            "Time left", duration(progress.seconds_left) if progress.seconds_left is not None else "–", border=True
        )
    st.caption("Keeps running if you leave this page or close the browser.")
    if st.button("Cancel", icon=":material/stop_circle:", help="Everything scored so far is kept."):
        with clear_errors():
            cancel(workspace, run_id)
            st.toast("Stopping. Everything scored so far is kept.", icon=":material/stop_circle:")
