"""The curator's edits: the buttons that make them, and their history.

The buttons write to the log of a selection in callbacks, which run before the page does, so the page that follows
shows the result, and says at its end what was done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from delift_core.errors import DeliftError
from delift_core.workspace import Edit, EditAction, Workspace
from pages.ui.address import put
from pages.ui.blocks import plain, shorten

_DONE: dict[EditAction, tuple[str, str]] = {
    "keep": ("Kept", ":material/add_circle:"),
    "drop": ("Dropped", ":material/remove_circle:"),
    "reset": ("Gave back to the optimiser", ":material/restart_alt:"),
    "tag": ("Tagged", ":material/sell:"),
    "untag": ("Tag taken off", ":material/label_off:"),
    "note": ("Noted", ":material/sticky_note_2:"),
    "text": ("Text changed", ":material/edit:"),
}
_EDITS: tuple[tuple[str, EditAction, str | None, str], ...] = (
    ("Keep", "keep", "K", "Put into the subset; kept by hand is a pin, which Re-optimise respects"),
    ("Drop", "drop", "D", "Take out of the subset; dropped by hand is a ban, which Re-optimise respects"),
    ("Reset", "reset", None, "Give the decision back to the optimiser"),
)
HISTORY_SHOWN = 200
_DONE_NOW = "done_now"
_NOUNS: dict[EditAction, str] = {
    "keep": "keeping",
    "drop": "dropping",
    "reset": "resetting",
    "tag": "tagging",
    "untag": "untagging",
    "note": "noting",
    "text": "the text of",
}


def rows_in_words(count: int) -> str:
    """A number of rows as people say it."""
    return "1 row" if count == 1 else f"{count:,} rows"


def announce(words: str, icon: str) -> None:
    """Leaves word of what was done for the end of the page that follows.

    A callback does not say it itself: in a drawer its message would take the drawer's own place in the browser.
    """
    st.session_state[_DONE_NOW] = words, icon


@contextmanager
def _refusals() -> Iterator[None]:
    """Announces an error of ours; what a callback of a drawer draws itself is gone at once."""
    try:
        yield
    except DeliftError as error:
        announce(plain(str(error)), ":material/error:")


def say_what_was_done() -> None:
    """Shows what was announced, once; for the end of a page, after its drawer."""
    if (said := st.session_state.pop(_DONE_NOW, None)) is not None:
        words, icon = said
        st.toast(words, icon=icon)


def edit_rows(
    workspace: Workspace,
    selection_id: str,
    action: EditAction,
    sample_ids: Sequence[str],
    place: str = "",
    field: str = "",
) -> None:
    """Edits rows.

    Args:
        place: of the buttons; the reason stands in its field, see `ask_marks`, which is emptied.
        field: the tag or note stands there; emptied as well.
    """
    asked = [f"{place}_why"] * bool(place) + [f"{place}_{field}"] * bool(field)
    keys = [key for key in asked if key in st.session_state]
    said = {key: (st.session_state[key] or "").strip() for key in keys}
    with _refusals():
        workspace.edits.apply(
            selection_id,
            action,
            sample_ids,
            author=workspace.actor.name,
            why=said.get(f"{place}_why", ""),
            detail=said.get(f"{place}_{field}", ""),
        )
        for key in keys:
            st.session_state[key] = None if key == f"{place}_tag" else ""
        done, icon = _DONE[action]
        announce(f"{done}: {rows_in_words(len(set(sample_ids)))}", icon)


def ask_marks(
    workspace: Workspace, selection_id: str, sample_ids: Sequence[str], tags: Sequence[str], place: str
) -> None:
    """Fields for a reason, a tag and a note of rows, with the buttons that put them there."""
    none = not sample_ids or not workspace.actor.may("edit")
    st.text_input("Why", key=f"{place}_why", placeholder="Recorded with the next edit", help="The reason; may be empty")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Tag",
            tags,
            index=None,
            key=f"{place}_tag",
            accept_new_options=True,
            placeholder="Choose or type a tag",
            width="stretch",
        )
        for label, action in (("Put on", "tag"), ("Take off", "untag")):
            st.button(
                label,
                key=f"{place}_{action}_button",
                disabled=none,
                on_click=edit_rows,
                args=(workspace, selection_id, action, sample_ids, place, "tag"),
            )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Note", key=f"{place}_note", placeholder="An empty note takes it back", width="stretch")
        st.button(
            "Note",
            key=f"{place}_note_button",
            disabled=none,
            on_click=edit_rows,
            args=(workspace, selection_id, "note", sample_ids, place, "note"),
        )


def undo_edit(workspace: Workspace, selection_id: str) -> None:
    """Takes back the last edit."""
    with _refusals():
        _say("Took back", workspace.edits.undo(selection_id, author=workspace.actor.name), ":material/undo:")


def redo_edit(workspace: Workspace, selection_id: str) -> None:
    """Applies again what was undone last."""
    with _refusals():
        _say("Did again", workspace.edits.redo(selection_id, author=workspace.actor.name), ":material/redo:")


def _say(done: str, edit: Edit | None, icon: str) -> None:
    if edit is not None:
        announce(f"{done}: {_NOUNS[edit.action]} {rows_in_words(len(edit.sample_ids))}", icon)


def edit_bar(
    workspace: Workspace, selection_id: str, sample_ids: Sequence[str], tags: Sequence[str], *, quiet: bool
) -> bool:
    """The bar at the window's foot, for the selected rows; says whether to choose again around the edits.

    Args:
        tags: to offer.
        quiet: a row is open above the page, and the keys are its own.
    """
    may_edit = workspace.actor.may("edit")
    with st.bottom, st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"**{rows_in_words(len(sample_ids))}** selected", width="stretch")
        st.button(
            "Open",
            key="bar_open",
            shortcut=None if quiet else "O",
            disabled=len(sample_ids) != 1,
            help="Read the one selected row, and why it was chosen or left out",
            on_click=open_row,
            args=tuple(sample_ids[:1]),
        )
        edit_buttons(workspace, selection_id, sample_ids, "bar", quiet=quiet)
        with st.popover("Tag, note, why", help="Mark the selected rows, or give the reason of the next edit"):
            ask_marks(workspace, selection_id, sample_ids, tags, "bar")
        wanted = st.button(
            "Re-optimise",
            shortcut=None if quiet else "A",
            disabled=not may_edit or not workspace.edits.overrides(selection_id),
            help="Choose the other rows anew around what you kept and dropped, as a new selection",
        )
        step_buttons(workspace, selection_id, "bar", quiet=quiet)
    return wanted


def edit_buttons(
    workspace: Workspace, selection_id: str, sample_ids: Sequence[str], place: str, *, quiet: bool = False
) -> None:
    """Keep, drop and reset, for some rows; the reason is what stands in the field of this place."""
    for label, action, shortcut, help in _EDITS:
        st.button(
            label,
            key=f"{place}_{action}",
            shortcut=None if quiet else shortcut,
            disabled=not sample_ids or not workspace.actor.may("edit"),
            help=help,
            on_click=edit_rows,
            args=(workspace, selection_id, action, sample_ids, place),
        )


def step_buttons(workspace: Workspace, selection_id: str, place: str, *, quiet: bool = False) -> None:
    """Undo and redo."""
    may_edit = workspace.actor.may("edit")
    st.button(
        "Undo",
        key=f"{place}_undo",
        shortcut=None if quiet else "U",
        disabled=not may_edit or not workspace.edits.can_undo(selection_id),
        help="Take back the last edit",
        on_click=undo_edit,
        args=(workspace, selection_id),
    )
    st.button(
        "Redo",
        key=f"{place}_redo",
        shortcut=None if quiet else "Y",
        disabled=not may_edit or not workspace.edits.can_redo(selection_id),
        help="Apply again what was undone last",
        on_click=redo_edit,
        args=(workspace, selection_id),
    )


ROW = "row"
"""Name of the open row's id in the address."""


def open_row(sample_id: str) -> None:
    """Puts a row into the address, so that its drawer opens."""
    put(ROW, sample_id)


def history_view(workspace: Workspace, selection_id: str) -> None:
    """Every edit, newest first, with those undone and overtaken: who, when, what, why."""
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
                    "What": [shorten(edit.detail, 60) for edit in newest],
                    "Why": [edit.why for edit in newest],
                    "By": [edit.author for edit in newest],
                    "At (UTC)": [edit.created_at.replace(tzinfo=None) for edit in newest],
                    "State": [state_of(edit) for edit in newest],
                }
            ),
            hide_index=True,
            alt="Edits of this selection, newest first",
        )


def state_of(edit: Edit) -> str:
    """Whether an edit counts, and who last moved it."""
    return f"{edit.state} by {edit.moved_by}" if edit.moved_by and edit.state != "discarded" else edit.state
