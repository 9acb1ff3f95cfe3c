"""The curator's edits: the buttons that make them, and their history.

The buttons write to the log of a selection in callbacks, which run before the page does, so the page that follows
shows the result.
"""

import getpass
from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from delift_core.workspace import Edit, EditAction, Workspace
from pages.ui.blocks import clear_errors

_DONE: dict[EditAction, tuple[str, str]] = {
    "keep": ("Kept", ":material/add_circle:"),
    "drop": ("Dropped", ":material/remove_circle:"),
    "reset": ("Gave back to the optimiser", ":material/restart_alt:"),
}
_EDITS: tuple[tuple[str, EditAction, str | None, str], ...] = (
    ("Keep", "keep", "K", "Put the selected rows into the subset"),
    ("Drop", "drop", "D", "Take the selected rows out of the subset"),
    ("Reset", "reset", None, "Give the decision on the selected rows back to the optimiser"),
)
HISTORY_SHOWN = 200
_NOUNS: dict[EditAction, str] = {"keep": "keeping", "drop": "dropping", "reset": "resetting"}


def curator() -> str:
    """Who edits: the user of this machine, or "curator" where it has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "curator"


def rows_in_words(count: int) -> str:
    """A number of rows as people say it."""
    return "1 row" if count == 1 else f"{count:,} rows"


def edit_rows(workspace: Workspace, selection_id: str, action: EditAction, sample_ids: Sequence[str]) -> None:
    """Keeps, drops or resets rows by hand."""
    with clear_errors():
        workspace.edits.apply(selection_id, action, sample_ids, author=curator())
        done, icon = _DONE[action]
        st.toast(f"{done}: {rows_in_words(len(set(sample_ids)))}", icon=icon)


def undo_edit(workspace: Workspace, selection_id: str) -> None:
    """Takes back the last edit."""
    with clear_errors():
        _say("Took back", workspace.edits.undo(selection_id), ":material/undo:")


def redo_edit(workspace: Workspace, selection_id: str) -> None:
    """Applies again what was undone last."""
    with clear_errors():
        _say("Did again", workspace.edits.redo(selection_id), ":material/redo:")


def _say(done: str, edit: Edit | None, icon: str) -> None:
    if edit is not None:
        st.toast(f"{done}: {_NOUNS[edit.action]} {rows_in_words(len(edit.sample_ids))}", icon=icon)


Wish = Literal["open", "reoptimise"]


def edit_bar(workspace: Workspace, selection_id: str, sample_ids: Sequence[str]) -> Wish | None:
    """The bar at the window's foot, for the selected rows; says what the page is to do: open the one selected row, or
    choose again around the edits."""
    none = not sample_ids
    with st.bottom, st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"**{rows_in_words(len(sample_ids))}** selected", width="stretch")
        opened = st.button(
            "Open",
            shortcut="O",
            disabled=len(sample_ids) != 1,
            help="Read the one selected row, and why it was chosen or left out",
        )
        for label, action, shortcut, help in _EDITS:
            st.button(
                label,
                shortcut=shortcut,
                disabled=none,
                help=help,
                on_click=edit_rows,
                args=(workspace, selection_id, action, sample_ids),
            )
        wanted = st.button(
            "Re-optimise",
            shortcut="A",
            disabled=not workspace.edits.overrides(selection_id),
            help="Choose the other rows anew around what you kept and dropped, as a new selection",
        )
        st.button(
            "Undo",
            shortcut="U",
            disabled=not workspace.edits.can_undo(selection_id),
            help="Take back the last edit",
            on_click=undo_edit,
            args=(workspace, selection_id),
        )
        st.button(
            "Redo",
            shortcut="Y",
            disabled=not workspace.edits.can_redo(selection_id),
            help="Apply again what was undone last",
            on_click=redo_edit,
            args=(workspace, selection_id),
        )
    return "open" if opened else "reoptimise" if wanted else None


def history_view(workspace: Workspace, selection_id: str) -> None:
    """Every edit, newest first, with those undone and overtaken."""
    edits = workspace.edits.history(selection_id)
    with st.expander(f"History of edits ({len(edits):,})", icon=":material/history:"):
        if not edits:
            st.caption("Nothing was changed by hand yet.")
            return
        newest = edits[: -HISTORY_SHOWN - 1 : -1]
        st.dataframe(
            pd.DataFrame(
                {
                    "Number": [edit.number for edit in newest],
                    "Action": [edit.action for edit in newest],
                    "Rows": [len(edit.sample_ids) for edit in newest],
                    "By": [edit.author for edit in newest],
                    "At (UTC)": [edit.created_at.replace(tzinfo=None) for edit in newest],
                    "State": [edit.state for edit in newest],
                }
            ),
            hide_index=True,
            alt="Edits of this selection, newest first",
        )
