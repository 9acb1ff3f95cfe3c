"""One picked pair of rows in full: which row is helped, which is the example, the utility, and both texts.

The session keeps the pair as two row numbers, set by a click on the matrix or by the two fields.
"""

import re

import numpy as np
import streamlit as st

from delift_core.curation.selector import SelectionProblem
from delift_core.samples import Sample
from delift_core.scoring.metrics import LOG_PROBABILITY, METRIC_UNITS, distance
from pages.figures.matrix_parts import best_pair, pair_value
from pages.ui.data.sample_view import ROLE_ICONS, tools_of, turn_texts, turn_title
from pages.ui.explore.pair_tokens import tokens_view
from pages.ui.shell.address import put
from pages.ui.shell.blocks import clear_errors, plain
from pages.ui.shell.model_text_view import ask_model_text, model_text_view

ROW_LINE, COLUMN_LINE = "row_line", "column_line"
_PAIR, _PAIR_RUN = "pair", "pair_run"
_ADDRESS = re.compile(r"(\d{1,9})-(\d{1,9})")


def set_pair(row_line: int, column_line: int) -> None:
    """Picks the pair of two rows, by their numbers in the pool."""
    st.session_state[_PAIR] = row_line, column_line


def settle_pair(problem: SelectionProblem) -> None:
    """Starts each run with the pair in the address, else with the one of the largest utility."""
    run_id, pool = problem.run.record.id, problem.run.pool
    if st.session_state.get(_PAIR_RUN) != run_id:
        is_new = _PAIR_RUN not in st.session_state  # a new visitor
        st.session_state[_PAIR_RUN] = run_id
        asked = _ADDRESS.fullmatch(st.query_params.get(_PAIR, "")) if is_new else None
        if asked:
            last = max(sample.line for sample in pool)
            set_pair(*(max(1, min(int(line), last)) for line in asked.groups()))
        else:
            row, column = best_pair(problem.utilities.pool)
            set_pair(pool[row].line, pool[column].line)
    row_line, column_line = st.session_state[_PAIR]
    put(_PAIR, f"{row_line}-{column_line}")


def _take_typed_pair() -> None:
    set_pair(st.session_state[ROW_LINE], st.session_state[COLUMN_LINE])


def pair_view(problem: SelectionProblem) -> None:
    """The panel of the picked pair, with two fields to pick it by row numbers."""
    pool = problem.run.pool
    st.header("Pair")
    positions = problem.run.position_of_line
    highest = max(positions)
    row_line, column_line = st.session_state[ROW_LINE], st.session_state[COLUMN_LINE] = st.session_state[_PAIR]
    with st.grid(2, min_column_width=150):
        for label, key in (("Row helped", ROW_LINE), ("Example", COLUMN_LINE)):
            st.number_input(
                label,
                1,
                highest,
                step=1,
                key=key,
                on_change=_take_typed_pair,
                help="Number of the row in its file",
            )
    for line in (row_line, column_line):
        if line not in positions:
            st.info(f"Row {line} is not among the scored rows of the pool.", icon=":material/info:")
            return
    row, column = positions[row_line], positions[column_line]
    with clear_errors():
        _pair_numbers(problem, row, column)
        tokens_view(problem.run, pool[row], pool[column])
    if ask_model_text("pair_model_text"):
        model_text_view(problem.run.record.spec, pool[row], pool[column])
    _text_of("Row helped", pool[row])
    _text_of("Example", pool[column])


def _pair_numbers(problem: SelectionProblem, row: int, column: int) -> None:
    """The utility, and the two numbers whose difference it is."""
    helped, helper = problem.run.pool[row], problem.run.pool[column]
    utilities = problem.utilities
    value = float(utilities.diagonal[row]) if row == column else pair_value(utilities.pool, row, column)
    if row == column:
        st.caption("A row shown as its own example gives away the answer, so this pair is left out of the matrix.")
    elif np.isnan(value):
        _unscored(problem, row, column)
        return
    else:
        verb = "helps" if value > 0 else "misleads" if value < 0 else "does not affect"
        st.markdown(f"{helper.place.capitalize()} **{verb}** the model with {helped.place}.")
    name, before, after = _parts(problem, helped, helper)
    st.table(
        {
            f"Utility ({METRIC_UNITS[problem.metric]})": f"{value:+.3f}",
            f"{name} of {helped.place} alone": f"{before:.3f}",
            f"{name} with {helper.place} shown": f"{after:.3f}",
        },
        border="horizontal",
    )


def _parts(problem: SelectionProblem, helped: Sample, helper: Sample) -> tuple[str, float, float]:
    """The name of the number that the utility is a difference of, and its value without and with the example."""
    store = problem.run.store
    alone = store.zero_shot_statistics([helped.content_hash])
    with_example = store.pair(helped.content_hash, helper.content_hash)
    if problem.metric == "euclidean":
        parts = distance(alone.statistics, alone.tokens), distance(with_example, alone.tokens)
        return "Error", float(parts[0][0]), float(parts[1][0])
    length = float(alone.tokens[0]) if problem.metric == "pmi-per-token" else 1.0
    before, after = (float(part[0, LOG_PROBABILITY]) / length for part in (alone.statistics, with_example))
    return "Log-likelihood", before, after


def _unscored(problem: SelectionProblem, row: int, column: int) -> None:
    """A pair that was not scored, with the estimate of its utility if there is one."""
    helped, helper = problem.run.pool[row], problem.run.pool[column]
    estimated = problem.utilities.estimated
    guess = float("nan") if estimated is None else pair_value(estimated, row, column)
    st.markdown(f"{helper.place.capitalize()} as an example for {helped.place} was **not scored** in this run.")
    if np.isnan(guess):
        st.caption("The selection treats it as no help.")
    else:
        st.table({f"Estimated utility ({METRIC_UNITS[problem.metric]})": f"{guess:+.3f}"}, border="horizontal")


def _text_of(part: str, sample: Sample) -> None:
    """A row's conversation, shown literally."""
    st.markdown(f"**{part}** · {sample.place}")
    with st.container(border=True, height="content"):
        tools_of(sample)
        for message in sample.messages:
            st.caption(f"{ROLE_ICONS[message.role]} {plain(turn_title(message))}")
            turn_texts(message)
