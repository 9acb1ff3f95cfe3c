"""Explore: the utility matrix and the map of the pool."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from delift_core.curation import SelectionProblem
from delift_core.figures.curves import alt_histogram, utility_histogram
from delift_core.selection.diagnose import Diagnosis, diagnose
from delift_core.selection.types import ObjectiveConfig
from delift_core.utility.metrics import METRIC_UNITS, Metric
from pages.ui import state
from pages.ui.blocks import chart, clear_errors, empty_state, plain, title
from pages.ui.map_view import map_view
from pages.ui.matrix_view import matrix_view
from pages.ui.setup import page_setup

if TYPE_CHECKING:
    import plotly.graph_objects as go


@st.cache_data(max_entries=8, show_spinner="Counting the pairs…")
def counted(run_id: str, finished_at: str, metric: Metric, _utility: np.ndarray) -> tuple[Diagnosis, "go.Figure", str]:
    """What the utilities say, their histogram and its words; kept, since each walks the whole matrix."""
    unit = "" if metric == "euclidean" else METRIC_UNITS[metric]
    return diagnose(_utility), utility_histogram(_utility, unit=unit), alt_histogram(_utility)


def distribution(problem: SelectionProblem) -> None:
    """How the utilities are spread, and what that says."""
    record = problem.run.record
    st.subheader("Distribution")
    found, figure, alt = counted(record.id, str(record.finished_at), problem.metric, problem.utilities.pool)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric("Pairs that help", f"{found.positive_share:.0%}", width="content")
        st.markdown(plain(found.sentence), width="stretch")
    chart(figure, key="distribution", alt=alt)


current = page_setup("explore")
title("Explore", ":material/scatter_plot:")
run, selection = current.run, current.selection
if run is None or run.status != "done":
    empty_state(":material/grid_off:", "There are no utilities to look at yet.", "score", "Score the pool")
assert run is not None
view = st.segmented_control(
    "View",
    ["Matrix", "Map"],
    default="Matrix",
    required=True,
    key="view",
    bind="query-params",
    label_visibility="collapsed",
)
with clear_errors():
    with st.container():  # a place of its own for the spinners, so that nothing below moves when they go
        scored = state.scored_run(run)
        curated = state.curated(selection) if selection else None
        problem = curated.problem if curated else state.problem(run, "euclidean", ObjectiveConfig("instruction"))
    if view == "Map":
        map_view(current.workspace, scored, curated)
    else:
        matrix_view(problem, curated.record.selection.greedy if curated else None)
        distribution(problem)
