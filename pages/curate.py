"""Curate: read rows, see why, keep or drop by hand."""

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection, reoptimise
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.workspace import Workspace
from pages.ui.curate.edit_actions import Rows, announce, edit_bar, history_view, say_what_was_done
from pages.ui.curate.opened_row import close_row, opened_id, opened_position
from pages.ui.curate.reader import Reading, mark_read, reader
from pages.ui.curate.row_filter import View, ask_view
from pages.ui.curate.row_table import paged_table, row_facts
from pages.ui.select.composition_view import composition_view, facets_of
from pages.ui.select.method_form import method_line
from pages.ui.shell import state
from pages.ui.shell.blocks import clear_errors, empty_state, plain, title
from pages.ui.shell.setup import page_setup

_VIEW = "curate_view"


def numbers(curated: CuratedSelection) -> None:
    """The effect of the edits, in numbers."""
    subset, selection = curated.subset, curated.record.selection
    covered, whole = curated.coverage, selection.certificate.value
    share = f"{covered / whole:.1%} of the original" if whole > 0 else "nothing to cover"
    change = len(subset.positions) - len(selection.chosen)
    with st.grid(4, min_column_width=160):
        card(
            "Rows in the subset",
            f"{len(subset.positions):,}",
            f"{change:+,} by hand" if change else "same number as chosen",
        )
        card("Kept by hand", f"{len(subset.pinned):,}", f"{len(subset.by_hand):,} added")
        card("Dropped by hand", f"{len(subset.banned):,}", f"{len(subset.dropped):,} removed")
        card(
            "Coverage",
            f"{covered:.3g}",
            share,
            help="How much help the subset gives; before any edit, 100% of the original.",
        )


def card(label: str, number: str, chip: str, help: str | None = None) -> None:
    """A number with a grey comment."""
    st.metric(label, number, chip, delta_color="off", delta_arrow="off", border=True, help=help)


def choose_again(workspace: Workspace, curated: CuratedSelection) -> None:
    """Makes a new selection around the edits, and switches to it."""
    with st.bottom, st.spinner("Choosing the other rows again around your edits…", show_time=True):
        again = reoptimise(workspace, curated, author=workspace.actor.name)
    before, after = curated.subset.positions, again.selection.chosen
    kept = len(np.intersect1d(after, before))
    announce(
        f"Re-optimised around your edits, as “{plain(again.name)}”: {len(after) - kept:,} rows in, "
        f"{len(before) - kept:,} out, {kept:,} unchanged. The earlier selection is still there.",
        ":material/autorenew:",
    )
    state.want_selection(again.id)
    st.rerun()


def row_to_open(run: ScoredRun, view: View) -> int | None:
    """The position of the row to read: the open one, else the first of the list.

    An edit may remove the open row from the list, and a link may lead to a row that is not in it: both stay open. With
    another search or filter, the first row is opened.
    """
    opened, before = opened_position(run), st.session_state.get(_VIEW)
    st.session_state[_VIEW] = view.key
    if opened is not None and before not in (None, view.key) and opened not in view.positions:
        close_row()
        opened = opened_position(run)
    if opened is None and len(view.positions):
        return int(view.positions[0])
    return opened


current = page_setup("curate")
title("Curate", ":material/checklist:")
if current.selection is None:
    empty_state(":material/filter_alt:", "No selection to curate yet.", "select", "Make a selection")
selection = current.selection
assert selection is not None
with clear_errors():
    with st.container():  # holds the spinner, so that nothing below moves when it disappears
        curated = state.curated(selection)
    run = curated.problem.run
    if (asked := opened_position(run)) is not None:
        mark_read(current.workspace, curated, [run.pool[asked].id])
    facts = row_facts(curated)
    view = ask_view(current.workspace, curated, facts, facets_of(run))
    ticked: Rows = list
    opened = row_to_open(run, view)
    if opened is None:
        st.caption(plain(view.nothing))
    else:
        with st.container(key="reading_screen"):
            at_left, at_right = st.columns([2, 3], gap="medium")
        if len(view.positions):
            with at_left:
                follow = opened if opened_id() else None
                ticked = paged_table(curated, facts, view.positions, view=view.key, opened=follow).ids
        with at_right:
            reader(current.workspace, selection, Reading(current.workspace, curated, facts, view), opened)
    numbers(curated)
    method_line(curated.record.selection.method)
    with st.expander("Composition", icon=":material/donut_small:", key="composition", bind="query-params") as unfolded:
        if unfolded.open:
            subsets = {"the subset": curated.subset.positions, "before edits": curated.record.selection.chosen}
            composition_view(run, subsets, key="curate")
    history_view(current.workspace, selection.id)
    if edit_bar(current.workspace, selection.id, ticked, state.known_tags(curated), quiet=opened is not None):
        choose_again(current.workspace, curated)
say_what_was_done()
