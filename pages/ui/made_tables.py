"""What a workspace has made so far, as tables: kept selections, and scoring runs."""

import pandas as pd
import streamlit as st

from delift_core.baselines.catalogue import method_title
from delift_core.workspace import Workspace


def selections_table(workspace: Workspace) -> None:
    """Every kept selection, newest first."""
    rows = [
        {
            "Name": summary.name,
            "Run": summary.run_id,
            "Stage": summary.config.stage,
            "Method": method_title(summary.method),
            "Rows": summary.n_chosen,
            "Kept at": summary.created_at,
        }
        for summary in workspace.selections.records()
    ]
    if rows:
        when = st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=110)
        narrow = st.column_config.Column(width=60)
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={"Kept at": when, "Run": narrow, "Rows": narrow},
            alt="Kept selections, newest first",
        )
    else:
        st.caption("Nothing was selected yet: score the pool, then choose a stage and a budget.")


def runs_table(workspace: Workspace) -> None:
    """Every scoring run, newest first."""
    names = {record.id: record.name for record in workspace.datasets.records()}
    rows = [
        {
            "Run": run.id,
            "Pool": names[run.spec.pool_id],
            "Model": run.spec.model,
            "Pairs": run.n_pairs,
            "Status": run.status,
            "Started": run.created_at,
        }
        for run in workspace.runs.records()
    ]
    if rows:
        when = st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=110)
        st.dataframe(pd.DataFrame(rows), hide_index=True, column_config={"Started": when}, alt="Runs, newest first")
    else:
        st.caption("Nothing was scored yet.")
