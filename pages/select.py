"""Select: a stage and a budget, and what they gain over chance."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from delift_core.curation.curate import keep_selection
from delift_core.curation.selector import NotMeasured, SelectionProblem
from delift_core.selection.methods import method_title
from delift_core.selection.types import Selection
from pages.ui.select.composition_view import composition_view
from pages.ui.select.method_form import engine_line, not_measured
from pages.ui.select.quota_form import asked_quotas, quota_line, quota_table, quotas_of
from pages.ui.select.selection_form import ask_request
from pages.ui.select.selection_list import selection_list
from pages.ui.select.selection_numbers import curve, numbers, warnings
from pages.ui.shell import state
from pages.ui.shell.blocks import clear_errors, empty_state, shorten, title
from pages.ui.shell.navigation import go_to
from pages.ui.shell.setup import page_setup

SHOWN = 200


def chosen_table(problem: SelectionProblem, selection: Selection) -> None:
    """The first picks, in the order of picking."""
    rows = [problem.run.pool[position] for position in selection.chosen[:SHOWN]]
    st.dataframe(
        pd.DataFrame(
            {
                "Rank": range(1, len(rows) + 1),
                "Gain": selection.chosen_gains[:SHOWN],
                "Row": [row.line for row in rows],
                "Prompt": [shorten(row.prompt, 120) for row in rows],
                "Response": [shorten(row.response, 120) for row in rows],
            }
        ),
        column_config={
            "Gain": st.column_config.ProgressColumn(
                format="%.3f", min_value=0.0, max_value=float(selection.greedy.gains.max())
            )
        },
        hide_index=True,
        alt="Chosen rows in the order they were chosen, with the gain of each",
    )


current = page_setup("select")
title("Select", ":material/filter_alt:")
if current.run is None or current.run.status != "done":
    empty_state(":material/speed:", "No utilities to select from yet.", "score", "Score the pool")
run = current.run
assert run is not None
with clear_errors():
    selector = state.selector(run)
    request = ask_request(current.workspace, selector.run)
    problem = state.problem(run, request.metric, request.config)
    quota_place = st.expander("Quotas", icon=":material/balance:", key="quotas_shown", bind="query-params")
    asked, selection = asked_quotas(problem.run), None
    with clear_errors():
        try:
            request = replace(request, quotas=quotas_of(problem.run, asked))
            with st.spinner("Putting the rows in order…"):
                selection = selector.select(request)
        except NotMeasured:
            not_measured(request.method)
    with quota_place:
        quota_table(problem.run, asked, selection)
    if selection is None:
        st.stop()
    quota_line(selection)
    warnings(problem, selection)
    numbers(problem, selection)
    engine_line(selection)
    curve(problem, selection)
    st.header("Composition")
    composition_view(problem.run, {"the subset": selection.chosen}, key="select")
    st.header("Chosen rows")
    chosen_table(problem, selection)
    selection_list(current.workspace, run.id)
    with st.bottom, st.container(horizontal=True, vertical_alignment="bottom"):
        suggestion = f"{request.config.stage} {request.budget.amount:g} {request.budget.unit}"
        if request.method != "delift":
            suggestion += f" by {method_title(request.method)}"
        elif selection.engine != "auto":
            suggestion += f", {selection.engine}"
        if asked:
            suggestion += f", quotas by {asked[0].column.lower()}"
        name = st.text_input("Name", value=suggestion, key=f"name_{suggestion}", label_visibility="collapsed")
        may_keep = current.workspace.actor.may("select")
        if st.button("Save selection", type="primary", icon=":material/bookmark_add:", disabled=not may_keep):
            kept = keep_selection(current.workspace, selector, request, name=name)
            state.want_selection(kept.id)
            go_to("curate")
