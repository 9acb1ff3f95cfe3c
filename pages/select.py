"""Select: a stage and a budget, and what they gain over chance."""

import pandas as pd
import streamlit as st

from delift_core.curation import STAGES, SelectionProblem, keep_selection
from delift_core.figures.curves import alt_gain_curve, gain_curve
from delift_core.reliability import ErrorBar
from delift_core.selection.types import Selection
from delift_core.utility.metrics import METRIC_UNITS
from pages.ui import state
from pages.ui.blocks import chart, clear_errors, empty_state, plain, shorten, title
from pages.ui.composition_view import composition_view
from pages.ui.navigation import page_path
from pages.ui.selection_form import ask_budget, ask_objective
from pages.ui.selection_list import selection_list
from pages.ui.setup import page_setup

SHOWN = 200
BY_CONTENT = {
    SelectionProblem: lambda problem: (problem.run.record, problem.metric, problem.config),
    Selection: lambda selection: selection.chosen.tobytes(),
}


def numbers(problem: SelectionProblem, selection: Selection) -> None:
    """Four numbers: how much is kept, what it covers, how sure that is, what it costs to train on."""
    n, k = len(problem.run.pool), len(selection.chosen)
    whole = float(selection.greedy.gains.sum())
    value, random = selection.certificate.value, selection.random
    tokens = problem.run.token_counts()
    spent = int(tokens[selection.chosen].sum())
    share = f"{value / whole:.0%} of the pool's" if whole > 0 else None
    chip = {"delta_color": "off", "delta_arrow": "off"}
    with st.grid(4, min_column_width=150):
        st.metric("Chosen", f"{k:,}", f"{k / n:.0%} of {n:,} rows", border=True, **chip)
        st.metric("Coverage", f"{value:,.3g}", share, border=True, **chip, help="The objective f(A) of this selection.")
        st.metric("Random", f"{random.mean:,.3g}", f"± {random.std:,.2g}, 20 draws", border=True, **chip)
        st.metric("Tokens", f"{spent:,}", f"{spent / int(tokens.sum()):.0%} of the pool", border=True, **chip)
    ratio = selection.certificate.ratio
    scored = "" if problem.partial is None else ", by the scored pairs,"
    st.caption(
        f"Certificate: no subset of this size can{scored} cover more than {1 / ratio:.2f} times as much."
        if ratio > 0
        else "Certificate: nothing is covered, so nothing can be certified."
    )


@st.cache_data(show_spinner="Checking what the unscored pairs could change…", hash_funcs=BY_CONTENT)
def error_bar(problem: SelectionProblem, selection: Selection) -> ErrorBar | None:
    """How far a selection from some of the pairs can be trusted; it takes a second, and is kept."""
    return problem.error_bar(selection.chosen)


def warnings(problem: SelectionProblem, selection: Selection) -> None:
    """What a curator must know before trusting the numbers."""
    for caution in problem.cautions:
        st.warning(plain(caution), icon=":material/warning:")
    bar = error_bar(problem, selection)
    if bar is not None:
        if bar.enough:
            st.caption(plain(bar.sentence))
        else:
            st.warning(plain(bar.sentence), icon=":material/percent:")
    if len(selection.chosen) > selection.greedy.useful:
        st.warning(
            f"After {selection.greedy.useful:,} rows nothing more is covered: the rest of the budget is filled with "
            "rows that add nothing. A smaller budget, or some self-coverage under Objective, would be more honest.",
            icon=":material/hourglass_bottom:",
        )


def chosen_table(problem: SelectionProblem, selection: Selection) -> None:
    """The first picks, in greedy order."""
    rows = [problem.run.pool[position] for position in selection.chosen[:SHOWN]]
    st.dataframe(
        pd.DataFrame(
            {
                "Rank": range(1, len(rows) + 1),
                "Gain": selection.chosen_gains[:SHOWN],
                "Line": [row.line for row in rows],
                "Prompt": [shorten(row.prompt, 120) for row in rows],
                "Response": [shorten(row.response, 120) for row in rows],
            }
        ),
        column_config={
            "Gain": st.column_config.ProgressColumn(
                format="%.3f", min_value=0.0, max_value=float(selection.greedy.gains[0])
            )
        },
        hide_index=True,
        alt="Chosen rows in the order they were picked, with the gain of each",
    )


current = page_setup("select")
title("Select", ":material/filter_alt:")
if current.run is None or current.run.status != "done":
    empty_state(":material/speed:", "There are no utilities to select by yet.", "score", "Score the pool")
run = current.run
assert run is not None
with clear_errors():
    with st.container(horizontal=True, vertical_alignment="bottom"):
        config, metric = ask_objective(run)
    st.caption(STAGES[config.stage])
    if (config.stage == "task" and not run.spec.target_id) or (
        config.stage == "continual" and not run.spec.existing_id
    ):
        needed = "target" if config.stage == "task" else "existing"
        st.info(f"This stage needs a set of {needed} rows, scored with the pool.", icon=":material/info:")
        st.page_link(page_path("score"), label=f"Add the {needed} set and score", icon=":material/arrow_forward:")
        st.stop()
    problem = state.problem(run, metric, config)
    budget = ask_budget(len(problem.run.pool), int(problem.run.token_counts().sum()))
    selection = problem.select(budget)
    warnings(problem, selection)
    numbers(problem, selection)
    k, random = len(selection.chosen), selection.random
    unit = "" if metric == "euclidean" else METRIC_UNITS[metric]
    chart(
        gain_curve(selection.greedy.gains, k, random.mean, random.std, unit=unit),
        key="gain_curve",
        alt=alt_gain_curve(selection.greedy.gains, k, random.mean, random.std),
    )
    composition_view(problem.run, {"the subset": selection.chosen}, key="select")
    st.header("Chosen rows")
    chosen_table(problem, selection)
    selection_list(current.workspace, run.id)
    with st.bottom, st.container(horizontal=True, vertical_alignment="bottom"):
        suggestion = f"{config.stage} {budget.amount:g} {budget.unit}"
        name = st.text_input("Name", value=suggestion, key=f"name_{suggestion}", label_visibility="collapsed")
        if st.button("Keep this selection", type="primary", icon=":material/bookmark_add:"):
            kept = keep_selection(current.workspace, problem, selection, name=name)
            state.want_selection(kept.id)
            st.switch_page(page_path("curate"))
