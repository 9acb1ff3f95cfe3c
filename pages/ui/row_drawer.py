"""One row of a curated selection in full: its fate and why, its edits, the conversation, the raw record."""

import numpy as np
import streamlit as st

from delift_core.curation import CuratedSelection, RowStatus
from delift_core.samples import Sample
from delift_core.utility.metrics import METRIC_UNITS
from delift_core.workspace import Edit, EditAction, Workspace
from pages.ui.blocks import clear_errors, plain
from pages.ui.edit_actions import edit_rows
from pages.ui.row_table import STATE_WORDS, RowFacts
from pages.ui.sample_view import turns

_COLOURS: dict[RowStatus, str] = {
    "chosen": "blue",
    "dropped": "gray",
    "kept-by-hand": "green",
    "dropped-by-hand": "orange",
}


ROW = "row"
"""Name of the open row's id in the address."""


def position_in_address(pool: tuple[Sample, ...]) -> int | None:
    """The row that the address asks for; an id that is not in the pool is taken off it."""
    wanted = st.query_params.get(ROW)
    found = next((position for position, sample in enumerate(pool) if sample.id == wanted), None)
    if found is None:
        close_row()
    return found


def close_row() -> None:
    """Takes the row off the address, so that the drawer stays closed."""
    st.query_params.pop(ROW, None)


@st.dialog("Row", position="right", width="large", on_dismiss=close_row)
def row_drawer(workspace: Workspace, curated: CuratedSelection, facts: RowFacts, position: int) -> None:
    """A drawer at the right; Escape closes it, Keep and Drop close it as well."""
    sample = curated.problem.run.pool[position]
    status: RowStatus = curated.statuses[position]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(STATE_WORDS[status], color=_COLOURS[status])  # type: ignore[arg-type]
        st.caption(plain(f"{sample.source}, line {sample.line} · id {sample.id}"), width="stretch")
        actions: tuple[EditAction, ...] = ("keep", "drop")
        with st.container(horizontal=True, width="content", gap="xsmall"):
            for action in actions:
                if st.button(action.capitalize(), key=f"drawer_{action}"):
                    edit_rows(workspace, curated.record.id, action, [sample.id])
                    close_row()
                    st.rerun()
    named: tuple[int, ...] = ()
    with clear_errors():
        why, named = curated.why_naming(position)
        st.markdown(plain(why))
        st.caption(_numbers(curated, facts, position))
        _own_edits(workspace.edits.history(curated.record.id), sample.id)
    _beside(curated, position, named)


def _beside(curated: CuratedSelection, position: int, named: tuple[int, ...]) -> None:
    """The row, and next to it one of the rows that the reason names."""
    pool = curated.problem.run.pool
    others = [other for other in dict.fromkeys(named) if other != position]
    if not others:
        turns(pool[position])
        return
    with st.grid(2, min_column_width=240):
        with st.container():
            st.markdown(f"**This row** · line {pool[position].line}")
            turns(pool[position])
        with st.container():
            other = st.pills(
                "Beside it",
                others,
                default=others[0],
                required=True,
                key=f"beside_{position}",
                format_func=lambda place: f"line {pool[place].line}",
                label_visibility="collapsed",
                help="Rows that the reason names",
            )
            turns(pool[others[0] if other is None else other])


def _numbers(curated: CuratedSelection, facts: RowFacts, position: int) -> str:
    """Rank and gain, in words."""
    gain, unit = facts.gain[position], METRIC_UNITS[curated.problem.metric]
    if np.isnan(facts.place[position]):
        return f"Not picked · would still add {gain:.3g} ({unit})"
    return f"Rank {int(facts.place[position])} of {len(curated.record.selection.chosen)} · gain {gain:.3g} ({unit})"


def _own_edits(history: tuple[Edit, ...], sample_id: str) -> None:
    own = [edit for edit in history if sample_id in edit.sample_ids]
    if not own:
        return
    with st.expander(f"Edits of this row ({len(own)})", type="compact"):
        for edit in reversed(own):
            state = "" if edit.state == "applied" else f" ({edit.state})"
            st.text(f"{edit.created_at:%Y-%m-%d %H:%M} UTC  {edit.action} by {edit.author}{state}")
