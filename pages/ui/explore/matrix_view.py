"""The utility matrix: ordered, in blocks where it is large, zoomed by box, with one picked pair in full."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import streamlit as st
from scipy.sparse import csr_array

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.curation.selector import SelectionProblem
from delift_core.data.quality.facets import Facet
from delift_core.samples import Sample
from delift_core.scoring.metrics import METRIC_UNITS
from delift_core.selection.types import GreedyOrder
from pages.figures.matrix import (
    BLOCKS_PER_SIDE,
    CELLS_PER_SIDE,
    Mouse,
    alt_heatmap,
    clip_value,
    picked_box,
    picked_cell,
    utility_heatmap,
)
from pages.figures.matrix_parts import Matrix, RowOrder, blocks, order_by_label, order_rows, window
from pages.ui.explore.map_colours import clusters_of
from pages.ui.explore.pair_view import pair_view, set_pair, settle_pair
from pages.ui.select.composition_view import facets_of
from pages.ui.shell import state
from pages.ui.shell.blocks import choice, plain

ORDERS: dict[RowOrder, str] = {
    "similarity": "Sorted by similarity",
    "file": "File order",
    "gain": "Largest gain first",
    "mean": "Most helped first",
}
_CLUSTER = "Cluster"
MOUSE: dict[Mouse, str] = {"pick": "Pick a cell", "box": "Zoom to a box"}
SHOWN = {"mean": "Mean", "max": "Largest"}
Window = tuple[int, int, int, int]
"""Rows lo to hi and columns lo to hi of the ordered matrix, half open."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A window of the ordered matrix as it is drawn; edges are positions in the ordered matrix.

    Attributes:
        estimated: which cells are estimates; blocks are never marked.
        guesses: how many pairs of the window are estimated, and how many are scored or estimated.
        clip: where the colours saturate.
    """

    values: np.ndarray
    row_edges: np.ndarray
    col_edges: np.ndarray
    estimated: np.ndarray
    guesses: tuple[int, int] = (0, 0)
    clip: float = 1.0

    @property
    def is_blocks(self) -> bool:
        """Whether a cell stands for more than one pair."""
        return any(len(edges) - 1 < int(edges[-1] - edges[0]) for edges in (self.row_edges, self.col_edges))


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """The choices above the matrix: the order of rows, what the mouse does, what a block shows."""

    order: RowOrder | Facet
    mouse: Mouse
    shown: str

    @property
    def order_in_words(self) -> str:
        """The order as a phrase for the line above the matrix."""
        return f"By {self.order.name.lower()}" if isinstance(self.order, Facet) else ORDERS[self.order]


def matrix_view(problem: SelectionProblem, greedy: GreedyOrder | None) -> None:
    """The heat map with its controls at the left, the picked pair at the right.

    Args:
        problem: gives the run and the metric; its objective is not used.
        greedy: order and gains of the current selection, if there is one.
    """
    settle_pair(problem)
    left, right = st.columns([2, 1], gap="large")
    with left:
        _heatmap(problem, greedy)
    with right:
        pair_view(problem)


def _heatmap(problem: SelectionProblem, greedy: GreedyOrder | None) -> None:
    record, n = problem.run.record, len(problem.run.pool)
    options = _tools(problem.run, greedy is not None)
    zooms: list[Window] = st.session_state.setdefault(f"zooms_{record.id}", [])
    view = zooms[-1] if zooms else (0, n, 0, n)
    identity: tuple[str | bytes, ...] = (problem.metric, options.order_in_words)
    if options.order == "gain" and greedy is not None:
        identity = (*identity, greedy.order.tobytes())

    def picture_in(part: Window) -> Picture:
        key = "matrix", identity, part, options.shown, options.mouse
        make = partial(_picture, problem, order, part, options.shown, options.mouse)
        return state.remember(problem.run, key, make, "Drawing the matrix…")

    with st.container():  # for the spinners
        make = partial(_order, options.order, problem.utilities.pool, greedy)
        order = state.remember(problem.run, ("row order", identity), make, "Ordering the rows…")
        whole = picture_in((0, n, 0, n))
        picture = picture_in(view)
    if whole.is_blocks == picture.is_blocks:  # a colour means the same number before and after zooming
        picture = replace(picture, clip=whole.clip)
    _zoom_line(zooms, n, options.order_in_words)
    _draw(problem, picture, order, options, zooms)


def _tools(run: ScoredRun, has_gains: bool) -> MatrixOptions:
    """The controls above the matrix; a new order starts from the whole matrix."""
    n, by_name = len(run.pool), {facet.name: facet for facet in facets_of(run)}
    with st.container(horizontal=True, vertical_alignment="center"):
        mouse = choice("Mouse", MOUSE, key="mouse")
        shown = "mean"
        if n > CELLS_PER_SIDE[mouse]:
            words = "What a block shows: the mean of its pairs, or the largest"
            shown = choice("A block shows", SHOWN, key="block_shows", help=words)
        with st.popover("Order", icon=":material/sort:", help="The order of the rows; columns follow it"):
            name = st.radio(
                "Order rows and columns by",
                [*ORDERS, _CLUSTER, *by_name],
                format_func=lambda name: {**ORDERS, _CLUSTER: "Clusters of similar rows"}.get(name, name),
                key="row_order",
                bind="query-params",
                on_change=_zoom_out_all,
            )
            order: RowOrder | Facet = by_name.get(name) or next((by for by in ORDERS if by == name), "file")
            if name == _CLUSTER:
                order = clusters_of(run)
            if order == "gain" and not has_gains:
                st.caption("No selection yet, so there are no gains: rows are in file order.")
                order = "file"
    return MatrixOptions(order, mouse, shown)


def _zoom_out(zooms: list[Window]) -> None:
    zooms.pop()


def _zoom_out_all() -> None:
    for key in st.session_state:
        if str(key).startswith("zooms_"):
            st.session_state[key] = []


def _zoom_line(zooms: list[Window], n: int, order: str) -> None:
    """Which part of the matrix is shown, in what order, and buttons to zoom out."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if not zooms:
            st.caption(plain(f"All {n:,} rows · {order}"), width="content")
            return
        top, bottom, first, last = zooms[-1]
        where = f"Rows {top + 1:,}–{bottom:,}, examples {first + 1:,}–{last:,}"
        st.caption(plain(f"{where} · {order}"), width="content")
        st.button(
            "Back", icon=":material/arrow_back:", type="tertiary", on_click=_zoom_out, args=(zooms,), key="zoom_back"
        )
        st.button("Whole matrix", icon=":material/zoom_out_map:", type="tertiary", on_click=zooms.clear, key="zoom_all")


def _draw(
    problem: SelectionProblem, picture: Picture, order: np.ndarray, options: MatrixOptions, zooms: list[Window]
) -> None:
    pool = problem.run.pool
    shown = [order[edges[:-1]] for edges in (picture.row_edges, picture.col_edges)]
    labels = [_labels(edges, order, pool) for edges in (picture.row_edges, picture.col_edges)]
    if picture.is_blocks:  # a click then reports the block's position in the picture
        shown = [np.arange(len(edges) - 1) for edges in (picture.row_edges, picture.col_edges)]
    unit = "" if problem.metric == "euclidean" else METRIC_UNITS[problem.metric]
    figure = utility_heatmap(
        picture.values,
        row_labels=labels[0],
        col_labels=labels[1],
        row_positions=shown[0],
        col_positions=shown[1],
        mouse=options.mouse,
        unit=unit,
        estimated=picture.estimated,
        clip=picture.clip,
    )
    key = "_".join(str(part) for part in ("matrix", *(zooms[-1] if zooms else ()), options.mouse, options.shown))
    st.plotly_chart(
        figure.update_layout(template="streamlit"),
        theme="streamlit",
        key=key,
        alt=alt_heatmap(picture.values, picture.clip),
        on_select=lambda: _on_mouse(key, picture, pool, zooms),
        selection_mode=("points", "box"),
    )
    for sentence in _legend(picture, options, unit, len(pool)):
        st.caption(sentence)


def _legend(picture: Picture, options: MatrixOptions, unit: str, pool_size: int) -> list[str]:
    """Sentences that explain the picture."""
    said = []
    if picture.is_blocks:
        what = "the mean" if options.shown == "mean" else "the largest"
        said.append(
            f"More than {CELLS_PER_SIDE[options.mouse]} rows or columns: each cell is {what} of a block of pairs. "
            "Click a block, or drag a box, to zoom in, down to single pairs."
        )
    guessed, known = picture.guesses
    if guessed:
        crosses = "" if picture.is_blocks else "Crosses mark estimates. "
        said.append(f"{crosses}{guessed:,} of the {known:,} values here are estimated, not measured.")
    alone = not picture.is_blocks and pool_size > CELLS_PER_SIDE[options.mouse]
    said.append(
        f"Left: row being answered. Bottom: example shown. Blank: not scored. Colours stop at ±{picture.clip:.3g}"
        f"{f' {unit}' if unit else ''}, the 98th percentile of {'the pairs shown' if alone else 'the whole matrix'}."
    )
    if alone:
        said.append("These colours have another scale than those of the blocks, which show means or maxima.")
    return said


def _on_mouse(key: str, picture: Picture, pool: tuple[Sample, ...], zooms: list[Window]) -> None:
    """A click picks a pair, a box zooms in; an empty event does nothing."""
    event = st.session_state[key]
    cell, box = picked_cell(event), picked_box(event)
    if cell is not None and not picture.is_blocks:
        set_pair(pool[cell[0]].line, pool[cell[1]].line)
        return
    if cell is not None:
        box = (cell[0], cell[0] + 1, cell[1], cell[1] + 1)
    view = box_window(picture, box) if box is not None else None
    if view is not None:
        zooms.append(view)


def box_window(picture: Picture, box: tuple[int, int, int, int]) -> Window | None:
    """The window of the ordered matrix under a box of drawn cells; None when the box lies outside the picture."""
    top, bottom, first, last = box
    rows, columns = picture.row_edges, picture.col_edges
    if top >= len(rows) - 1 or first >= len(columns) - 1:
        return None
    bottom, last = min(bottom, len(rows) - 1), min(last, len(columns) - 1)
    return int(rows[top]), int(rows[bottom]), int(columns[first]), int(columns[last])


def _labels(edges: np.ndarray, order: np.ndarray, pool: tuple[Sample, ...]) -> list[str]:
    """Row names, or the range of positions of a block."""
    return [
        pool[order[low]].place if high - low == 1 else f"{low + 1}–{high}"
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def _order(by: RowOrder | Facet, utility: Matrix, greedy: GreedyOrder | None) -> np.ndarray:
    if isinstance(by, Facet):
        return order_by_label(by.codes)
    gains = None
    if greedy is not None:
        gains = np.full(utility.shape[0], np.nan)
        gains[greedy.order] = greedy.gains
    return order_rows(utility, by, gains)


def _picture(problem: SelectionProblem, order: np.ndarray, view: Window, shown: str, mouse: Mouse) -> Picture:
    most = CELLS_PER_SIDE[mouse]
    if max(view[1] - view[0], view[3] - view[2]) > most:
        most = BLOCKS_PER_SIDE[mouse]
    return picture_of(problem.utilities.pool, problem.utilities.estimated, order, view, shown, most)


def picture_of(
    utility: Matrix, estimated: csr_array | None, order: np.ndarray, view: Window, shown: str, most: int
) -> Picture:
    """A window of the ordered matrix, in full or, with more than `most` rows or columns, in blocks.

    Args:
        estimated: estimates of pairs that are not in `utility`, of the same shape.
        shown: "mean" or "max" of the pairs in a block.
    """
    top, bottom, first, last = view
    rows, columns = order[top:bottom], order[first:last]
    if max(rows.size, columns.size) <= most:
        values = window(utility, rows, columns)
        scored = int(np.isfinite(values).sum())
        guess = np.full_like(values, np.nan) if estimated is None else window(estimated, rows, columns)
        guessed = np.isnan(values) & np.isfinite(guess)
        values = np.where(guessed, guess, values)
        n_guessed = int(guessed.sum())
        edges = np.arange(top, bottom + 1), np.arange(first, last + 1)
        return Picture(values, *edges, guessed, (n_guessed, scored + n_guessed), clip_value(values))
    part = blocks(utility, rows, columns, most)
    values, counts, n_guessed = getattr(part, shown), part.scored, 0
    if estimated is not None:
        guess = blocks(estimated, rows, columns, most)
        n_guessed = int(guess.scored.sum())
        both = np.stack([np.nan_to_num(values), np.nan_to_num(getattr(guess, shown))])
        weights = np.stack([counts, guess.scored])
        if shown == "max":
            merged = np.where(weights > 0, both, -np.inf).max(axis=0)
        else:
            merged = (both * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1)
        values = np.where(weights.sum(axis=0) > 0, merged, np.nan)
    none = np.zeros(values.shape, dtype=bool)
    guesses = (n_guessed, int(counts.sum()) + n_guessed)
    return Picture(values, part.row_edges + top, part.col_edges + first, none, guesses, clip_value(values))
