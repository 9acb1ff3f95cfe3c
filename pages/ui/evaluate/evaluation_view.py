"""An evaluation: its cost, its progress and its report."""

import pandas as pd
import streamlit as st

from delift_core.evaluation.background import cost_of
from delift_core.evaluation.report import ArmResult, EvaluationReport, LeftOutRow
from delift_core.evaluation.subset_evaluation import cancel
from delift_core.jobs.folder import JobFolder
from delift_core.system.texts import duration
from delift_core.workspace import Workspace
from pages.figures.evaluation import alt_gap_chart, gap_chart
from pages.ui.evaluate.evaluation_form import arm_title
from pages.ui.shell.blocks import chart, clear_errors, plain, with_separators

SHOWN = 20


def cost_view(job: JobFolder) -> None:
    """The measured cost."""
    cost = cost_of(job)
    if cost is None:
        return
    with st.grid(3, min_column_width=130):
        st.metric("Time, at most", duration(cost.seconds), border=True)
        st.metric("Training runs", f"{cost.runs:,}", border=True)
        st.metric("Training tokens", f"{cost.trained_tokens:,}", border=True, help="Over all epochs and runs.")


@st.fragment(run_every=2.0)
def progress_view(workspace: Workspace, job: JobFolder) -> None:
    """Progress, last message, time left and Cancel; reruns the whole page when the evaluation has ended."""
    status = job.status()
    if not status.active:
        st.rerun()
    progress = status.progress
    left = f" · about {duration(progress.seconds_left)} of training left" if progress.seconds_left is not None else ""
    st.progress(progress.share, text=f"{plain(progress.message) or 'Starting'}{left}")
    st.caption("Keeps running if you leave this page or close the browser.")
    if st.button("Cancel", icon=":material/stop_circle:", help="Finished runs are kept."):
        with clear_errors():
            cancel(workspace, job)
            st.toast("Stopping. Finished runs are kept.", icon=":material/stop_circle:")


def report_view(report: EvaluationReport) -> None:
    """The conclusion, the chart, the tables, and notes on the rows."""
    st.markdown(plain(report.conclusion()))
    titles = {arm.name: arm_title(arm.name) for arm in report.arms}
    chart(gap_chart(report.arms, titles), key="gaps", alt=alt_gap_chart(report.arms, titles))
    weights = "LoRA layers" if report.lora else "All weights"
    seeds = "1 seed" if len(report.seeds) == 1 else f"{len(report.seeds)} seeds"
    st.caption(
        "Loss in nats per response token. Right of 0 the subset is better; an interval that crosses 0 means no "
        f"difference was found. Means over {seeds} for the subset and random rows; 95% bootstrap intervals, paired by "
        f"row, on {report.heldout_rows:,} held-out rows ({report.heldout_tokens:,} tokens). {weights}, "
        f"{report.tuning.epochs} epochs, learning rate {report.tuning.learning_rate:g}."
    )
    _table(report.arms, "arms")
    if report.in_context:
        st.header("Without training")
        st.caption(f"With the {report.examples} nearest rows of each shown as examples before the question.")
        _table(report.in_context, "context")
    if any(arm.answers for arm in report.arms):
        st.header("Answers")
        rows = [
            {"Arm": arm_title(arm.name)} | {score.name: score.value.value for score in arm.answers}
            for arm in report.arms
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Scores of the answers of each arm")
    _rows("Held-out and pool rows left out", report.left_out)
    _rows("Held-out rows whose prompt is also in the pool", report.same_prompt)


def _table(arms: tuple[ArmResult, ...], key: str) -> None:
    """The main columns; the others are in an expander."""
    names = [arm_title(arm.name) for arm in arms]
    first = {
        "Arm": names,
        "Loss": [arm.loss.value for arm in arms],
        "The subset has": [arm.verdict for arm in arms],
        "Rows": [arm.rows for arm in arms],
        "Tokens": [arm.tokens for arm in arms],
        "Accuracy": [arm.accuracy.value for arm in arms],
    }
    more = {
        "Arm": names,
        "Subset minus arm": [arm.gap.value if arm.gap else None for arm in arms],
        "95% interval": [f"{arm.gap.low:+.4f} to {arm.gap.high:+.4f}" if arm.gap else "" for arm in arms],
        "Perplexity": [arm.perplexity for arm in arms],
        "Seconds": [arm.seconds + arm.ordering_seconds for arm in arms],
    }
    formats = {"Loss": "%.4f", "Perplexity": "%.2f", "Accuracy": "percent", "Subset minus arm": "%+.4f"}
    config = {name: st.column_config.NumberColumn(format=form) for name, form in formats.items()}
    config["Seconds"] = st.column_config.NumberColumn(format="%.0f", help="Close to 0 for runs that were reused.")
    alt = "One row per arm"
    table = with_separators(pd.DataFrame(first), "Rows", "Tokens")
    st.dataframe(table, hide_index=True, column_config=config, key=f"table_{key}", alt=alt)
    with st.expander("Intervals, perplexity and time", type="compact"):
        st.dataframe(pd.DataFrame(more), hide_index=True, column_config=config, key=f"more_{key}", alt=alt)


def _rows(words: str, rows: tuple[LeftOutRow, ...]) -> None:
    if rows:
        with st.expander(f"{words}: {len(rows):,}", icon=":material/report:", expanded=True):
            for row in rows[:SHOWN]:
                st.text(str(row))
            if len(rows) > SHOWN:
                st.caption(f"and {len(rows) - SHOWN:,} more")
