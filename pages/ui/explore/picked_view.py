"""The panel of the picked rows, with buttons to edit and to export them."""

import re

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.errors import DeliftError
from delift_core.samples import Sample
from delift_core.system.texts import row_count
from delift_core.workspace import Workspace
from pages.ui.curate.edit_actions import edit_buttons, edit_rows, step_buttons
from pages.ui.curate.row_table import STATE_WORDS
from pages.ui.data.sample_view import turns
from pages.ui.explore.picks import clear_picks, pick, picked_positions
from pages.ui.shell.blocks import clear_errors, plain, shorten
from pages.ui.shell.navigation import page_path

LISTED = 500
SPELT_OUT = 12
_LINES = "picked_lines"
_RANGES = re.compile(r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*,?\s*")


def picked_view(workspace: Workspace, run: ScoredRun, curated: CuratedSelection | None) -> None:
    """The rows picked on the map or by number, with buttons."""
    st.header("Picked rows")
    st.text_input(
        "Pick by row number",
        placeholder="3, 8-12",
        key=_LINES,
        help="Picks without the mouse: adds these rows of the pool to the picked ones.",
        on_change=_pick_lines,
        args=(run,),
    )
    positions = picked_positions(run)
    with st.container(key="picked_rows"):
        st.markdown(
            f"**{row_count(len(positions))}** picked"
            if positions
            else "No rows picked: draw a box or a lasso on the map."
        )
        if positions:
            lines = ", ".join(str(run.pool[position].line) for position in positions[:SPELT_OUT])
            rest = f" and {len(positions) - SPELT_OUT:,} more" if len(positions) > SPELT_OUT else ""
            st.text(f"Rows {lines}{rest}")
            _table(run, curated, positions)
    if curated is not None:
        _edit_buttons(workspace, curated, [run.pool[position].id for position in positions])
    else:
        st.page_link(page_path("select"), label="Make a selection first", icon=":material/arrow_forward:")
    if positions:
        _other_buttons(run, curated, positions)


def _pick_lines(run: ScoredRun) -> None:
    """Picks the typed rows and clears the field."""
    with clear_errors():
        positions = positions_of_lines(st.session_state[_LINES] or "", run.pool)
        pick(run.record.id, [run.pool[position].id for position in positions], "add")
        st.session_state[_LINES] = ""


def _table(run: ScoredRun, curated: CuratedSelection | None, positions: list[int]) -> None:
    """The first picked rows; a selected one is shown below the table."""
    listed = positions[:LISTED]
    samples = [_current_sample(run, curated, position) for position in listed]
    state = curated.marked_status[listed] if curated is not None else np.full(len(listed), "")
    event = st.dataframe(
        pd.DataFrame(
            {
                "Row": [sample.line for sample in samples],
                "State": [STATE_WORDS.get(word, "No selection yet") for word in state.tolist()],
                "Prompt": [shorten(sample.prompt, 160) for sample in samples],
            }
        ),
        column_config={
            "Row": st.column_config.NumberColumn(width=60),
            "State": st.column_config.TextColumn(width=105),
        },
        hide_index=True,
        height=min(330, 33 * (len(listed) + 1) + 4),
        on_select="rerun",
        selection_mode="single-row",
        key=f"picked_table_{hash(tuple(listed))}",
        alt=f"The first {len(listed):,} picked rows, with state and prompt; select one to read it",
    )
    if len(positions) > LISTED:
        st.caption(f"Showing the first {LISTED:,}; the buttons below act on all {len(positions):,}.")
    chosen = event["selection"]["rows"]
    if chosen and chosen[0] < len(samples):
        with st.container(border=True):
            turns(samples[chosen[0]])


def _current_sample(run: ScoredRun, curated: CuratedSelection | None, position: int) -> Sample:
    return run.pool[position] if curated is None else curated.samples[position]


def _edit_buttons(workspace: Workspace, curated: CuratedSelection, ids: list[str]) -> None:
    selection_id, none = curated.record.id, not ids or not workspace.actor.may("edit")
    with st.container(horizontal=True):
        edit_buttons(workspace, selection_id, lambda: ids, "map")
        step_buttons(workspace, selection_id, "map")
        with st.popover("Tag", icon=":material/sell:", disabled=none, help="Tag the picked rows"):
            st.text_input("Tag", key="picked_tag", placeholder="to check", max_chars=60)
            marked = (workspace, selection_id, "tag", lambda: ids, "picked", "tag")
            st.button("Add", key="map_tag", on_click=edit_rows, args=marked)
    st.caption(
        f"{len(curated.subset.positions):,} rows are in the subset of “{plain(shorten(curated.record.name, 40))}”."
    )


def _other_buttons(run: ScoredRun, curated: CuratedSelection | None, positions: list[int]) -> None:
    """Buttons to export the picked rows and to unpick them."""
    with st.container(horizontal=True):
        st.download_button(
            f"Export {row_count(len(positions))}",
            data=lambda: records_of(run, curated, positions),
            file_name=f"picked-{run.record.id}.jsonl",
            mime="application/x-ndjson",
            icon=":material/download:",
            on_click="ignore",
            key="map_export",
            help="The original records of the picked rows, with your text edits, as JSON lines",
        )
        st.button("Clear", key="map_clear", help="Unpick all rows", on_click=clear_picks, args=(run.record.id,))


def records_of(run: ScoredRun, curated: CuratedSelection | None, positions: list[int]) -> bytes:
    """The records of some pool rows, one per line, with text edits."""
    return "".join(f"{_current_sample(run, curated, position).raw}\n" for position in positions).encode()


def positions_of_lines(text: str, pool: tuple[Sample, ...]) -> tuple[int, ...]:
    """Positions of the pool rows with some numbers, such as "3, 8-12"; numbers that are not in the pool are ignored.

    Raises:
        DeliftError: the text is not a list of row numbers.
    """
    if not text.strip():
        return ()
    if not _RANGES.fullmatch(text):
        raise DeliftError(f"{shorten(text, 40)!r} is not a list of rows; write it like 3, 8-12")
    spans = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        low, _, high = part.partition("-")
        spans.append((int(low), int(high or low)))
    lines = np.array([sample.line for sample in pool])
    inside = np.zeros(len(pool), dtype=bool)
    for low, high in spans:
        inside |= (lines >= low) & (lines <= high)
    return tuple(np.flatnonzero(inside).tolist())
