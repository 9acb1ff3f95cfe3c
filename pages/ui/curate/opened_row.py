"""Which row is open: kept in the visitor's session, and written into the address, so that it can be linked to.

The address alone is not enough: with each key press the browser sends the address that it knows, and after presses in
quick succession that is the address of an earlier row.
"""

import time

import streamlit as st

from delift_core.curation.scoring_runs import ScoredRun
from pages.ui.shell.address import put

ROW = "row"
"""The address parameter with the id of the open row."""
_OPEN, _NEW, _BEFORE = "opened_row", "opened_row_new", "opened_rows_before"
_LATE_SECONDS = 3.0  # for so long, the browser may still send an address that was replaced


def open_row(sample_id: str | None) -> None:
    """Opens a row from the next rerun on; None closes it. No rerun can interrupt it."""
    st.session_state[_BEFORE] = {**st.session_state.get(_BEFORE, {}), opened_id(): time.monotonic()}
    st.session_state[_OPEN], st.session_state[_NEW] = sample_id, True


def close_row() -> None:
    """Closes the open row."""
    open_row(None)


def opened_id() -> str | None:
    """The id of the open row."""
    found: str | None = st.session_state.get(_OPEN)
    return found


def opened_position(run: ScoredRun) -> int | None:
    """The position of the open row, which is also written into the address. An address opens its row unless it is out
    of date."""
    asked, now = st.query_params.get(ROW), time.monotonic()
    kept: dict[str | None, float] = st.session_state.get(_BEFORE, {})
    before = {row: since for row, since in kept.items() if now - since < _LATE_SECONDS}
    if not st.session_state.pop(_NEW, False) and asked not in before:
        st.session_state[_OPEN] = asked
    found = run.position_of.get(opened_id() or "")
    if found is None:
        st.session_state[_OPEN] = None
    if asked != opened_id():  # the browser is told only now
        before = {**dict.fromkeys(before, now), asked: now}
    before.pop(opened_id(), None)
    st.session_state[_BEFORE] = before
    put(ROW, opened_id())
    return found
