"""The rows of a curated selection as a table, one page at a time.

Only the rows of the current page are sent to the browser, whatever the size of the pool.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from delift_core.curation.curate import CuratedSelection, RowStatus
from delift_core.samples import Sample
from pages.ui.curate.opened_row import open_row
from pages.ui.explore.picks import picks
from pages.ui.shell import state
from pages.ui.shell.address import put
from pages.ui.shell.blocks import page_line, shorten

Show = Literal["all", "chosen", "dropped", "edited", "picked"]
Sort = Literal["picked", "file", "gain", "longest", "shortest"]

SHOWS: dict[Show, str] = {
    "all": "All",
    "chosen": "In subset",
    "dropped": "Not in subset",
    "edited": "Edited",
    "picked": "From map",
}
SORTS: dict[Sort, str] = {
    "picked": "Selection order",
    "file": "File order",
    "gain": "Largest gain first",
    "longest": "Longest response first",
    "shortest": "Shortest response first",
}
STATE_WORDS: dict[RowStatus, str] = {
    "chosen": "Chosen",
    "dropped": "Not chosen",
    "kept-by-hand": "Kept by hand",
    "dropped-by-hand": "Dropped by hand",
}
_STATE_COLOURS = ["blue", "gray", "green", "orange"]
_TEXT_LENGTH = 200
PAGE_SIZES = (25, 50, 100)
_PAGE, _PAGE_SIZE, _TAKEN, _FOLLOWED = "page", "curate_page_size", "curate_page_taken", "curate_row_followed"
_ROW_HEIGHT, _TALLEST = 33, 640


@dataclass(frozen=True, slots=True)
class RowFacts:
    """The columns of the table; all arrays are (n,), by position in the pool.

    Attributes:
        status: `RowStatus` words.
        place: float64, 1 for the first pick; NaN for what the optimiser left out.
        order: int64 place in the whole greedy order, 0 first.
        gain: float64; of chosen rows what they added when picked, of others what they would still add.
        tokens: int64, of the response as it was scored.
        edited: bool, kept or dropped by hand, tagged, noted, or with a text of its own.
        picked: bool, picked on the map.
        read: bool, read by someone who may edit.
    """

    status: np.ndarray
    place: np.ndarray
    order: np.ndarray
    gain: np.ndarray
    tokens: np.ndarray
    edited: np.ndarray
    picked: np.ndarray
    read: np.ndarray

    def shown(self, show: Show) -> np.ndarray:
        """(n,) bool, the rows in a tab."""
        if show == "all":
            return np.ones(len(self.status), dtype=bool)
        if show in ("edited", "picked"):
            return self.edited if show == "edited" else self.picked
        inside: np.ndarray = (self.status == "chosen") | (self.status == "kept-by-hand")
        return inside if show == "chosen" else ~inside

    def counts(self, matching: np.ndarray | None) -> dict[Show, int]:
        """How many rows each tab has.

        Args:
            matching: see `arranged`.
        """
        every = np.ones(len(self.status), dtype=bool) if matching is None else matching
        return {show: int((self.shown(show) & every).sum()) for show in SHOWS}


def row_facts(curated: CuratedSelection) -> RowFacts:
    """The facts of the selection with its edits, cached for each state of these, of the visitor's picks, and of what
    was read."""
    run = curated.problem.run
    facts = _facts(curated.record.id, str(run.record.finished_at), curated.version, curated)
    picked = picks(run.record.id)
    facts = replace(facts, read=state.rows_read(run))
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
    status, tokens = _curated.marked_status, run.response_tokens()
    edited |= (status == "kept-by-hand") | (status == "dropped-by-hand")
    none = np.zeros(n, dtype=bool)
    return RowFacts(status, place, order, gain, tokens, edited, none, none)


def arranged(facts: RowFacts, show: Show, sort: Sort, matching: np.ndarray | None) -> np.ndarray:
    """The positions of the rows to show, in order.

    Args:
        matching: (n,) bool, the rows that a search found; None without a search.
    """
    wanted = facts.shown(show) if matching is None else facts.shown(show) & matching
    positions = np.flatnonzero(wanted)
    if sort == "gain":
        return positions[np.argsort(-facts.gain[positions], kind="stable")]
    if sort in ("longest", "shortest"):
        tokens = facts.tokens[positions]
        return positions[np.argsort(-tokens if sort == "longest" else tokens, kind="stable")]
    if sort == "picked":
        # Rows that were not chosen have no place (NaN, which sorts last); they follow in the greedy order.
        return positions[np.lexsort((facts.order[positions], facts.place[positions]))]
    return positions


@dataclass(frozen=True, slots=True)
class Ticks:
    """Which rows are ticked, read from the visitor's session when asked.

    Attributes:
        table, everything: keys of the table and of the checkbox for all rows.
        shown, positions: positions of the rows on the page, and of all rows, in order.
    """

    pool: tuple[Sample, ...]
    table: str
    everything: str
    shown: np.ndarray
    positions: np.ndarray

    def ids(self) -> list[str]:
        """The ids of the ticked rows."""
        at = self.shown[self._places()] if not st.session_state.get(self.everything) else self.positions
        return [self.pool[position].id for position in at.tolist()]

    def _places(self) -> list[int]:
        event = st.session_state.get(self.table) or {"selection": {"rows": []}}
        return [row for row in event["selection"]["rows"] if row < len(self.shown)]


def paged_table(
    curated: CuratedSelection, facts: RowFacts, positions: np.ndarray, *, view: str, opened: int | None
) -> Ticks:
    """Draws one page of the rows with its controls; returns which rows are ticked.

    Args:
        positions: of all rows to show, in order, at least one.
        view: identifies the view, so that another view starts on its first page with nothing ticked.
        opened: position of the row that was opened; the table goes to its page and ticks it.
    """
    key = f"page_{view}"
    _take_address(key)
    size: int = st.session_state.get(_PAGE_SIZE, PAGE_SIZES[0])
    pages = -(-len(positions) // size)
    place = _follow(opened, positions)
    if place is not None and place // size + 1 != st.session_state.get(key, 1):
        st.session_state[key] = place // size + 1
    page = min(st.session_state.get(key, 1), pages)
    for name, value, usual in ((_PAGE, page, 1), (_PAGE_SIZE, size, PAGE_SIZES[0])):
        put(name, None if value == usual else str(value))
    shown = positions[(page - 1) * size : page * size]
    table = f"rows_{view}_{zlib.crc32(shown.tobytes())}"  # depends on the rows, so that ticks never pass to other rows
    if place is not None:
        st.session_state[table] = {"selection": {"rows": [place % size], "columns": [], "cells": []}}
    page_line((page - 1) * size + 1, len(shown), len(positions))
    _table(curated, facts, shown, table)
    version = state.workspace().edits.can_undo(curated.record.id)  # an edit unticks "all rows"
    everything = f"everything_{view}_{version}"
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.checkbox(f"Tick all {len(positions):,} rows", key=everything, help="On all pages of this search and filter")
        if pages > 1:
            st.pagination(pages, key=key, width=300)
        if len(positions) > PAGE_SIZES[0]:
            st.selectbox(
                "Rows per page",
                PAGE_SIZES,
                key=_PAGE_SIZE,
                label_visibility="collapsed",
                width=130,
                format_func=lambda number: f"{number} per page",
            )
    return Ticks(curated.problem.run.pool, table, everything, shown, positions)


def _follow(opened: int | None, positions: np.ndarray) -> int | None:
    """The place in the table of a row that was opened since the last run; None if there is none."""
    before, st.session_state[_FOLLOWED] = st.session_state.get(_FOLLOWED), opened
    if opened is None or opened == before:
        return None
    (found,) = np.nonzero(positions == opened)
    return int(found[0]) if len(found) else None


def _take_address(key: str) -> None:
    """Goes to the page in the address, once per visit; another view starts on its first page."""
    if _TAKEN in st.session_state:
        return
    st.session_state[_TAKEN] = True
    page, size = (st.query_params.get(name, "") for name in (_PAGE, _PAGE_SIZE))
    if size.isdecimal() and int(size) in PAGE_SIZES:
        st.session_state[_PAGE_SIZE] = int(size)
    if page.isdecimal() and int(page) > 1:
        st.session_state[key] = int(page)


def _table(curated: CuratedSelection, facts: RowFacts, positions: np.ndarray, key: str) -> None:
    samples = [curated.samples[position] for position in positions]
    marks = curated.marks
    st.dataframe(
        pd.DataFrame(
            {
                "State": [[STATE_WORDS[status]] for status in facts.status[positions]],
                "Read": ["✓" if read else "" for read in facts.read[positions]],
                "Prompt": [shorten(sample.prompt, _TEXT_LENGTH) for sample in samples],
                "Row": [sample.line for sample in samples],
                "Rank": pd.array(
                    [None if np.isnan(place) else int(place) for place in facts.place[positions]], "Int64"
                ),
                "Gain": facts.gain[positions],
                "Tokens": facts.tokens[positions],
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
        on_select=lambda: _open_selected([sample.id for sample in samples], key),
        selection_mode=["multi-row", "single-cell"],
        key=key,
        placeholder="",
        alt=f"{len(samples):,} rows of the pool with state, rank and gain; click one to read it, tick some to edit",
    )


def _open_selected(sample_ids: list[str], key: str) -> None:
    """Opens the row of a cell that was clicked, or the only row that is ticked."""
    picked = st.session_state[key]["selection"]
    at = [row for row, _ in picked["cells"]] or picked["rows"]
    if len(at) == 1 and at[0] < len(sample_ids):
        open_row(sample_ids[at[0]])


def _columns(largest_gain: float) -> dict[str, ColumnConfig]:
    column = st.column_config
    return {
        "State": column.MultiselectColumn(
            options=list(STATE_WORDS.values()),
            color=_STATE_COLOURS,
            width=115,
            help="What the optimiser decided, or what you decided by hand",
        ),
        "Row": column.NumberColumn(width=60, help="Number of the row in its file"),
        "Read": column.TextColumn(width=45, help="Whether the row was read"),
        "Rank": column.NumberColumn(width=60, help="1 is the first row chosen; empty for rows not chosen"),
        "Gain": column.ProgressColumn(
            format="%.3f",
            min_value=0.0,
            max_value=largest_gain or 1.0,
            width=110,
            help="Chosen rows: what it added when it was chosen. Others: what it would add now.",
        ),
        "Tokens": column.NumberColumn(width=70, help="Tokens of the response as it was scored"),
        "Prompt": column.TextColumn(width=210),
        "Response": column.TextColumn(),
        "Tags": column.ListColumn(width=120, help="Tags on the row"),
        "Note": column.TextColumn(width=140, help="Note on the row"),
        "Text": column.TextColumn(width=80, help="Whether the text of the row was edited"),
    }
