"""Curate: read rows, see why, keep or drop by hand."""

import numpy as np
import streamlit as st

from delift_core.curation import CuratedSelection
from delift_core.selection.coverage import value
from pages.ui import state
from pages.ui.blocks import clear_errors, empty_state, plain, title
from pages.ui.edit_actions import edit_bar, history_view
from pages.ui.row_drawer import row_drawer
from pages.ui.row_table import arranged, ask_rows, matching_rows, paged_table, row_facts
from pages.ui.setup import page_setup


@st.cache_data(max_entries=64, show_spinner=False)
def coverage(selection_id: str, positions: bytes, _kernel: np.ndarray) -> float:
    """The objective of a subset; kept, since it walks the whole kernel."""
    return value(_kernel, np.frombuffer(positions, dtype=np.int64))


def numbers(curated: CuratedSelection) -> None:
    """What the edits made of the selection."""
    subset, selection = curated.subset, curated.record.selection
    covered = coverage(curated.record.id, subset.positions.tobytes(), curated.problem.kernel)
    whole = selection.certificate.value
    share = f"{covered / whole:.1%} of {whole:.3g} as chosen" if whole > 0 else "nothing to cover"
    change = len(subset.positions) - len(selection.chosen)
    with st.grid(4, min_column_width=160):
        card(
            "Rows in the subset",
            f"{len(subset.positions):,}",
            f"{change:+,} by hand" if change else "as many as chosen",
        )
        card("Kept by hand", f"{len(subset.by_hand):,}", "added to the chosen")
        card("Dropped by hand", f"{len(subset.dropped):,}", "taken from the chosen")
        card("Coverage", f"{covered:.3g}", share, help="The objective f(A) of the subset.")


def card(label: str, number: str, chip: str, help: str | None = None) -> None:
    """A number with a grey remark."""
    st.metric(label, number, chip, delta_color="off", delta_arrow="off", border=True, help=help)


current = page_setup("curate")
title("Curate", ":material/checklist:")
if current.selection is None:
    empty_state(":material/filter_alt:", "There is no selection to curate yet.", "select", "Make a selection")
selection = current.selection
assert selection is not None
with clear_errors():
    with st.container():  # a place of its own for the spinner, so that nothing below moves when it goes
        curated = state.curated(selection)
    run, facts = curated.problem.run, row_facts(curated)
    numbers(curated)
    search, show, sort = ask_rows(facts)
    positions = arranged(facts, show, sort, matching_rows(current.workspace, run, search))
    picked: list[int] = []
    if len(positions):
        version = current.workspace.edits.can_undo(selection.id)
        view = f"{selection.id}_{show}_{sort}_{search}"
        picked = paged_table(run, facts, positions, view=view, version=version)
    else:
        st.caption(plain(f"No row matches {search!r}." if search else "No row is in this state."))
    history_view(current.workspace, selection.id)
    if edit_bar(current.workspace, selection.id, [run.pool[position].id for position in picked]):
        row_drawer(current.workspace, curated, facts, picked[0])
