"""Which row is open to be read: kept by the visitor's session, and written into the address, so that it is a link.

The address alone would not do: the browser sends it with each press as it knew it then, which for presses in quick
succession is that of a row before.
"""

import time

import streamlit as st

from delift_core.curation.scoring_runs import ScoredRun
from pages.ui.shell.address import put

ROW = "row"
"""Name of the open row's id in the address."""
_OPEN, _NEW, _BEFORE = "opened_row", "opened_row_new", "opened_rows_before"
_LATE_SECONDS = 3.0  # the browser may send an address that it was told to leave so long ago


def open_row(sample_id: str | None) -> None:
    """Opens a row from the next rerun on; None closes it. Touches the session alone, so that nothing interrupts it."""
    st.session_state[_BEFORE] = {**st.session_state.get(_BEFORE, {}), opened_id(): time.monotonic()}
    st.session_state[_OPEN], st.session_state[_NEW] = sample_id, True


def close_row() -> None:
    """Closes the row that is open."""
    open_row(None)


def opened_id() -> str | None:
    """Id of the open row."""
    found: str | None = st.session_state.get(_OPEN)
    return found


def opened_position(run: ScoredRun) -> int | None:
    """Position of the open row, which the address then holds; an address that is no late one opens its own row."""
    asked, now = st.query_params.get(ROW), time.monotonic()
    kept: dict[str | None, float] = st.session_state.get(_BEFORE, {})
    before = {row: since for row, since in kept.items() if now - since < _LATE_SECONDS}
    if not st.session_state.pop(_NEW, False) and asked not in before:
        st.session_state[_OPEN] = asked
    found = run.position_of.get(opened_id() or "")
    if found is None:
        st.session_state[_OPEN] = None
    if asked != opened_id():  # the browser learns of it only now
        before = {**dict.fromkeys(before, now), asked: now}
    before.pop(opened_id(), None)
    st.session_state[_BEFORE] = before
    put(ROW, opened_id())
    return found
