"""The rows of a curated selection as a table: which of them, in what order, one page at a time.

Only the rows of the page in view are sent to the browser, whatever the size of the pool.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from delift_core.curation import CuratedSelection, RowStatus
from pages.ui import state
from pages.ui.address import put
from pages.ui.blocks import shorten
from pages.ui.picks import picks

Show = Literal["all", "chosen", "dropped", "edited", "picked"]
Sort = Literal["picked", "file", "gain"]

SHOWS: dict[Show, str] = {
    "all": "All",
    "chosen": "Chosen",
    "dropped": "Dropped",
    "edited": "Edited",
    "picked": "Picked",
}
SORTS: dict[Sort, str] = {"picked": "Pick order", "file": "File order", "gain": "Gain, largest first"}
STATE_WORDS: dict[RowStatus, str] = {
    "chosen": "Chosen",
    "dropped": "Dropped",
    "kept-by-hand": "Kept by hand",
    "dropped-by-hand": "Dropped by hand",
}
_STATE_COLOURS = ["blue", "gray", "green", "orange"]
_TEXT_LENGTH = 200
PAGE_SIZES = (25, 50, 100)
_PAGE, _PAGE_SIZE, _TAKEN = "page", "curate_page_size", "curate_page_taken"
_ROW_HEIGHT, _TALLEST = 33, 640


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the table says of each pool row; all arrays are (n,), by position in the pool.

    Attributes:
        status: `RowStatus` words.
        place: float64, 1 for the first pick; NaN for what the optimiser left out.
        order: int64 place in the whole greedy order, 0 first.
        gain: float64; of chosen rows what they added when picked, of others what they would still add.
        edited: bool, kept or dropped by hand, tagged, noted, or with a text of its own.
        picked: bool, picked on the map.
    """

    status: np.ndarray
    place: np.ndarray
    order: np.ndarray
    gain: np.ndarray
    edited: np.ndarray
    picked: np.ndarray

    def shown(self, show: Show) -> np.ndarray:
        """(n,) bool, the rows of a tab."""
        if show == "all":
            return np.ones(len(self.status), dtype=bool)
        if show in ("edited", "picked"):
            return self.edited if show == "edited" else self.picked
        inside: np.ndarray = (self.status == "chosen") | (self.status == "kept-by-hand")
        return inside if show == "chosen" else ~inside

    def counts(self) -> dict[Show, int]:
        """How many rows each tab has."""
        return {show: int(self.shown(show).sum()) for show in SHOWS}


def row_facts(curated: CuratedSelection) -> RowFacts:
    """The facts of the selection and its edits, gathered once for each state of these, and the visitor's picks."""
    run = curated.problem.run
    facts = _facts(curated.record.id, str(run.record.finished_at), curated.version, curated)
    picked = picks(run.record.id)
    return replace(facts, picked=state.rows_named(run, picked)) if picked else facts


@st.cache_resource(max_entries=4, show_spinner=False)
def _facts(selection_id: str, finished_at: str, version: tuple[int, int], _curated: CuratedSelection) -> RowFacts:
    selection, run, marks = _curated.record.selection, _curated.problem.run, _curated.marks
    n = len(selection.residual_gains)
    place, order, gain = np.full(n, np.nan), np.zeros(n, dtype=np.int64), selection.residual_gains.copy()
    order[selection.greedy.order] = np.arange(n)
    place[selection.chosen] = np.arange(1, len(selection.chosen) + 1)
    gain[selection.chosen] = selection.chosen_gains
    edited = state.rows_named(run, [*marks.tags, *marks.notes, *marks.records])
    edited |= (_curated.status == "kept-by-hand") | (_curated.status == "dropped-by-hand")
    return RowFacts(_curated.status, place, order, gain, edited, np.zeros(n, dtype=bool))


def arranged(facts: RowFacts, show: Show, sort: Sort, matching: np.ndarray | None) -> np.ndarray:
    """Positions of the rows to show, in their order.

    Args:
        matching: (n,) bool, the rows that a search found; None without a search.
    """
    wanted = facts.shown(show) if matching is None else facts.shown(show) & matching
    positions = np.flatnonzero(wanted)
    if sort == "gain":
        return positions[np.argsort(-facts.gain[positions], kind="stable")]
    if sort == "picked":
        # Rows left out have no place (NaN, which sorts last); they follow in the greedy order.
        return positions[np.lexsort((facts.order[positions], facts.place[positions]))]
    return positions


def paged_table(
    curated: CuratedSelection, facts: RowFacts, positions: np.ndarray, *, view: str, version: int
) -> list[int]:
    """Draws one page of the rows with its controls, and returns the positions of the selected rows.

    Args:
        positions: of all rows to show, in their order, at least one.
        view: names what is shown and how, so that another view starts on its first page with nothing selected.
        version: of the edits; "all rows" is off again after an edit.
    """
    key = f"page_{view}"
    _take_address(key)
    size: int = st.session_state.get(_PAGE_SIZE, PAGE_SIZES[0])
    pages = -(-len(positions) // size)
    page = min(st.session_state.get(key, 1), pages)
    for name, value, usual in ((_PAGE, page, 1), (_PAGE_SIZE, size, PAGE_SIZES[0])):
        put(name, None if value == usual else str(value))
    picked = _table(curated, facts, positions[(page - 1) * size : page * size], view)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        everything = st.checkbox(
            f"Select all {len(positions):,} rows",
            key=f"everything_{view}_{version}",
            help="Of every page, with this search and state",
        )
        if pages > 1:
            st.pagination(pages, key=key, width=300)
        if len(positions) > PAGE_SIZES[0]:
            st.selectbox(
                "Rows on a page",
                PAGE_SIZES,
                key=_PAGE_SIZE,
                label_visibility="collapsed",
                width=130,
                format_func=lambda number: f"{number} a page",
            )
    return positions.tolist() if everything else picked


def _take_address(key: str) -> None:
    """Turns to the page in the address, once a visit: another view later starts on its first page."""
    if _TAKEN in st.session_state:
        return
    st.session_state[_TAKEN] = True
    page, size = (st.query_params.get(name, "") for name in (_PAGE, _PAGE_SIZE))
    if size.isdecimal() and int(size) in PAGE_SIZES:
        st.session_state[_PAGE_SIZE] = int(size)
    if page.isdecimal() and int(page) > 1:
        st.session_state[key] = int(page)


def _table(curated: CuratedSelection, facts: RowFacts, positions: np.ndarray, view: str) -> list[int]:
    """The table; the key holds the rows shown, since a selection must never pass on to other rows."""
    samples = [curated.samples[position] for position in positions]
    marks = curated.marks
    event = st.dataframe(
        pd.DataFrame(
            {
                "State": [[STATE_WORDS[status]] for status in facts.status[positions]],
                "Line": [sample.line for sample in samples],
                "Rank": pd.array(
                    [None if np.isnan(place) else int(place) for place in facts.place[positions]], "Int64"
                ),
                "Gain": facts.gain[positions],
                "Prompt": [shorten(sample.prompt, _TEXT_LENGTH) for sample in samples],
                "Response": [shorten(sample.response, _TEXT_LENGTH) for sample in samples],
                **(
                    {
                        "Tags": [[*marks.tags.get(sample.id, ())] for sample in samples],
                        "Note": [shorten(marks.notes.get(sample.id, ""), 80) for sample in samples],
                        "Text": ["changed" if sample.id in marks.records else "" for sample in samples],
                    }
                    if marks.tags or marks.notes or marks.records
                    else {}
                ),
            }
        ),
        column_config=_columns(float(facts.gain.max(initial=0.0))),
        hide_index=True,
        height=min(_ROW_HEIGHT * (len(samples) + 1) + 4, _TALLEST),
        on_select="rerun",
        selection_mode="multi-row",
        key=f"rows_{view}_{zlib.crc32(positions.tobytes())}",
        placeholder="",
        alt=f"{len(samples)} rows of the pool with state, rank and gain; select rows to keep or drop them",
    )
    return [int(positions[row]) for row in event["selection"]["rows"] if row < len(positions)]


def _columns(largest_gain: float) -> dict[str, ColumnConfig]:
    column = st.column_config
    return {
        "State": column.MultiselectColumn(
            options=list(STATE_WORDS.values()), color=_STATE_COLOURS, width=130, help="What became of the row"
        ),
        "Line": column.NumberColumn(width=60, help="Line in the file that the pool came from"),
        "Rank": column.NumberColumn(width=60, help="1 is the optimiser's first pick; empty for rows it left out"),
        "Gain": column.ProgressColumn(
            format="%.3f",
            min_value=0.0,
            max_value=largest_gain or 1.0,
            width=110,
            help="Chosen rows: what it added when it was picked. Others: what it would still add.",
        ),
        "Prompt": column.TextColumn(width=280),
        "Response": column.TextColumn(),
        "Tags": column.ListColumn(width=120, help="What you called the row"),
        "Note": column.TextColumn(width=140, help="What you wrote of the row"),
        "Text": column.TextColumn(width=80, help="Whether you changed the text of the row"),
    }
