"""The utility matrix to look at: ordered, zoomed by box, and one picked pair of rows in full.

The pair is kept as two lines of the pool under one key of the session; a click on the matrix and the two line
fields both write it.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from delift_core.curation import SelectionProblem
from delift_core.figures.matrix import (
    MAX_CELLS_PER_SIDE,
    Mouse,
    RowOrder,
    alt_heatmap,
    clip_value,
    downsample,
    order_rows,
    picked_box,
    picked_cell,
    utility_heatmap,
)
from delift_core.samples import Sample
from delift_core.selection.types import GreedyOrder
from delift_core.utility.metrics import LOG_PROBABILITY, METRIC_UNITS, distance
from pages.ui.blocks import clear_errors
from pages.ui.pair_tokens import tokens_view
from pages.ui.sample_view import ROLE_ICONS

ROW_LINE, COLUMN_LINE = "row_line", "column_line"
_PAIR, _PAIR_RUN = "pair", "pair_run"
ORDERS: dict[RowOrder, str] = {
    "cluster": "Alike rows together",
    "file": "File order",
    "gain": "Gain, largest first",
    "mean": "Most helped first",
}
MOUSE: dict[Mouse, str] = {"pick": "Pick a cell", "box": "Zoom to a box"}
Window = tuple[int, int, int, int]
"""Rows lo to hi and columns lo to hi of the ordered matrix, half open."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A window of the ordered matrix as it is drawn; an edge is a place in the ordered matrix."""

    values: np.ndarray
    row_edges: np.ndarray
    col_edges: np.ndarray

    @property
    def is_blocks(self) -> bool:
        """Whether a cell stands for more than one pair."""
        return any(len(edges) - 1 < int(edges[-1] - edges[0]) for edges in (self.row_edges, self.col_edges))


def matrix_view(problem: SelectionProblem, greedy: GreedyOrder | None) -> None:
    """The heat map with its tools at the left, the picked pair at the right.

    Args:
        problem: run and metric; its objective does not matter here.
        greedy: order and gains of the current selection, if there is one.
    """
    utility = problem.utilities.pool
    _settle_pair(problem)
    left, right = st.columns([2, 1], gap="large")
    with left:
        by, mouse = _tools(greedy is not None)
        record = problem.run.record
        identity: tuple[object, ...] = (record.id, str(record.finished_at), problem.metric, by)
        gains = None
        if by == "gain" and greedy is not None:
            gains = np.full(len(utility), np.nan)
            gains[greedy.order] = greedy.gains
            identity = (*identity, greedy.order.tobytes())
        zooms: list[Window] = st.session_state.setdefault(f"zooms_{record.id}", [])
        window = zooms[-1] if zooms else (0, len(utility), 0, len(utility))
        with st.container():  # for the spinners
            order = _order(identity, by, utility, gains)
            picture = _picture(identity, window, utility, order)
        _zoom_line(zooms, len(utility))
        _draw(problem, picture, order, mouse, zooms)
    with right:
        pair_view(problem)


def _tools(has_gains: bool) -> tuple[RowOrder, Mouse]:
    """What the mouse does, and the order of the rows; a new order starts from the whole matrix."""
    with st.container(horizontal=True, vertical_alignment="center"):
        mouse: Mouse = st.segmented_control(
            "Mouse",
            list(MOUSE),
            default="pick",
            required=True,
            format_func=MOUSE.__getitem__,
            key="mouse",
            label_visibility="collapsed",
        )
        with st.popover("Order", icon=":material/sort:", help="The order of the rows; columns follow it"):
            by: RowOrder = st.radio(
                "Order rows and columns by",
                list(ORDERS),
                format_func=ORDERS.__getitem__,
                key="row_order",
                on_change=_zoom_out_all,
            )
            if by == "gain" and not has_gains:
                st.caption("There is no selection yet, so there are no gains: rows are in file order.")
                by = "file"
    return by, mouse


def _zoom_out(zooms: list[Window]) -> None:
    zooms.pop()


def _zoom_out_all() -> None:
    for key in st.session_state:
        if str(key).startswith("zooms_"):
            st.session_state[key] = []


def _zoom_line(zooms: list[Window], n: int) -> None:
    """Where we are in the matrix, and the way back."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if not zooms:
            st.caption(f"All {n:,} rows by {n:,} columns", width="content")
            return
        top, bottom, first, last = zooms[-1]
        st.caption(
            f"Places {top + 1:,}–{bottom:,} of the rows by {first + 1:,}–{last:,} of the columns", width="content"
        )
        st.button(
            "Back", icon=":material/arrow_back:", type="tertiary", on_click=_zoom_out, args=(zooms,), key="zoom_back"
        )
        st.button("Whole matrix", icon=":material/zoom_out_map:", type="tertiary", on_click=zooms.clear, key="zoom_all")


def _draw(problem: SelectionProblem, picture: Picture, order: np.ndarray, mouse: Mouse, zooms: list[Window]) -> None:
    blocks = picture.is_blocks
    pool = problem.run.pool
    shown = [order[edges[:-1]] for edges in (picture.row_edges, picture.col_edges)]
    labels = [_labels(edges, order, pool) for edges in (picture.row_edges, picture.col_edges)]
    if blocks:  # a click then means the block, by its place in the picture
        shown = [np.arange(len(edges) - 1) for edges in (picture.row_edges, picture.col_edges)]
    unit = "" if problem.metric == "euclidean" else METRIC_UNITS[problem.metric]
    figure = utility_heatmap(
        picture.values,
        row_labels=labels[0],
        col_labels=labels[1],
        row_positions=shown[0],
        col_positions=shown[1],
        mouse=mouse,
        unit=unit,
    )
    key = "matrix_" + "_".join(str(edge) for edge in (*zooms[-1], mouse)) if zooms else f"matrix_{mouse}"
    st.plotly_chart(
        figure.update_layout(template="streamlit"),
        theme="streamlit",
        key=key,
        alt=alt_heatmap(picture.values),
        on_select=lambda: _on_mouse(key, picture, pool, zooms),
        selection_mode=("points", "box"),
    )
    if blocks:
        st.caption(
            f"More than {MAX_CELLS_PER_SIDE} rows: each cell is the mean of a block of pairs. Click a block, or drag a "
            "box, to zoom into it."
        )
    st.caption(
        f"Row i is helped, column j helps. Colours are clipped at ±{clip_value(picture.values):.3g}"
        f"{f' {unit}' if unit else ''}, the 98th percentile; cells without colour are not scored."
    )


def _on_mouse(key: str, picture: Picture, pool: tuple[Sample, ...], zooms: list[Window]) -> None:
    """Puts a click into the line fields, or a box onto the zooms; an empty event says nothing."""
    event = st.session_state[key]
    cell, box = picked_cell(event), picked_box(event)
    if cell is not None and not picture.is_blocks:
        st.session_state[_PAIR] = pool[cell[0]].line, pool[cell[1]].line
        return
    if cell is not None:
        box = (cell[0], cell[0] + 1, cell[1], cell[1] + 1)
    window = box_window(picture, box) if box is not None else None
    if window is not None:
        zooms.append(window)


def box_window(picture: Picture, box: tuple[int, int, int, int]) -> Window | None:
    """The window of the ordered matrix under a box of drawn cells; None when the box lies outside the picture."""
    top, bottom, first, last = box
    rows, columns = picture.row_edges, picture.col_edges
    if top >= len(rows) - 1 or first >= len(columns) - 1:
        return None
    bottom, last = min(bottom, len(rows) - 1), min(last, len(columns) - 1)
    return int(rows[top]), int(rows[bottom]), int(columns[first]), int(columns[last])


def _labels(edges: np.ndarray, order: np.ndarray, pool: tuple[Sample, ...]) -> list[str]:
    """Lines, or the places that a block spans."""
    return [
        f"line {pool[order[low]].line}" if high - low == 1 else f"{low + 1}–{high}"
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


@st.cache_data(max_entries=16, show_spinner="Ordering the rows…")
def _order(identity: tuple[object, ...], by: RowOrder, _utility: np.ndarray, _gains: np.ndarray | None) -> np.ndarray:
    return order_rows(_utility, by, _gains)


@st.cache_data(max_entries=32, show_spinner="Drawing the matrix…")
def _picture(identity: tuple[object, ...], window: Window, _utility: np.ndarray, _order: np.ndarray) -> Picture:
    top, bottom, first, last = window
    part = _utility[np.ix_(_order[top:bottom], _order[first:last])]
    if max(part.shape) <= MAX_CELLS_PER_SIDE:
        return Picture(part, np.arange(top, bottom + 1), np.arange(first, last + 1))
    blocks = downsample(part)
    return Picture(blocks.mean, blocks.row_edges + top, blocks.col_edges + first)


def _settle_pair(problem: SelectionProblem) -> None:
    """Starts with the pair that helps most, and leaves a pair of another run behind."""
    run_id, pool = problem.run.record.id, problem.run.pool
    if st.session_state.get(_PAIR_RUN) != run_id:
        utility = problem.utilities.pool
        best = int(np.nanargmax(utility)) if np.isfinite(utility).any() else 0
        row, column = divmod(best, len(pool))
        st.session_state[_PAIR_RUN], st.session_state[_PAIR] = run_id, (pool[row].line, pool[column].line)


def _take_typed_pair() -> None:
    st.session_state[_PAIR] = st.session_state[ROW_LINE], st.session_state[COLUMN_LINE]


def pair_view(problem: SelectionProblem) -> None:
    """The picked pair: who is helped, who helps, by how much, and both texts in full."""
    pool = problem.run.pool
    st.subheader("Pair")
    highest = max(sample.line for sample in pool)
    row_line, column_line = st.session_state[ROW_LINE], st.session_state[COLUMN_LINE] = st.session_state[_PAIR]
    with st.grid(2, min_column_width=110):
        for label, key, what in (("Helped (row)", ROW_LINE, "row i"), ("Helper (column)", COLUMN_LINE, "column j")):
            st.number_input(
                label, 1, highest, step=1, key=key, required=True, on_change=_take_typed_pair, help=f"Line of {what}"
            )
    positions = {sample.line: position for position, sample in enumerate(pool)}
    for line in (row_line, column_line):
        if line not in positions:
            st.info(f"Line {line} is not among the scored rows of the pool.", icon=":material/info:")
            return
    row, column = positions[row_line], positions[column_line]
    with clear_errors():
        _pair_numbers(problem, row, column)
        tokens_view(problem.run, pool[row], pool[column])
    _text_of("Helped", pool[row])
    _text_of("Helper", pool[column])


def _pair_numbers(problem: SelectionProblem, row: int, column: int) -> None:
    """U, and the two numbers that it is the difference of."""
    run, metric = problem.run, problem.metric
    helped, helper = run.pool[row], run.pool[column]
    value = float(problem.utilities.diagonal[row] if row == column else problem.utilities.pool[row, column])
    alone = run.store.alone([helped.content_hash])
    with_example = run.store.pair_statistics([helped.content_hash], helper.content_hash)
    if metric == "euclidean":
        name, before, after = "d", distance(alone.statistics, alone.tokens), distance(with_example, alone.tokens)
    else:
        length = alone.tokens if metric == "pmi-per-token" else 1
        name, before, after = "log p", *(part[:, LOG_PROBABILITY] / length for part in (alone.statistics, with_example))
    verb = "helps" if value > 0 else "harms" if value < 0 else "does not change"
    if row == column:
        st.caption("A row as its own example carries its answer along: this is no gain and is left out of the matrix.")
    else:
        st.markdown(f"Line {helper.line} **{verb}** the model on line {helped.line}.")
    st.table(
        {
            f"Utility U ({METRIC_UNITS[metric]})": f"{value:+.3f}",
            f"{name} of line {helped.line} alone": f"{float(before[0]):.3f}",
            f"{name} with line {helper.line} as example": f"{float(after[0]):.3f}",
        },
        border="horizontal",
    )


def _text_of(part: str, sample: Sample) -> None:
    """One row's conversation, literally."""
    st.markdown(f"**{part}** · line {sample.line}")
    with st.container(border=True, height="content"):
        for message in sample.messages:
            st.caption(f"{ROLE_ICONS[message.role]} {message.role}")
            st.text(message.content)
