"""The curator's edits: the buttons that make them, and their history.

The buttons write to the edit log of a selection in callbacks, which run before the page. So the page shows the result,
with a message at its end.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from delift_core.errors import DeliftError
from delift_core.system.texts import row_count
from delift_core.workspace import Edit, EditAction, Workspace
from pages.ui.shell import state
from pages.ui.shell.blocks import plain, shorten

_DONE: dict[EditAction, tuple[str, str]] = {
    "keep": ("Kept", ":material/add_circle:"),
    "drop": ("Dropped", ":material/remove_circle:"),
    "reset": ("Reset", ":material/restart_alt:"),
    "tag": ("Tagged", ":material/sell:"),
    "untag": ("Tag removed", ":material/label_off:"),
    "note": ("Note saved", ":material/sticky_note_2:"),
    "text": ("Text changed", ":material/edit:"),
}
_EDITS: tuple[tuple[str, EditAction, str | None, str], ...] = (
    ("Keep", "keep", "K", "Always include. Re-optimise leaves it in."),
    ("Drop", "drop", "D", "Always exclude. Re-optimise leaves it out."),
    ("Reset", "reset", None, "Let the optimiser decide again"),
)
HISTORY_SHOWN = 200
Rows = Callable[[], Sequence[str]]
"""Returns the ids of the rows to edit. Called when a button is pressed, since ticks may be newer than the page."""
_DONE_NOW = "done_now"
_NOUNS: dict[EditAction, str] = {
    "keep": "keep",
    "drop": "drop",
    "reset": "reset",
    "tag": "tag",
    "untag": "remove tag of",
    "note": "note on",
    "text": "edit text of",
}


def announce(words: str, icon: str) -> None:
    """Adds a message to those that are shown at the end of the next run.

    A callback cannot show it, because it runs before the page.
    """
    st.session_state[_DONE_NOW] = [*st.session_state.get(_DONE_NOW, ()), (words, icon)]


@contextmanager
def _refusals() -> Iterator[None]:
    """Announces a `DeliftError`; see `announce`."""
    try:
        yield
    except DeliftError as error:
        announce(plain(str(error)), ":material/error:")


def say_what_was_done() -> None:
    """Shows the announced messages once; called at the end of a page."""
    for words, icon in st.session_state.pop(_DONE_NOW, ()):
        st.toast(words, icon=icon)


def edit_rows(
    workspace: Workspace,
    selection_id: str,
    action: EditAction,
    rows: Rows,
    place: str = "",
    field: str = "",
) -> None:
    """Edits rows, and announces what changed.

    Args:
        place: prefix of the buttons' keys; the reason is read from the field of this place (see `ask_marks`), which is
            then cleared.
        field: the field of the tag or note, also cleared.
    """
    asked = [f"{place}_why"] * bool(place) + [f"{place}_{field}"] * bool(field)
    keys = [key for key in asked if key in st.session_state]
    said = {key: (st.session_state[key] or "").strip() for key in keys}
    sample_ids = list(dict.fromkeys(rows()))
    if not sample_ids:
        announce("No row is ticked: nothing was changed", ":material/info:")
        return
    with _refusals():
        done = _effect(workspace, selection_id, action, sample_ids)
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
        announce(done, _DONE[action][1])


def _effect(workspace: Workspace, selection_id: str, action: EditAction, sample_ids: list[str]) -> str:
    """What an edit does, in words: how many rows it adds to the subset or removes, and how many do not change."""
    summary = next((one for one in workspace.selections.records() if one.id == selection_id), None)
    count, done = len(sample_ids), _DONE[action][0]
    if summary is None or action not in ("keep", "drop"):
        return f"{done}: {row_count(count)}"
    curated = state.curated(summary)
    inside = state.rows_named(curated.problem.run, sample_ids)[curated.subset.positions].sum()
    idle = int(inside) if action == "keep" else count - int(inside)
    where, way = ("in the subset", "in") if action == "keep" else ("out of the subset", "out")
    at = curated.problem.run.position_of.get(sample_ids[0])
    named = curated.problem.run.pool[at].place if count == 1 and at is not None else ""
    moved = f"{done}: {named or row_count(count - idle)}"
    if not idle:
        return moved
    were = "was" if idle == 1 else "were"
    already = f"{named or row_count(idle)} {were} already {where} and will stay {way}"
    return f"{moved}; {already}" if idle < count else f"{done}: {already}"


def ask_marks(workspace: Workspace, selection_id: str, rows: Rows, tags: Sequence[str], place: str) -> None:
    """Fields for the reason, a tag and a note of rows, with their buttons."""
    none = not rows() or not workspace.actor.may("edit")
    st.text_input("Why", key=f"{place}_why", placeholder="Saved with the next edit", help="The reason (optional)")
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
        for label, action in (("Add", "tag"), ("Remove", "untag")):
            st.button(
                label,
                key=f"{place}_{action}_button",
                disabled=none,
                on_click=edit_rows,
                args=(workspace, selection_id, action, rows, place, "tag"),
            )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Note", key=f"{place}_note", placeholder="Leave empty to delete", width="stretch")
        st.button(
            "Save note",
            key=f"{place}_note_button",
            disabled=none,
            on_click=edit_rows,
            args=(workspace, selection_id, "note", rows, place, "note"),
        )


def undo_edit(workspace: Workspace, selection_id: str) -> None:
    """Undoes the last edit."""
    with _refusals():
        _say("Undone", workspace.edits.undo(selection_id, author=workspace.actor.name), ":material/undo:")


def redo_edit(workspace: Workspace, selection_id: str) -> None:
    """Redoes the last undone edit."""
    with _refusals():
        _say("Redone", workspace.edits.redo(selection_id, author=workspace.actor.name), ":material/redo:")


def _say(done: str, edit: Edit | None, icon: str) -> None:
    if edit is not None:
        announce(moved_words(done, edit), icon)


def moved_words(done: str, edit: Edit | None) -> str:
    """What was undone or redone, in words; "" if nothing was."""
    return "" if edit is None else f"{done}: {_NOUNS[edit.action]} {row_count(len(edit.sample_ids))}"


def edit_bar(workspace: Workspace, selection_id: str, rows: Rows, tags: Sequence[str], *, quiet: bool) -> bool:
    """The bar at the bottom of the window, for the ticked rows; returns whether Re-optimise was pressed.

    Args:
        tags: to offer.
        quiet: without the shortcuts that belong to the open row.
    """
    may_edit, count = workspace.actor.may("edit"), len(rows())
    with st.bottom, st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"**{row_count(count)}** ticked", width="stretch")
        edit_buttons(workspace, selection_id, rows, "bar", quiet=True)
        with st.popover("Tag or note", help="Tag the ticked rows, add a note, or give the reason for the next edit"):
            ask_marks(workspace, selection_id, rows, tags, "bar")
        wanted = st.button(
            "Re-optimise",
            shortcut="A",
            disabled=not may_edit or not workspace.edits.overrides(selection_id),
            help="Choose the other rows again around what you kept and dropped, as a new selection",
        )
        step_buttons(workspace, selection_id, "bar", quiet=quiet)
    return wanted


def edit_buttons(workspace: Workspace, selection_id: str, rows: Rows, place: str, *, quiet: bool = False) -> None:
    """Keep, drop and reset for some rows; the reason is read from the field of this place."""
    none = not rows() or not workspace.actor.may("edit")
    for label, action, shortcut, help in _EDITS:
        st.button(
            label,
            key=f"{place}_{action}",
            shortcut=None if quiet else shortcut,
            disabled=none,
            help=help,
            on_click=edit_rows,
            args=(workspace, selection_id, action, rows, place),
        )


def step_buttons(workspace: Workspace, selection_id: str, place: str, *, quiet: bool = False) -> None:
    """Undo and redo."""
    may_edit, edits = workspace.actor.may("edit"), workspace.edits
    steps = (
        ("Undo", "U", "Undo the last edit", edits.can_undo, undo_edit),
        ("Redo", "Y", "Redo the last undone edit", edits.can_redo, redo_edit),
    )
    for label, shortcut, help, possible, step in steps:
        st.button(
            label,
            key=f"{place}_{label.lower()}",
            shortcut=None if quiet else shortcut,
            disabled=not may_edit or not possible(selection_id),
            help=help,
            on_click=step,
            args=(workspace, selection_id),
        )


def history_view(workspace: Workspace, selection_id: str) -> None:
    """Every edit, newest first, also undone and discarded ones: who, when, what and why."""
    edits = workspace.edits.history(selection_id)
    with st.expander(f"Edit history ({len(edits):,})", icon=":material/history:"):
        if not edits:
            st.caption("No edits yet.")
            return
        newest = edits[: -HISTORY_SHOWN - 1 : -1]
        st.dataframe(
            pd.DataFrame(
                {
                    "Number": [edit.number for edit in newest],
                    "Action": [edit.action for edit in newest],
                    "Rows": [len(edit.sample_ids) for edit in newest],
                    "Detail": [shorten(edit.detail, 60) for edit in newest],
                    "Why": [edit.why for edit in newest],
                    "By": [edit.author for edit in newest],
                    "Time (UTC)": [edit.created_at.replace(tzinfo=None) for edit in newest],
                    "State": [state_of(edit) for edit in newest],
                }
            ),
            hide_index=True,
            alt="Edits of this selection, newest first",
        )


def state_of(edit: Edit) -> str:
    """The state of an edit, and who undid or redid it last."""
    return f"{edit.state} by {edit.moved_by}" if edit.moved_by and edit.state != "discarded" else edit.state
