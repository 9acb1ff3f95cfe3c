"""Explore: the utility matrix and the map of the pool."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from delift_core.curation.selector import SelectionProblem
from delift_core.scoring.metrics import METRIC_UNITS, Metric
from delift_core.selection.diagnose import Diagnosis, diagnose
from delift_core.selection.types import ObjectiveConfig
from pages.figures.curves import alt_histogram, alt_means, means_histogram, utility_histogram
from pages.figures.matrix_parts import Matrix, harming_share, mean_by_column, mean_by_row, scored_values
from pages.ui.explore.map_view import map_view
from pages.ui.explore.matrix_view import matrix_view
from pages.ui.shell import state
from pages.ui.shell.blocks import chart, choice, clear_errors, empty_state, plain, title
from pages.ui.shell.setup import page_setup

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a run's utilities, in numbers and figures."""

    found: Diagnosis
    harming: float
    histogram: "go.Figure"
    histogram_alt: str
    means: "go.Figure"
    means_alt: str


def spread_of(metric: Metric, utility: Matrix) -> Spread:
    """The distribution; slow, because it reads the whole matrix."""
    unit = "" if metric == "euclidean" else METRIC_UNITS[metric]
    values, helped, helps = scored_values(utility), mean_by_row(utility), mean_by_column(utility)
    return Spread(
        diagnose(utility),
        harming_share(utility),
        utility_histogram(values, unit=unit),
        alt_histogram(values),
        means_histogram(helped, helps, unit=unit),
        alt_means(helped, helps),
    )


def distribution(problem: SelectionProblem) -> None:
    """The distribution of the utilities, and what it means."""
    st.header("Distribution")
    key, make = ("distribution", problem.metric), partial(spread_of, problem.metric, problem.utilities.pool)
    spread = state.remember(problem.run, key, make, "Counting the pairs…")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric("Pairs that help", f"{spread.found.positive_share:.0%}", width="content")
        st.metric("Pairs that harm", f"{spread.harming:.0%}", width="content")
        if (idle := 1 - spread.found.positive_share - spread.harming) > 0.0005:
            st.metric("Pairs that change nothing", f"{idle:.1%}", width="content")
        st.markdown(plain(spread.found.sentence), width="stretch")
    left, right = st.columns(2, gap="large")
    with left:
        chart(spread.histogram, key="distribution", alt=spread.histogram_alt)
    with right:
        chart(spread.means, key="means", alt=spread.means_alt)


current = page_setup("explore")
title("Explore", ":material/scatter_plot:")
run, selection = current.run, current.selection
if run is None or run.status != "done":
    empty_state(":material/grid_off:", "No utilities to look at yet.", "score", "Score the pool")
assert run is not None
view = choice("View", {"Matrix": "Matrix", "Map": "Map"}, key="view")
with clear_errors():
    with st.container():  # holds the spinners, so that nothing below moves when they disappear
        scored = state.scored_run(run)
        curated = state.curated(selection) if selection else None
        problem = curated.problem if curated else state.problem(run, "euclidean", ObjectiveConfig("instruction"))
    if view == "Map":
        map_view(current.workspace, scored, selection)
    else:
        matrix_view(problem, curated.record.selection.greedy if curated else None)
        distribution(problem)
