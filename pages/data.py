"""Data: load files, Hub data sets or the sample project; see which rows were loaded and which were skipped."""

import pandas as pd
import streamlit as st

from delift_core.curation.curate import add_sample_project, from_sample_project
from delift_core.data.loading import Dataset
from delift_core.samples import Turns
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.data.health_view import copies_view, health_view
from pages.ui.data.loading_form import load_form
from pages.ui.data.problems_view import problems_view
from pages.ui.data.rows_view import rows_view
from pages.ui.shell.address import put
from pages.ui.shell.blocks import ROLE_WORDS, clear_errors, plain, selected_row, title, with_separators
from pages.ui.shell.display import short_path
from pages.ui.shell.setup import page_setup

TURN_WORDS: dict[Turns, str] = {"last": "last answer", "every": "every answer"}


def loader(workspace: Workspace) -> None:
    """Loads a file, a path, a Hub data set or the sample project; for admins only, since any path can be read."""
    if not workspace.actor.may("import"):
        st.caption("Only an admin can load data sets.")
        return
    with st.container(border=True):
        source = st.segmented_control(
            "Load from", ["Upload", "Path", "Hub", "Sample project"], default="Upload", required=True
        )
        if source == "Sample project":
            st.markdown("50 short rows on seven topics, with a target, an existing and a held-out set.")
            if st.button("Load the sample project", type="primary", icon=":material/play_arrow:"):
                with clear_errors():
                    add_sample_project(workspace)
                    st.rerun()
        else:
            load_form(workspace, source)


def origin_words(record: DatasetRecord) -> str:
    """The origin of a set, short enough for a column."""
    if from_sample_project(record):
        return "sample project"
    return short_path(record.origin.name) if record.origin.kind == "file" else str(record.origin)


def sets_table(records: tuple[DatasetRecord, ...]) -> DatasetRecord:
    """All data sets; returns the selected one, else the one in the address, else the newest."""
    table = pd.DataFrame(
        {
            "Role": [ROLE_WORDS[record.role] for record in records],
            "Name": [record.name for record in records],
            "Rows": [record.n_samples for record in records],
            "Skipped": [record.n_problems for record in records],
            "Format": [record.format for record in records],
            "Scored turns": [TURN_WORDS[record.turns] for record in records],
            "From": [origin_words(record) for record in records],
        }
    )
    picked = selected_row(
        with_separators(table, "Rows", "Skipped"),
        key=f"dataset_table_{len(records)}",  # a new set is shown, whichever was selected before
        alt="Data sets in this workspace; select one to see its rows",
    )
    asked = {record.id: record for record in records}.get(st.query_params.get("set", ""))
    if picked is None:
        return asked or records[0]
    put("set", records[picked].id)
    return records[picked]


# A million rows take seconds to read, and every click reruns the page.
@st.cache_resource(max_entries=1, ttl=600, show_spinner="Opening the rows…")
def opened(dataset_id: str, name: str, _workspace: Workspace) -> Dataset:
    """A data set with its samples; the contents of an id never change."""
    return _workspace.datasets.load(dataset_id)


current = page_setup("data")
title("Data", ":material/database:")
st.caption(
    "**Pool**: rows to choose from. **Target**: examples of the task you care about. **Existing**: rows the model has "
    "already been trained on. **Held-out**: rows to test with."
)
loader(current.workspace)
if notice := st.session_state.pop("loaded_notice", None):
    st.success(notice, icon=":material/check_circle:")
with clear_errors():
    by_role = (current.workspace.datasets.records(role) for role in ROLE_WORDS)
    records = tuple(record for part in by_role for record in part)
    if records:
        shown = sets_table(records)
        st.header(f"{ROLE_WORDS[shown.role]}: {plain(shown.name)}")
        labels = [f"Rows ({shown.n_samples:,})", f"Skipped ({shown.n_problems:,})", "Health", "Duplicates"]
        # Only the open tab is computed: some read every row of the set.
        rows_tab, problems_tab, health_tab, copies_tab = st.tabs(
            labels, key="data_tab", on_change="rerun", bind="query-params"
        )
        if rows_tab.open:
            with rows_tab:
                rows_view(current.workspace, shown)
        else:
            dataset = opened(shown.id, shown.name, current.workspace)
            with problems_tab:
                problems_view(current.workspace, shown, dataset)
            if health_tab.open:
                with health_tab:
                    health_view(current.workspace, shown, dataset)
            if copies_tab.open:
                with copies_tab:
                    copies_view(current.workspace, shown, dataset)
