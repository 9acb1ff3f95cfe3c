"""The toolbar of Curate: which rows of a curated selection to show, and in what order.

Everything is in the address, so that a view can be linked to. A named filter is such an address, stored in the
workspace.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import Facet
from delift_core.models.vectors import cosine_similarity
from delift_core.workspace import NamedFilter, Workspace
from pages.ui.curate.row_table import SHOWS, SORTS, RowFacts, Show, Sort, arranged
from pages.ui.shell import state
from pages.ui.shell.address import name_of, put
from pages.ui.shell.blocks import clear_errors, plain

_SEARCH, _SHOW, _SORT, _TAGS = "curate_search", "curate_show", "curate_sort", "filter_tags"
_SIMILAR, _NAME = "similar", "filter_name"
_UNREAD, _READ_BEFORE = "curate_unread", "curate_read_before"


@dataclass(frozen=True, slots=True)
class View:
    """The rows to show.

    Attributes:
        positions: (m,) int64, in the order of the table.
        key: identifies the view, so that another view starts on its first page with nothing ticked.
        nothing: what to say if there are no rows.
        read: how many rows were read, and how many there are, without the filter for unread rows.
    """

    positions: np.ndarray
    key: str
    nothing: str
    read: tuple[int, int]


def ask_view(workspace: Workspace, curated: CuratedSelection, facts: RowFacts, facets: Sequence[Facet]) -> View:
    """Draws the toolbar; returns the rows to show."""
    run, pool_id = curated.problem.run, curated.problem.run.record.spec.pool_id
    similar = _settle(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search",
            type="search",
            placeholder="Search texts",
            key=_SEARCH,
            bind="query-params",
            label_visibility="collapsed",
            width=190,
        )
        tabs = st.container(width="content")  # filled last: they count the rows that pass the search and the filters
        sort: Sort = st.selectbox(
            "Order",
            list(SORTS),
            format_func=SORTS.__getitem__,
            key=_SORT,
            bind="query-params",
            label_visibility="collapsed",
            width=165,
            disabled=similar is not None,
        )
        unread = st.toggle(
            "Unread",
            key=_UNREAD,
            bind="query-params",
            on_change=_forget_read_before,
            help="Only rows that nobody has read. What you read now stays listed until you switch this again.",
        )
        passing = _ask_filters(facets, curated)
        _named_filters(workspace, pool_id, facets)
    matching = _both(passing, _matching(workspace, curated, search or ""))
    counts = facts.counts(matching)
    show: Show = tabs.pills(
        "Show",
        list(SHOWS),
        default="all",
        required=True,
        key=_SHOW,
        label_visibility="collapsed",
        wrap=True,
        format_func=lambda name: f"{SHOWS[name]} ({counts[name]:,})",
    )
    put("show", None if show == "all" else show)  # defaults stay out of the address
    like = _similar_line(run, similar)
    positions = arranged(facts, show, sort, matching)
    if like is not None:
        positions = positions[np.argsort(-like[positions], kind="stable")]
    read = int(facts.read[positions].sum()), len(positions)
    if unread:
        positions = positions[~_read_before(run, facts)[positions]]
    picked = zlib.crc32(facts.picked.tobytes()) if show == "picked" else 0
    key = zlib.crc32(f"{curated.record.id} {_query(facets)} {picked}".encode())
    nothing = f"No rows match {search!r}." if search else "No rows match the filters."
    if show == "picked" and not facts.picked.any():
        nothing = "No rows picked: draw a box or a lasso on the map in Explore."
    elif unread and read[1]:
        nothing = f"All {read[1]:,} rows are read."
    return View(positions, f"{curated.record.id}_{key}", nothing, read)


def _read_before(run: ScoredRun, facts: RowFacts) -> np.ndarray:
    """(n,) bool, the rows that were read before the filter was switched on, so that the list does not shrink."""
    kept: tuple[str, np.ndarray] = st.session_state.setdefault(_READ_BEFORE, (run.record.id, facts.read))
    if kept[0] != run.record.id:
        kept = st.session_state[_READ_BEFORE] = run.record.id, facts.read
    return kept[1]


def _forget_read_before() -> None:
    st.session_state.pop(_READ_BEFORE, None)


def show_similar(sample_id: str) -> None:
    """Orders the rows by their similarity to one, from the next rerun on."""
    st.session_state[_SIMILAR] = sample_id


def _settle(run: ScoredRun) -> int | None:
    """Reads the parts of the address that no widget is bound to; returns the position of the row to compare with."""
    # A bound widget writes its label into the address, and the labels of the tabs hold counts that change.
    if _SHOW not in st.session_state and st.query_params.get("show") in SHOWS:
        st.session_state[_SHOW] = st.query_params["show"]
    if _SIMILAR not in st.session_state:
        st.session_state[_SIMILAR] = st.query_params.get(_SIMILAR)
    position = run.position_of.get(st.session_state[_SIMILAR])
    if position is None:
        st.session_state[_SIMILAR] = None
    put(_SIMILAR, st.session_state[_SIMILAR])
    return position


def _similar_line(run: ScoredRun, position: int | None) -> np.ndarray | None:
    """Says which row the others are compared with, with a button to stop; returns (n,) similarities, or None."""
    if position is None:
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":material/hub: Most similar to {run.pool[position].place} first, by the model's embeddings",
            width="content",
        )
        st.button("Usual order", icon=":material/close:", on_click=_forget_similar, key="usual_order")
    return state.remember(run, ("similarity", position), lambda: _similarity(run, position), "Comparing the rows…")


def _forget_similar() -> None:
    st.session_state[_SIMILAR] = None


def _similarity(run: ScoredRun, position: int) -> np.ndarray:
    return cosine_similarity(run.embeddings()[: len(run.pool)], position)


def _both(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    if first is None or second is None:
        return second if first is None else first
    both: np.ndarray = first & second
    return both


def _matching(workspace: Workspace, curated: CuratedSelection, search: str) -> np.ndarray | None:
    """(n,) bool, the rows whose current prompt or response contains a text; None for an empty text."""
    if not search:
        return None
    run = curated.problem.run
    found = state.remember(run, ("search", search), lambda: _found(workspace, run, search), "Searching…").copy()
    place = run.position_of
    for sample_id in curated.marks.records:
        sample = curated.samples[place[sample_id]]
        found[place[sample_id]] = search.lower() in sample.prompt.lower() or search.lower() in sample.response.lower()
    return found


def _found(workspace: Workspace, run: ScoredRun, search: str) -> np.ndarray:
    return np.isin(state.positions_in_dataset(run), workspace.datasets.find(run.record.spec.pool_id, search))


def _ask_filters(facets: Sequence[Facet], curated: CuratedSelection) -> np.ndarray | None:
    """(n,) bool, the rows that pass every filter; None without a filter."""
    tags = state.known_tags(curated)
    # A tag that is on no row any more is not an option; if it was chosen, it is dropped.
    st.session_state[_TAGS] = [
        tag for tag in st.session_state.get(_TAGS, st.query_params.get_all(_TAGS)) if tag in tags
    ]
    keys = [*(_filter_key(facet) for facet in facets), _TAGS]
    set_already = sum(bool(st.session_state.get(key)) for key in keys)
    label = f"Filter ({set_already})" if set_already else "Filter"
    passing: np.ndarray | None = None
    with st.popover(label, icon=":material/filter_list:", help="Shows rows that match all filters"):
        for facet in facets:
            wanted = st.multiselect(facet.name, facet.labels, key=_filter_key(facet), bind="query-params")
            if wanted:
                passing = _both(passing, np.isin(facet.codes, [facet.labels.index(name) for name in wanted]))
        chosen = st.multiselect("Tags", tags, key=_TAGS, placeholder="Any" if tags else "No tags yet")
        if chosen:
            bearers = [sample_id for sample_id, borne in curated.marks.tags.items() if set(borne) & set(chosen)]
            passing = _both(passing, state.rows_named(curated.problem.run, bearers))
    put(_TAGS, chosen)
    return passing


def _named_filters(workspace: Workspace, pool_id: str, facets: Sequence[Facet]) -> None:
    """Buttons that apply, save and delete named filters."""
    known = workspace.filters.records(pool_id)
    query = _query(facets)
    with st.popover(f"Saved ({len(known):,})" if known else "Saved", icon=":material/bookmark:", help="Saved filters"):
        for index, saved in enumerate(known):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(
                    plain(saved.name),
                    key=f"use_filter_{index}",
                    icon=":material/check:" if saved.query == query else None,
                    width="stretch",
                    on_click=_use,
                    args=(saved, facets),
                )
                st.button(
                    "Delete",
                    key=f"delete_filter_{index}",
                    type="tertiary",
                    icon=":material/delete:",
                    help=f"Delete the filter {plain(saved.name)}",
                    on_click=_delete,
                    args=(workspace, pool_id, saved.name),
                )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Save this view as", key=_NAME, placeholder="long, not chosen")
            st.button("Save", key="save_filter", on_click=_save, args=(workspace, pool_id, query))
        if not query:
            st.caption("Set a search, a filter or an order first, then save it here.")


def _save(workspace: Workspace, pool_id: str, query: str) -> None:
    with clear_errors():
        saved = workspace.filters.save(pool_id, st.session_state[_NAME] or "", query)
        st.session_state[_NAME] = ""
        st.toast(f"Saved: {plain(saved.name)}", icon=":material/bookmark_add:")


def _delete(workspace: Workspace, pool_id: str, name: str) -> None:
    with clear_errors():
        workspace.filters.delete(pool_id, name)


def _query(facets: Sequence[Facet]) -> str:
    """The current view as part of an address; "" for the default view."""
    usual = {_SHOW: "all", _SORT: next(iter(SORTS))}
    keys = (_SEARCH, _SHOW, _SORT, _SIMILAR, _UNREAD, _TAGS, *map(_filter_key, facets))
    values = ((key, st.session_state.get(key)) for key in keys)
    return urlencode([(key, value) for key, value in values if value and value != usual.get(key)], doseq=True)


def _use(saved: NamedFilter, facets: Sequence[Facet]) -> None:
    """Sets the toolbar to a named filter; labels that no longer exist are left out."""
    asked = parse_qs(saved.query)
    single = {_SEARCH: "", _SHOW: "all", _SORT: next(iter(SORTS)), _SIMILAR: None}
    for key, usual in single.items():
        st.session_state[key] = asked.get(key, [usual])[0]
    st.session_state[_TAGS] = asked.get(_TAGS, [])
    st.session_state[_UNREAD] = _UNREAD in asked
    _forget_read_before()
    for facet in facets:
        wanted = asked.get(_filter_key(facet), [])
        st.session_state[_filter_key(facet)] = [label for label in wanted if label in facet.labels]


def _filter_key(facet: Facet) -> str:
    return name_of("filter", facet.name)
