"""Tables of a workspace's saved selections and scoring runs."""

from pathlib import Path

import pandas as pd
import streamlit as st

from delift_core.curation.scoring_runs import forget
from delift_core.selection.methods import method_title
from delift_core.selection.types import STAGES
from delift_core.workspace import RunStatus, Workspace
from pages.ui.shell.blocks import clear_errors, plain, with_separators

_DATE = st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=100)
RUN_WORDS: dict[RunStatus, str] = {
    "queued": "only estimated",
    "running": "running",
    "done": "scored",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "failed": "failed",
}
"""A run is "queued" in the workspace if only its cost was measured: nothing starts it by itself."""


def selections_table(workspace: Workspace) -> None:
    """Every saved selection, newest first."""
    rows = [
        {
            "Name": summary.name,
            "Run": summary.run_id,
            "Goal": STAGES[summary.config.stage].title,
            "Method": method_title(summary.method),
            "Chosen": summary.n_chosen,
            "By hand": len(workspace.edits.overrides(summary.id)),
            "Saved": summary.created_at,
        }
        for summary in workspace.selections.records()
    ]
    if not rows:
        st.caption("No selections yet: score the pool, then choose a goal and a budget.")
        return
    table = pd.DataFrame(rows)
    if set(table["Method"]) == {method_title("delift")}:
        table = table.drop(columns="Method")
    if len(set(table["Run"])) == 1:
        table = table.drop(columns="Run")
    st.dataframe(
        with_separators(table, "Chosen", "By hand"),
        hide_index=True,
        column_config={
            "Run": st.column_config.Column(width=40),
            "Goal": st.column_config.Column(width=115),
            "Method": st.column_config.Column(width=75),
            "Chosen": st.column_config.Column(width=60, help="Rows the optimiser chose, before your edits."),
            "By hand": st.column_config.Column(width=62, help="Rows you have kept or dropped since."),
            "Saved": _DATE,
        },
        alt="Saved selections, newest first",
    )


def runs_table(workspace: Workspace) -> None:
    """Every scoring run, newest first."""
    names = {record.id: record.name for record in workspace.datasets.records()}
    rows = [
        {
            "Run": run.id,
            "Pool": names[run.spec.pool_id],
            "Target": names.get(run.spec.target_id or "", ""),
            "Existing": names.get(run.spec.existing_id or "", ""),
            "Model": Path(run.spec.model).name if Path(run.spec.model).is_absolute() else run.spec.model,
            "Pairs scored": run.n_pairs,
            "Status": RUN_WORDS[run.status],
            "Started": run.created_at,
        }
        for run in workspace.runs.records()
    ]
    if not rows:
        st.caption("No runs yet.")
        return
    filled = pd.DataFrame(rows)
    for name in ("Target", "Existing"):
        if not filled[name].any():
            filled = filled.drop(columns=name)
    narrow = {"Run": st.column_config.Column(width=40), "Pairs scored": st.column_config.Column(width=85)}
    st.dataframe(
        with_separators(filled, "Pairs scored"),
        hide_index=True,
        column_config={"Started": _DATE} | narrow,
        alt="Runs, newest first",
    )


def run_deleter(workspace: Workspace) -> None:
    """Deletes a run without selections, such as an estimate or a failed run."""
    used = {summary.run_id for summary in workspace.selections.records()}
    free = {run.id: run for run in workspace.runs.records() if run.id not in used and run.status != "running"}
    if not free or not workspace.actor.may("delete"):
        return
    names = {record.id: record.name for record in workspace.datasets.records()}
    with st.popover("Delete a run", icon=":material/delete:"), st.form("delete_run", border=False):
        chosen = st.selectbox(
            "Run",
            list(free),
            format_func=lambda name: f"{name} · {names[free[name].spec.pool_id]}, {RUN_WORDS[free[name].status]}",
        )
        st.caption("Runs that have selections are not listed. Scored pairs stay on disk for other runs.")
        if st.form_submit_button("Delete permanently"):
            with clear_errors():
                forget(workspace, chosen)
                st.toast(plain(f"Run {chosen} deleted"), icon=":material/delete:")
                st.rerun()
