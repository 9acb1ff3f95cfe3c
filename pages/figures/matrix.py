"""The utility matrix as a heat map with clipped colours, marks on estimated cells, and mouse events.

Row i is helped, column j helps. Mouse events report positions in the pool (a picked cell) or indices into the matrix as
drawn (a picked box).
"""

import html
from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from delift_core.errors import DeliftError

if TYPE_CHECKING:
    import plotly.graph_objects as go

Mouse = Literal["pick", "box"]

CELLS_PER_SIDE: dict[Mouse, int] = {"pick": 256, "box": 512}
"""The most rows and columns that are drawn: picking needs a marker per cell, and browsers cannot draw more."""
BLOCKS_PER_SIDE: dict[Mouse, int] = {"pick": 128, "box": 512}
"""The most blocks per side of a larger matrix; fewer for picking, which zooms in."""
CLIP_QUANTILE = 0.98
_LABEL_LENGTH = 14
_CLEAR = "rgba(0,0,0,0)"
_HOVER = "%{{y}} with %{{x}} as example<br>utility {}<extra></extra>"


def clip_value(utility: np.ndarray) -> float:
    """The value at which the colours of a heat map saturate: the 98th percentile of |U| over the scored cells.

    Args:
        utility: any shape, float; NaN = not scored (the diagonal included).

    Returns:
        A number > 0 in units of the metric: the largest |U| when that percentile is 0, and 1.0 when nothing is scored
        or every cell is 0.
    """
    scored = np.abs(utility[np.isfinite(utility)])
    clip = float(np.quantile(scored, CLIP_QUANTILE)) if scored.size else 0.0
    if clip > 0:
        return clip
    largest = float(scored.max()) if scored.size else 0.0
    return largest if largest > 0 else 1.0


def utility_heatmap(
    utility: np.ndarray,
    *,
    row_labels: Sequence[str],
    col_labels: Sequence[str],
    row_positions: Sequence[int] | np.ndarray,
    col_positions: Sequence[int] | np.ndarray,
    mouse: Mouse,
    unit: str = "",
    estimated: np.ndarray | None = None,
    clip: float | None = None,
) -> "go.Figure":
    """Draws a utility matrix with colours centred on 0, and an invisible overlay that reports mouse events.

    A heat map reports no events, so transparent markers lie on it. Clicks are only reported while the drag tool is not
    a selection tool; hence `mouse`.

    Args:
        utility: (r, c) float, r and c at most `CELLS_PER_SIDE`; NaN = not scored, shown as background.
        row_labels: r short texts for hover and ticks; shown literally.
        col_labels: c short texts, likewise.
        row_positions: (r,) positions in the pool, handed back by `picked_cell`.
        col_positions: (c,) positions, likewise.
        mouse: "pick" lets a click report a cell, "box" lets a drag report a block.
        unit: unit of the metric for the colour bar ("nats"); empty for the Euclidean metric.
        estimated: (r, c) bool, cells whose value is an estimate, marked by a cross and in the hover text.
        clip: the value at which the colours saturate; `clip_value` of the matrix if None.

    Returns:
        A figure without template and without any colour of its own.

    Raises:
        DeliftError: the shapes do not agree, or the matrix is too large to draw cell by cell.
    """
    import plotly.graph_objects as go

    _check_drawable(utility, mouse, (len(row_labels), len(col_labels)), (len(row_positions), len(col_positions)))
    guessed = np.zeros(utility.shape, dtype=bool) if estimated is None else estimated
    clip = clip_value(utility) if clip is None else clip
    heatmap = go.Heatmap(
        z=utility.astype(np.float32),
        autocolorscale=True,
        zmid=0,
        zmin=-clip,
        zmax=clip,
        colorbar=_colour_bar(clip, unit),
    )
    if mouse == "pick":
        heatmap.update(hoverinfo="skip")
        overlay = _cell_markers(utility, guessed, np.asarray(row_positions), np.asarray(col_positions))
    else:
        heatmap.update(hovertemplate=_HOVER.format("%{z:+.3f}"), hoverongaps=False)
        overlay = _box_anchor()
    figure = go.Figure([heatmap, *([_crosses(guessed)] if guessed.any() else []), overlay])
    axis = {"showgrid": False, "zeroline": False, "tick0": 0, "ticks": ""}
    rows, columns = utility.shape
    figure.update_xaxes(title="example shown", range=[-0.5, columns - 0.5], **_ticks(col_labels), **axis)
    figure.update_yaxes(title="row being answered", range=[rows - 0.5, -0.5], **_ticks(row_labels), **axis)
    figure.update_layout(
        dragmode="pan" if mouse == "pick" else "select",
        margin={"t": 30, "l": 10, "r": 10, "b": 140},
        height=560,
        showlegend=False,
    )
    return figure


def alt_heatmap(utility: np.ndarray, clip: float | None = None) -> str:
    """Says in one sentence how many pairs help, how strongly, and how many are scored.

    Args:
        utility: (r, c) float with NaN = not scored.
        clip: see `utility_heatmap`.
    """
    rows, columns = utility.shape
    scored = utility[np.isfinite(utility)]
    if not scored.size:
        return f"Utility matrix of {rows:,} rows by {columns:,} columns with no pair scored yet."
    return (
        f"Utility matrix of {rows:,} rows by {columns:,} columns: {np.mean(scored > 0):.0%} of {scored.size:,} scored "
        f"pairs help, the mean utility is {scored.mean():+.3f} and the largest {scored.max():+.3f}; colours are "
        f"clipped at plus or minus {clip_value(utility) if clip is None else clip:.3g}."
    )


def picked_cell(event: Mapping[str, Any]) -> tuple[int, int] | None:
    """Reads a click on the heat map from the page's chart event.

    Args:
        event: what the chart returned; only item access is used.

    Returns:
        (row position, column position) in the pool, or None when no single cell is picked.
    """
    selection = event.get("selection") or {}
    if _boxes(event):
        return None
    for point in selection.get("points") or []:
        pair = _pair(point.get("customdata"))
        if pair is not None:
            return pair
    return None


def picked_box(event: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    """Reads a dragged box from the page's chart event: the cells whose centres lie inside it.

    Args:
        event: what the chart returned; only item access is used. Of several boxes the last one counts.

    Returns:
        (row_lo, row_hi, col_lo, col_hi), half-open indices into the matrix as drawn, or None when there is no box
        or it holds no cell. The upper ends may exceed the matrix when the reader zoomed out: slices take no harm.
    """
    boxes = _boxes(event)
    if not boxes:
        return None
    sides = [_inside(boxes[-1].get(name)) for name in ("y", "x")]
    if sides[0] is None or sides[1] is None:
        return None
    return (*sides[0], *sides[1])


def _check_drawable(utility: np.ndarray, mouse: Mouse, *sizes: tuple[int, int]) -> None:
    most = CELLS_PER_SIDE[mouse]
    if utility.ndim != 2 or max(utility.shape) > most:
        raise DeliftError(
            f"a matrix of shape {utility.shape} cannot be drawn cell by cell; cut it to {most} blocks per side first"
        )
    for size in sizes:
        if size != utility.shape:
            raise DeliftError(f"labels or positions for {size} cells do not fit a matrix of shape {utility.shape}")


def _crosses(estimated: np.ndarray) -> "go.Scattergl":
    """A small cross on each estimated cell, so that it differs from a measured one not only by colour."""
    import plotly.graph_objects as go

    at_row, at_column = np.nonzero(estimated)
    return go.Scattergl(
        x=at_column.astype(np.int16),
        y=at_row.astype(np.int16),
        mode="markers",
        hoverinfo="skip",
        marker={
            "symbol": "x-thin-open",
            "size": min(9, max(3, 240 // max(estimated.shape))),
            "color": "rgba(110,120,128,0.9)",
            "line": {"width": 1},
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _cell_markers(
    utility: np.ndarray, estimated: np.ndarray, row_positions: np.ndarray, col_positions: np.ndarray
) -> "go.Scattergl":
    """One invisible marker per cell, with the two positions in the pool as custom data."""
    import plotly.graph_objects as go

    rows, columns = utility.shape
    at_row, at_column = (index.ravel() for index in np.indices((rows, columns), dtype=np.int16))
    return go.Scattergl(
        x=at_column,
        y=at_row,
        mode="markers",
        customdata=np.column_stack([row_positions[at_row], col_positions[at_column]]).astype(np.int32),
        text=[
            (f"{value:+.3f}{', estimated' if guess else ''}" if isfinite(value) else "not scored")
            for value, guess in zip(utility.ravel().tolist(), estimated.ravel().tolist(), strict=True)
        ],
        hovertemplate=_HOVER.format("%{text}"),
        marker={"symbol": "square", "size": max(3, 480 // max(rows, columns, 1)), "color": _CLEAR},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _box_anchor() -> "go.Scattergl":
    """A single marker, which makes the figure selectable; a box is then reported by its bounds alone.

    With a marker per cell the browser would send every cell in the box: 7 MB and 10 s for 200 by 200 cells.
    """
    import plotly.graph_objects as go

    return go.Scattergl(
        x=[0],
        y=[0],
        mode="markers",
        hoverinfo="skip",
        marker={"size": 1, "color": _CLEAR},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _colour_bar(clip: float, unit: str) -> dict[str, Any]:
    """A horizontal bar below the matrix, so that it takes no width on a narrow screen."""
    half, full = f"{clip / 2:.2g}", f"{clip:.2g}"
    return {
        "orientation": "h",
        "x": 0.5,
        "xanchor": "center",
        "yref": "container",
        "y": 0.0,
        "yanchor": "bottom",
        "len": 1.0,
        "thickness": 12,
        "tickvals": [-clip, -clip / 2, 0, clip / 2, clip],
        "ticktext": [f"≤ −{full}", f"−{half}", "0", f"+{half}", f"≥ +{full}"],
        "title": {"text": f"utility{f' ({unit})' if unit else ''}: below 0 harms, above 0 helps", "side": "bottom"},
    }


def _ticks(labels: Sequence[str]) -> dict[str, Any]:
    """Labels as aliases of the cell indices: plotly thins the ticks itself and uses the labels in the hover text."""
    return {"labelalias": {str(index): _literal(label) for index, label in enumerate(labels)}, "nticks": 6}


def _literal(label: str) -> str:
    """A shortened label on one line, escaped, since plotly interprets tags."""
    line = " ".join(label.split())
    cut = line if len(line) <= _LABEL_LENGTH else line[: _LABEL_LENGTH - 1] + "…"
    return html.escape(cut, quote=False)


def _boxes(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((event.get("selection") or {}).get("box") or [])


def _pair(customdata: Any) -> tuple[int, int] | None:
    """The two positions of a point; a browser's typed array arrives as {"0": row, "1": column}."""
    if isinstance(customdata, Mapping):
        customdata = [customdata.get("0"), customdata.get("1")]
    if not isinstance(customdata, Sequence) or isinstance(customdata, str) or len(customdata) < 2:
        return None
    row, column = customdata[0], customdata[1]
    return None if row is None or column is None else (int(row), int(column))


def _inside(bounds: Any) -> tuple[int, int] | None:
    """Integers within two bounds in either order, never below 0, as a half-open range."""
    if not isinstance(bounds, Sequence) or len(bounds) < 2:
        return None
    low, high = max(0, ceil(min(bounds))), floor(max(bounds)) + 1
    return (low, high) if low < high else None
