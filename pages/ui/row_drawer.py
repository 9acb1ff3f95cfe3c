"""One row of a curated selection in full: its fate and why, its edits, the conversation, the raw record."""

import numpy as np
import streamlit as st

from delift_core.curation import CuratedSelection, RowStatus
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


@st.dialog("Row", position="right", width="medium")
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
                    st.rerun()
    with clear_errors():
        st.markdown(plain(curated.why(position)))
        st.caption(_numbers(curated, facts, position))
        _own_edits(workspace.edits.history(curated.record.id), sample.id)
    turns(sample)


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
