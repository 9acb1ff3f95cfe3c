"""The selections that were kept from a run: renamed, and deleted."""

import streamlit as st

from delift_core.selection.methods import method_title
from delift_core.selection.types import STAGES, ChosenBy
from delift_core.workspace import Workspace
from pages.ui.shell.blocks import clear_errors, plain
from pages.ui.shell.navigation import page_path


def selection_list(workspace: Workspace, run_id: str) -> None:
    """One line for each kept selection, with its name to change and a button that deletes it with its edits."""
    kept = workspace.selections.records(run_id)
    if not kept:
        return
    with st.expander(f"Saved selections ({len(kept):,})", icon=":material/bookmarks:"):
        for selection in kept:
            key = f"selection_name_{selection.id}"
            with st.container(horizontal=True, vertical_alignment="bottom"):
                st.text_input(
                    f"{selection.id} · {STAGES[selection.config.stage].title}, {selection.n_chosen:,} rows"
                    f"{_by(selection.method)}",
                    selection.name,
                    key=key,
                    on_change=_rename,
                    args=(workspace, selection.id, key),
                    width="stretch",
                )
                with st.popover("Delete", icon=":material/delete:", key=f"delete_{selection.id}"):
                    st.markdown(f"Deletes {plain(selection.name)} and its edits. Exported files stay.")
                    st.button(
                        "Delete permanently",
                        key=f"delete_selection_{selection.id}",
                        on_click=_delete,
                        args=(workspace, selection.id),
                    )
        if len(kept) > 1:
            st.page_link(page_path("compare"), label="Compare two of them", icon=":material/compare:")


def _by(method: ChosenBy) -> str:
    return "" if method == "delift" else f", {method_title(method)}"


def _rename(workspace: Workspace, selection_id: str, key: str) -> None:
    with clear_errors():
        workspace.selections.rename(selection_id, st.session_state[key] or "")
        st.toast("Renamed", icon=":material/edit:")


def _delete(workspace: Workspace, selection_id: str) -> None:
    with clear_errors():
        workspace.selections.delete(selection_id)
        st.toast("Deleted", icon=":material/delete:")
