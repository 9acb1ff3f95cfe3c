"""The rows of a curated selection as a table: which of them, in what order, one page at a time.

Only the rows of the page in view are sent to the browser, whatever the size of the pool.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from delift_core.composition import Facet
from delift_core.curation import CuratedSelection, RowStatus
from delift_core.jobs.runs import ScoredRun
from delift_core.workspace import Workspace
from pages.ui.blocks import shorten

Show = Literal["all", "chosen", "dropped", "by-hand"]
Sort = Literal["picked", "file", "gain"]

SHOWS: dict[Show, str] = {"all": "All", "chosen": "Chosen", "dropped": "Dropped", "by-hand": "By hand"}
SORTS: dict[Sort, str] = {"picked": "Pick order", "file": "File order", "gain": "Gain, largest first"}
STATE_WORDS: dict[RowStatus, str] = {
    "chosen": "Chosen",
    "dropped": "Dropped",
    "kept-by-hand": "Kept by hand",
    "dropped-by-hand": "Dropped by hand",
}
_STATE_COLOURS = ["blue", "gray", "green", "orange"]
_SHOWN_STATES: dict[Show, tuple[RowStatus, ...]] = {
    "all": ("chosen", "dropped", "kept-by-hand", "dropped-by-hand"),
    "chosen": ("chosen", "kept-by-hand"),
    "dropped": ("dropped", "dropped-by-hand"),
    "by-hand": ("kept-by-hand", "dropped-by-hand"),
}
_TEXT_LENGTH = 200
PAGE_SIZES = (25, 50, 100)
_PAGE_SIZE, _SHOW = "curate_page_size", "curate_show"
_ROW_HEIGHT, _TALLEST = 33, 640


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the table says of each pool row; all arrays are (n,), by position in the pool.

    Attributes:
        status: `RowStatus` words.
        place: float64, 1 for the first pick; NaN for what the optimiser left out.
        order: int64 place in the whole greedy order, 0 first.
        gain: float64; of chosen rows what they added when picked, of others what they would still add.
    """

    status: np.ndarray
    place: np.ndarray
    order: np.ndarray
    gain: np.ndarray

    def shown(self, show: Show) -> np.ndarray:
        """(n,) bool, the rows in one of the states to show."""
        return np.isin(self.status, _SHOWN_STATES[show])


def row_facts(curated: CuratedSelection) -> RowFacts:
    """Gathers the facts from the selection and its edits."""
    selection = curated.record.selection
    n = len(selection.residual_gains)
    place, order, gain = np.full(n, np.nan), np.zeros(n, dtype=np.int64), selection.residual_gains.copy()
    order[selection.greedy.order] = np.arange(n)
    place[selection.chosen] = np.arange(1, len(selection.chosen) + 1)
    gain[selection.chosen] = selection.chosen_gains
    return RowFacts(np.array(curated.statuses), place, order, gain)


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


def matching_rows(workspace: Workspace, run: ScoredRun, search: str) -> np.ndarray | None:
    """(n,) bool, the pool rows whose prompt or response contains a text; None for an empty text."""
    if not search:
        return None
    pool_id = run.record.spec.pool_id
    found = workspace.datasets.find(pool_id, search)
    return np.isin(_places_in_dataset(run.record.id, str(run.record.finished_at), workspace, run), found)


@st.cache_data(max_entries=4, show_spinner="Preparing the search…")
def _places_in_dataset(run_id: str, finished_at: str, _workspace: Workspace, _run: ScoredRun) -> np.ndarray:
    """Position in the data set of each row of the run; they differ where rows could not be scored."""
    pool_id = _run.record.spec.pool_id
    if _workspace.datasets.record(pool_id).n_samples == len(_run.pool):
        return np.arange(len(_run.pool))
    places = {sample.id: place for place, sample in enumerate(_workspace.datasets.load(pool_id).samples)}
    return np.array([places[sample.id] for sample in _run.pool])


def ask_rows(facts: RowFacts, facets: Sequence[Facet]) -> tuple[str, Show, Sort, np.ndarray | None]:
    """The toolbar: what to search for, which rows to show, in what order, and (n,) bool which rows pass the filters
    (None without any). All of it is in the address, so that a view is a link."""
    # By hand, since a bound widget writes its label into the address, and these labels hold counts that change.
    if _SHOW not in st.session_state and st.query_params.get("show") in SHOWS:
        st.session_state[_SHOW] = st.query_params["show"]
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search",
            type="search",
            placeholder="Search the texts",
            key="curate_search",
            bind="query-params",
            label_visibility="collapsed",
            width=190,
        )
        show: Show = st.pills(
            "Show",
            list(SHOWS),
            default="all",
            required=True,
            key=_SHOW,
            label_visibility="collapsed",
            format_func=lambda name: f"{SHOWS[name]} ({int(facts.shown(name).sum()):,})",
        )
        sort: Sort = st.selectbox(
            "Order",
            list(SORTS),
            format_func=SORTS.__getitem__,
            key="curate_sort",
            bind="query-params",
            label_visibility="collapsed",
            width=165,
        )
        passing = _ask_filters(facets)
    if show == "all":  # what is usual stays out of the address
        st.query_params.pop("show", None)
    else:
        st.query_params["show"] = show
    return search or "", show, sort, passing


def _ask_filters(facets: Sequence[Facet]) -> np.ndarray | None:
    """Labels to keep, of one facet or several together."""
    if not facets:
        return None
    set_already = sum(bool(st.session_state.get(_filter_key(facet))) for facet in facets)
    label = f"Filter ({set_already})" if set_already else "Filter"
    passing: np.ndarray | None = None
    with st.popover(label, icon=":material/filter_list:", help="Rows must have one of the labels of every filter"):
        for facet in facets:
            wanted = st.multiselect(facet.name, facet.labels, key=_filter_key(facet), bind="query-params")
            if wanted:
                codes = [facet.labels.index(name) for name in wanted]
                matching = np.isin(facet.codes, codes)
                passing = matching if passing is None else passing & matching
    return passing


def _filter_key(facet: Facet) -> str:
    """A name for the address: letters, digits and underscores."""
    return "filter_" + re.sub(r"\W+", "_", facet.name).strip("_").lower()


def paged_table(run: ScoredRun, facts: RowFacts, positions: np.ndarray, *, view: str, version: int) -> list[int]:
    """Draws one page of the rows with its controls, and returns the positions of the selected rows.

    Args:
        positions: of all rows to show, in their order, at least one.
        view: names what is shown and how, so that another view starts on its first page with nothing selected.
        version: of the edits; "all rows" is off again after an edit.
    """
    size: int = st.session_state.get(_PAGE_SIZE, PAGE_SIZES[0])
    pages = -(-len(positions) // size)
    page = min(st.session_state.get(f"page_{view}", 1), pages)
    picked = _table(run, facts, positions[(page - 1) * size : page * size], view)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        everything = st.checkbox(
            f"Select all {len(positions):,} rows",
            key=f"everything_{view}_{version}",
            help="Of every page, with this search and state",
        )
        if pages > 1:
            st.pagination(pages, key=f"page_{view}", width=300)
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


def _table(run: ScoredRun, facts: RowFacts, positions: np.ndarray, view: str) -> list[int]:
    """The table; the key holds the rows shown, since a selection must never pass on to other rows."""
    samples = [run.pool[position] for position in positions]
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
    }
