"""The rows of a data set: search, filters by signals, and token counts under a model."""

import zlib
from collections.abc import Sequence

import numpy as np
import streamlit as st

from delift_core.data.quality.facets import Facet, facets
from delift_core.models.model_files import BUNDLED
from delift_core.models.prompts import TokenCounts, count_tokens_for_model
from delift_core.samples import Sample
from delift_core.workspace import DatasetRecord, SamplePage, Workspace
from pages.ui.data.sample_view import samples_table
from pages.ui.data.signals import ask_signals, signals_of
from pages.ui.shell.address import name_of
from pages.ui.shell.blocks import clear_errors, page_line, plain

PAGE_SIZE = 25
_PAGE = "data_page"
_FILE = "File order"
_ORDERS = {  # 0: by the prompt, 1: by the response; and the sign
    "Longest response first": (1, -1),
    "Shortest response first": (1, 1),
    "Longest prompt first": (0, -1),
    "Shortest prompt first": (0, 1),
}


def rows_view(workspace: Workspace, record: DatasetRecord) -> None:
    """One page of the rows that pass the search and the filters; a selected row opens in a drawer."""
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search",
            placeholder="Search prompts and responses",
            label_visibility="collapsed",
            width="stretch",
            key="data_search",
            bind="query-params",
        )
        order = st.selectbox(
            "Order",
            [_FILE, *_ORDERS],
            key="data_order",
            bind="query-params",
            label_visibility="collapsed",
            width=210,
            help="Sorts all rows, not only this page",
            on_change=_first_page,
        )
        counts = _ask_tokens(workspace, record)
        positions = _ask_filters(workspace, record, counts)
    sizes = None if counts is None else np.stack([counts.prompt, counts.response], axis=1)
    if order != _FILE:
        sizes = _characters(record.id, workspace) if sizes is None else sizes
        part, sign = _ORDERS[order]
        every = np.arange(len(sizes)) if positions is None else positions
        ordered = every[np.argsort(sign * sizes[every, part], kind="stable")]
    page = _page_asked()
    asked = positions if order == _FILE else ordered
    found = _page(workspace, record, search, asked, page)
    if found.total and not found.rows:  # the page is beyond the rows that pass now
        page = 1
        found = _page(workspace, record, search, asked, page)
    if not found.total:
        st.caption("No rows match." if search or positions is not None else "This data set has no rows.")
        return
    if counts is not None:
        words = f"In all rows: {counts.prompt.sum():,} prompt tokens and {counts.response.sum():,} response tokens"
        st.caption(plain(f"{words} ({_tokens_model(record)} tokenizer)."))
    rows = np.array([row.position for row in found.rows], dtype=np.int64)
    unit = "characters" if counts is None else "tokens"
    page_line((page - 1) * PAGE_SIZE + 1, len(rows), found.total)
    samples_table(
        [row.sample for row in found.rows],
        key=f"rows_{record.id}_{zlib.crc32(rows.tobytes())}",
        alt=f"Rows of {record.name}",
        sizes={} if sizes is None else {f"Prompt {unit}": sizes[rows, 0], f"Response {unit}": sizes[rows, 1]},
    )
    if found.total > PAGE_SIZE:
        st.pagination(-(-found.total // PAGE_SIZE), key=_PAGE, bind="query-params")


def _first_page() -> None:
    st.session_state[_PAGE] = 1


def _page_asked() -> int:
    """The current page, at first the one in the address."""
    asked = st.query_params.get(_PAGE, "")
    return int(st.session_state.get(_PAGE, int(asked) if asked.isdecimal() else 1)) or 1


def _page(
    workspace: Workspace, record: DatasetRecord, search: str, positions: np.ndarray | None, page: int
) -> SamplePage:
    offset = (page - 1) * PAGE_SIZE
    return workspace.datasets.page(record.id, search=search, positions=positions, limit=PAGE_SIZE, offset=offset)


def _ask_tokens(workspace: Workspace, record: DatasetRecord) -> TokenCounts | None:
    """The token counts under the chosen model, once they were asked for."""
    with st.popover("Tokens", icon=":material/numbers:", help="Count tokens as the model you will fine-tune does"):
        name = st.text_input("Hugging Face ID or folder", placeholder="bundled", key="tokens_name")
        if st.button("Count tokens", key="count_tokens"):
            st.session_state[f"tokens_{record.id}"] = name.strip() or BUNDLED
    if not _tokens_model(record):
        return None
    with clear_errors():
        return _counts(record.id, _tokens_model(record), workspace)
    return None


def _tokens_model(record: DatasetRecord) -> str:
    return str(st.session_state.get(f"tokens_{record.id}", ""))


def _ask_filters(workspace: Workspace, record: DatasetRecord, counts: TokenCounts | None) -> np.ndarray | None:
    """Positions of the rows that pass every filter; None without a filter."""
    passing = np.ones(record.n_samples, dtype=bool)
    signals = signals_of(workspace, record)
    found = signals or ()
    if counts is not None:
        found = (*found, *facets(_samples(record.id, workspace), counts.response))
    with st.popover(
        "Filter", icon=":material/filter_list:", help="By language, length and the problems on the Health tab"
    ):
        if signals is None:
            ask_signals(workspace, record)
        for facet in {facet.name: facet for facet in found}.values():
            passing &= _passing(facet, name_of(f"data_filter_{record.id}", facet.name))
    return None if passing.all() else np.flatnonzero(passing)


def _passing(facet: Facet, key: str) -> np.ndarray:
    wanted = st.multiselect(facet.name, facet.labels, key=key, bind="query-params")
    if not wanted:
        return np.ones(len(facet.codes), dtype=bool)
    return np.isin(facet.codes, [facet.labels.index(label) for label in wanted])


def _samples(dataset_id: str, workspace: Workspace) -> Sequence[Sample]:
    return workspace.datasets.load(dataset_id).samples


@st.cache_resource(max_entries=8, show_spinner="Measuring lengths…")
def _characters(dataset_id: str, _workspace: Workspace) -> np.ndarray:
    return _workspace.datasets.characters(dataset_id)


@st.cache_resource(max_entries=8, show_spinner="Counting tokens…")
def _counts(dataset_id: str, model: str, _workspace: Workspace) -> TokenCounts:
    return count_tokens_for_model(_samples(dataset_id, _workspace), model)
