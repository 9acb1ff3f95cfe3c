"""Compare: two selections of one run side by side."""

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.selection.coverage import compare
from delift_core.workspace import SelectionSummary
from pages.ui.compare.compare_numbers import facts, numbers
from pages.ui.data.sample_view import sample_drawer
from pages.ui.explore.map_colours import clusters_of
from pages.ui.explore.map_view import sides_map
from pages.ui.select.composition_view import composition_view
from pages.ui.shell import state
from pages.ui.shell.blocks import clear_errors, empty_state, plain, shorten, title
from pages.ui.shell.setup import page_setup

SHOWN = 500
_LETTERS = ("A", "B")
_READ = "compare_read"


def ask_two(selections: tuple[SelectionSummary, ...], current: SelectionSummary) -> list[SelectionSummary]:
    """Two pickers: B starts with the current selection, A with the newest of the others."""
    by_id = {selection.id: selection for selection in selections}
    others = [selection.id for selection in selections if selection.id != current.id]
    chosen = []
    with st.grid(2, min_column_width=220):
        for letter, start in zip(_LETTERS, (others[0], current.id), strict=True):
            key = f"compare_{letter.lower()}"
            if st.session_state.get(key) not in by_id:
                st.session_state[key] = start
            picked = st.selectbox(
                f"Selection {letter}",
                list(by_id),
                format_func=lambda selection_id: f"{by_id[selection_id].name} · {selection_id}",
                key=key,
                bind="query-params",
            )
            chosen.append(by_id[picked])
    return chosen


def row_list(curated: CuratedSelection, positions: np.ndarray, letter: str) -> None:
    """The rows that are in only one of the two, in its order of choice."""
    if not len(positions):
        st.caption(f"No rows are only in {letter}.")
        return
    selection, pool = curated.record.selection, curated.problem.run.pool
    rank = {int(position): place for place, position in enumerate(selection.chosen, start=1)}
    shown = sorted(positions.tolist(), key=lambda position: rank.get(position, len(pool) + position))[:SHOWN]
    event = st.dataframe(
        pd.DataFrame(
            {
                "Row": [pool[position].line for position in shown],
                "Rank": pd.array([rank.get(position) for position in shown], "Int64"),
                "Prompt": [shorten(pool[position].prompt, 160) for position in shown],
                "Response": [shorten(pool[position].response, 160) for position in shown],
            }
        ),
        column_config={"Rank": st.column_config.NumberColumn(help="Empty for rows kept by hand", width=60)},
        hide_index=True,
        height=min(360, 33 * (len(shown) + 1) + 4),
        on_select=lambda: st.session_state.update({_READ: letter}),
        selection_mode="single-row",
        key=f"only_{letter}",
        alt=f"{len(shown):,} rows that are only in selection {letter}; select one to read it in full",
    )
    picked = event["selection"]["rows"]
    if st.session_state.get(_READ) == letter and picked and picked[0] < len(shown):
        del st.session_state[_READ]  # so that later reruns do not open it again
        sample_drawer(curated.samples[shown[picked[0]]])


current = page_setup("compare")
title("Compare", ":material/compare:")
if current.run is None or current.selection is None:
    empty_state(":material/filter_alt:", "No selection to compare yet.", "select", "Make a selection")
assert current.run is not None and current.selection is not None
selections = current.workspace.selections.records(current.run.id)
if len(selections) < 2:
    empty_state(
        ":material/compare:",
        "You need two selections to compare, and this run has one.",
        "select",
        "Save another selection",
    )
with clear_errors():
    with st.container():  # holds the spinner, so that nothing below moves when it disappears
        pair = ask_two(selections, current.selection)
        first, second = (state.curated(selection) for selection in pair)
    found = compare(len(first.problem.run.pool), first.subset.positions, second.subset.positions)
    numbers(found)
    left, right = st.columns(2, gap="large")
    with left:
        columns = facts(first, second), facts(second, first)
        names = [
            f"{letter} · {plain(shorten(one.record.name, 40))}"
            for letter, one in zip(_LETTERS, (first, second), strict=True)
        ]
        st.table(pd.DataFrame(dict(zip(names, columns, strict=True))), border="horizontal")
    with right:
        sides_map(first.problem.run, found)
    tabs = st.tabs([f"Only in A ({len(found.only_first):,})", f"Only in B ({len(found.only_second):,})"])
    lists = (first, found.only_first, "A"), (second, found.only_second, "B")
    for tab, (one, positions, letter) in zip(tabs, lists, strict=True):
        with tab:
            row_list(one, positions, letter)
    subsets = {"A": first.subset.positions, "B": second.subset.positions}
    st.header("Composition")
    composition_view(first.problem.run, subsets, key="compare", more=(clusters_of(first.problem.run),))
