"""One row of a curated selection in full: its state and why, its marks and edits, its text, and a row beside it."""

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection, RowStatus
from delift_core.samples import Sample
from delift_core.scoring.metrics import METRIC_UNITS
from delift_core.workspace import Edit, SelectionSummary, Workspace
from pages.ui.curate.edit_actions import (
    Rows,
    ask_marks,
    edit_buttons,
    edit_rows,
    redo_edit,
    state_of,
    step_buttons,
    undo_edit,
)
from pages.ui.curate.opened_row import close_row, open_row, opened_id, opened_position
from pages.ui.curate.row_filter import show_similar
from pages.ui.curate.row_keys import row_keys
from pages.ui.curate.row_table import STATE_WORDS
from pages.ui.curate.text_editor import changed_view, editing, text_editor, want_editor
from pages.ui.data.sample_view import turns
from pages.ui.shell import state
from pages.ui.shell.blocks import clear_errors, plain, shorten

_COLOURS: dict[RowStatus, str] = {
    "chosen": "blue",
    "dropped": "gray",
    "kept-by-hand": "green",
    "dropped-by-hand": "orange",
}
_MEANS: dict[RowStatus, str] = {
    "chosen": "Keep: always include. Drop: always exclude.",
    "dropped": "Keep: always include. Drop: always exclude.",
    "kept-by-hand": "Always included; Re-optimise chooses the others around it.",
    "dropped-by-hand": "Always excluded; Re-optimise fills its place.",
}
_STEPS = {"previous": -1, "next": 1}
_STEP_KEYS = {"n": "next", "p": "previous"}
_EDIT_KEYS = {"k": "keep", "d": "drop", "u": "undo", "y": "redo"}

_DRAWN, _PLACE = "drawer_drawn", "drawer_place"


def row_drawer(workspace: Workspace, selection: SelectionSummary, positions: np.ndarray) -> None:
    """A drawer at the right with the open row; Escape closes it.

    It stays open while rows are edited and while the visitor goes from row to row; the page behind it follows.

    Args:
        positions: of the rows to go through, in order.
    """
    _drawer(workspace, selection, positions, object())


@st.dialog("Row", position="right", width="large", on_dismiss=close_row)
def _drawer(workspace: Workspace, selection: SelectionSummary, positions: np.ndarray, run: object) -> None:
    if st.session_state.get(_DRAWN) is run:  # a rerun of the drawer alone: rerun the page with it
        st.rerun()
    st.session_state[_DRAWN] = run
    with clear_errors():
        curated = state.curated(selection)
        position = opened_position(curated.problem.run)
        if position is None:
            return
        sample = curated.samples[position]
        status: RowStatus = curated.marked_status[position].item()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(STATE_WORDS[status], color=_COLOURS[status])  # type: ignore[arg-type]
            for tag in curated.marks.tags.get(sample.id, ()):
                st.badge(plain(tag), icon=":material/sell:", color="violet")
            st.caption(plain(f"{sample.source}, {sample.place} · id {sample.id}"), width="stretch")
        _steps(curated, position, positions)
        _actions(workspace, curated, position)
        if editing(sample.id):
            text_editor(workspace, curated, position)
            _keys(workspace, curated, sample.id, positions)
            return
        why, named = curated.reason_naming(position, named_by_prompt)
        st.markdown(plain(why))
        st.caption(f"{_numbers(curated, position)} · {_MEANS[status]}")
        if note := curated.marks.notes.get(sample.id):
            st.text(f"Note: {note}")
        with st.expander("Tag or note", type="compact", icon=":material/sell:", key="drawer_marks"):
            ask_marks(workspace, selection.id, _only(sample.id), state.known_tags(curated), "drawer")
        _own_edits(workspace.edits.history(selection.id), sample.id)
        changed_view(curated.problem.run.pool[position], sample)
        _beside(curated, position, named)
        _keys(workspace, curated, sample.id, positions)


def named_by_prompt(sample: Sample) -> str:
    """The name of a row in a reason: its number, and the start of its prompt."""
    return f"{sample.place} “{shorten(sample.prompt, 48)}”"


def _only(sample_id: str) -> Rows:
    return lambda: [sample_id]


def _keys(workspace: Workspace, curated: CuratedSelection, sample_id: str, positions: np.ndarray) -> None:
    """The shortcuts. They go on from the row that is open by then, and edit the row that was on the screen."""
    selection_id, pool = curated.record.id, curated.problem.run.pool

    def act(action: str, shown: str) -> None:
        if action in _STEPS:
            at = curated.problem.run.position_of.get(opened_id() or "")
            to = None if at is None else _neighbours(positions, at)[action]
            if to is not None:
                open_row(pool[to].id)
        elif action == "undo":
            undo_edit(workspace, selection_id)
        elif action == "redo":
            redo_edit(workspace, selection_id)
        else:
            edit_rows(workspace, selection_id, "keep" if action == "keep" else "drop", _only(shown), "drawer")

    row_keys(sample_id, _STEP_KEYS | (_EDIT_KEYS if workspace.actor.may("edit") else {}), act)


def _neighbours(positions: np.ndarray, position: int) -> dict[str, int | None]:
    """The rows before and after one in the table. A row that an edit removed from the table keeps its last place."""
    (found,) = np.nonzero(positions == position)
    if len(found):
        at = int(found[0])
        st.session_state[_PLACE] = position, at
        before, after = at - 1, at + 1
    else:
        known, at = st.session_state.get(_PLACE, (None, 0))
        before, after = (at - 1, at) if known == position else (-1, -1)
    return {
        step: int(positions[to]) if 0 <= to < len(positions) else None
        for step, to in (("previous", before), ("next", after))
    }


def _steps(curated: CuratedSelection, position: int, positions: np.ndarray) -> None:
    """Buttons to the previous and the next row, in the order of the table."""
    (found,) = np.nonzero(positions == position)
    neighbours = _neighbours(positions, position)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        for step, key in (("previous", "P"), ("next", "N")):
            to = neighbours[step]
            st.button(
                step.capitalize(),
                key=f"drawer_{step}",
                shortcut=key,
                disabled=to is None,
                on_click=open_row,
                args=("" if to is None else curated.problem.run.pool[to].id,),
            )
        where = f"{found[0] + 1:,} of {len(positions):,} in the list" if len(found) else "not in the list"
        st.caption(where, width="stretch")


def _actions(workspace: Workspace, curated: CuratedSelection, position: int) -> None:
    """Keep, drop, reset, undo, redo, edit the text, find similar rows."""
    sample_id, may_edit = curated.problem.run.pool[position].id, workspace.actor.may("edit")
    with st.container(horizontal=True, gap="xsmall"):
        edit_buttons(workspace, curated.record.id, _only(sample_id), "drawer", of=sample_id)
        step_buttons(workspace, curated.record.id, "drawer")
        st.button(
            "Edit text",
            key=f"drawer_edit_{sample_id}",
            shortcut="E",
            icon=":material/edit:",
            disabled=not may_edit or editing(sample_id),
            on_click=want_editor,
            args=(sample_id,),
        )
        st.button(
            "Similar rows",
            key=f"drawer_similar_{sample_id}",
            icon=":material/hub:",
            help="Close this row and list the most similar rows first",
            on_click=_list_similar,
            args=(sample_id,),
        )


def _list_similar(sample_id: str) -> None:
    show_similar(sample_id)
    close_row()


def _beside(curated: CuratedSelection, position: int, named: tuple[int, ...]) -> None:
    """The row, and beside it one of the rows that the reason names; for a row left out, first those that cover it."""
    pool, chosen = curated.samples, set(curated.record.selection.chosen.tolist())
    others = [other for other in dict.fromkeys(named) if other != position]
    if position not in chosen:
        others.sort(key=lambda other: other not in chosen)
    if not others:
        turns(pool[position])
        return
    with st.grid(2, min_column_width=240):
        with st.container():
            st.markdown(f"**This row** · {pool[position].place}")
            turns(pool[position])
        with st.container():
            other = st.pills(
                "Beside it",
                others,
                default=others[0],
                required=True,
                key=f"beside_{position}",
                format_func=lambda place: f"{pool[place].place}, {'chosen' if place in chosen else 'left out'}",
                label_visibility="collapsed",
                help="Rows that the reason mentions",
            )
            turns(pool[others[0] if other is None else other])


def _numbers(curated: CuratedSelection, position: int) -> str:
    """Rank and gain as a phrase."""
    selection, unit = curated.record.selection, METRIC_UNITS[curated.problem.metric]
    (picked,) = np.nonzero(selection.chosen == position)
    if not len(picked):
        return f"Not chosen, would add {selection.residual_gains[position]:.3g} ({unit})"
    rank = int(picked[0])
    return f"Rank {rank + 1:,} of {len(selection.chosen):,}, gain {selection.chosen_gains[rank]:.3g} ({unit})"


def _own_edits(history: tuple[Edit, ...], sample_id: str) -> None:
    own = [edit for edit in history if sample_id in edit.sample_ids]
    if not own:
        return
    with st.expander(f"Edits of this row ({len(own):,})", type="compact"):
        for edit in reversed(own):
            said = f": {edit.detail}" if edit.detail and edit.action != "text" else ""
            why = f", reason: {edit.why}" if edit.why else ""
            when = f"{edit.created_at:%Y-%m-%d %H:%M} UTC"
            st.text(f"{when}  {edit.action}{said} by {edit.author}{why} ({state_of(edit)})")
