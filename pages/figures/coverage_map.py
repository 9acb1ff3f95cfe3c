"""The map of samples as an ECharts option, and the points that the mouse selected on it.

Each status is a series over one shared table, so that it has its own symbol, legend entry and depth. The table has a
row per point in the given order; in the columns of other statuses, a point's y value is empty. So an index that the
chart reports is always a position in the coordinates, and a selection made before an edit still means the same samples.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, get_args

import numpy as np

from delift_core.errors import DeliftError
from delift_core.selection.coverage import Side

MapStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand", "target", "existing", "undecided"]
Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class _Look:
    """How a status is drawn; every status has its own symbol, and a colour for each theme."""

    word: str
    symbol: str
    size: int
    opacity: float
    light: str
    dark: str
    hollow: bool = False


_CROSS = "path://M0,2L2,0L6,4L10,0L12,2L8,6L12,10L10,12L6,8L2,12L0,10L4,6Z"
# In drawing order: later ones lie on top.
_LOOKS: dict[MapStatus, _Look] = {
    "dropped": _Look("not chosen", "circle", 5, 0.6, "#6B7280", "#A3AAB5", hollow=True),
    "undecided": _Look("no selection yet", "circle", 5, 0.7, "#8A6D1F", "#8FBF5A"),
    "existing": _Look("existing", "rect", 6, 0.7, "#9A78E0", "#7C74E0"),
    "target": _Look("target", "diamond", 9, 0.85, "#7B1E3A", "#E9E64A"),
    "chosen": _Look("chosen", "circle", 6, 0.85, "#0B6BA8", "#5DB1F0"),
    "dropped-by-hand": _Look("dropped by hand", _CROSS, 9, 1.0, "#DE7A22", "#F2A33A"),
    "kept-by-hand": _Look("kept by hand", "triangle", 9, 1.0, "#2E9E8F", "#92F0E0"),
}
# For two subsets on one map.
_SIDE_LOOKS: dict[Side, _Look] = {
    "neither": _Look("in neither", "circle", 5, 0.6, "#6B7280", "#A3AAB5", hollow=True),
    "both": _Look("in both", "circle", 6, 0.85, "#0B6BA8", "#5DB1F0"),
    "only-first": _Look("only in A", "triangle", 9, 1.0, "#DE7A22", "#F2A33A"),
    "only-second": _Look("only in B", "diamond", 9, 1.0, "#2E9E8F", "#92F0E0"),
}

_LABEL_SYMBOLS = ("circle", "triangle", "diamond", "rect", "pin")
# The categorical colours of the app's two themes.
_LABEL_COLOURS = (
    ("#0B6BA8", "#5DB1F0"),
    ("#DE7A22", "#F2A33A"),
    ("#7B1E3A", "#C0527F"),
    ("#9A78E0", "#7C74E0"),
    ("#2E9E8F", "#92F0E0"),
    ("#2B2F77", "#E9E64A"),
    ("#B8407A", "#FF8FA3"),
    ("#8A6D1F", "#8FBF5A"),
    ("#4AA8D8", "#3E7FB8"),
)


# From low to high: the sequential colours of both themes, and growing sizes.
_GRADE_COLOURS = (
    ("#86C0D2", "#1F6788"),
    ("#5CA8C2", "#2B7FA6"),
    ("#1F769B", "#4398C0"),
    ("#125E84", "#8BC7E3"),
    ("#07324E", "#DBF0F9"),
)
_GRADE_SIZES = (4, 5, 6, 7, 9)
_RING: Mapping[str, str] = {"light": "#1B2429", "dark": "#E6EBEE"}

Labels = Sequence[str] | np.ndarray
"""Names of the points: texts, or (m,) row numbers."""
View = tuple[float, float, float, float]
"""The part of the plane that is shown: left, right, bottom, top."""


def map_spec(
    coords: np.ndarray,
    status: Sequence[MapStatus] | Sequence[Side],
    *,
    theme: Theme,
    labels: Labels | None = None,
    view: View | None = None,
) -> dict[str, Any]:
    """Builds the ECharts option of the map, with a box and a lasso to select points, and a legend with counts.

    Args:
        coords: (m, 2) float, the points in the plane.
        status: of each point, or, for two subsets of a pool, its side.
        theme: the app's theme, for the colours.
        labels: m short hover texts, shown literally, or m row numbers, which are much less to send; positions if None.
        view: the part of the plane to show; all points if None.

    Returns:
        An option for a chart of the page; `dataset.source` is a pandas DataFrame with one row per point.

    Raises:
        DeliftError: the lengths do not agree, or a status is unknown.
    """
    looks = {str(name): look for part in (_LOOKS, _SIDE_LOOKS) for name, look in part.items()}
    unknown = sorted(set(status) - set(looks))
    if unknown:
        raise DeliftError(f"unknown map status {unknown[0]!r}; use one of {', '.join(looks)}")
    return _option(coords, status, looks, theme, labels, view)


def labelled_map_spec(
    coords: np.ndarray,
    groups: Sequence[str],
    order: Sequence[str],
    *,
    theme: Theme,
    labels: Labels | None = None,
    view: View | None = None,
    graded: int = 0,
) -> dict[str, Any]:
    """As `map_spec`, coloured by other labels than the status.

    Args:
        groups: the label of each point.
        order: the distinct labels in the order of the legend; all beyond the ninth look the same.
        graded: the number of labels at the start that are grades from low to high, 5 at most.

    Raises:
        DeliftError: the lengths do not agree, or a label is not in `order`.
    """
    unknown = sorted(set(groups) - set(order))
    if unknown:
        raise DeliftError(f"the label {unknown[0]!r} is not in the order of labels; name every label there")
    looks = {
        label: _grade_look(label, place, graded) if place < graded else _look_of(label, place)
        for place, label in enumerate(order)
    }
    return _option(coords, groups, looks, theme, labels, view)


def _option(
    coords: np.ndarray,
    groups: Sequence[str],
    looks: Mapping[str, _Look],
    theme: Theme,
    labels: Labels | None,
    view: View | None,
) -> dict[str, Any]:
    """The option of a map in which each group of points has its look."""
    import pandas as pd

    coords = np.asarray(coords, dtype=np.float32)
    _check(coords, groups, labels)
    names = np.asarray(groups, dtype=object)
    counts = Counter(names.tolist())
    present = [name for name in looks if counts[name]]
    titles = {name: f"{looks[name].word} ({counts[name]:,})" for name in present}
    table = {"x": coords[:, 0]}
    for place, name in enumerate(present):
        table[f"y{place}"] = np.where(names == name, coords[:, 1], np.float32(np.nan))
    texts = [str(index) for index in range(len(coords))] if labels is None else labels
    said = "row {@label}" if isinstance(labels, np.ndarray) else "{@label}"
    return {
        "animation": False,
        "dataset": {"source": pd.DataFrame({**table, "label": texts})},
        "grid": {"left": 8, "right": 8, "top": 44, "bottom": 48},
        "xAxis": _axis(coords[:, 0]) if view is None else _axis_of(view[0], view[1]),
        "yAxis": _axis(coords[:, 1]) if view is None else _axis_of(view[2], view[3]),
        "tooltip": {"trigger": "item", "confine": True},
        "legend": {
            "show": True,
            "left": "center",
            "bottom": 4,
            "itemGap": 14,
            "itemWidth": 12,
            "itemHeight": 12,
            "data": list(titles.values()),
        },
        "toolbox": {"left": "left", "feature": {"brush": {"type": ["rect", "polygon", "keep", "clear"]}}},
        "brush": {
            "xAxisIndex": "all",
            "yAxisIndex": "all",
            "throttleType": "debounce",
            "throttleDelay": 300,
            "outOfBrush": {},  # nothing is dimmed: rings mark the picked points
        },
        "dataZoom": [
            {"type": "inside", "xAxisIndex": 0, "filterMode": "none"},
            {"type": "inside", "yAxisIndex": 0, "filterMode": "none"},
        ],
        "series": [
            _series(name, titles[name], f"y{place}", looks[name], theme, _scale(len(coords)), said)
            for place, name in enumerate(present)
        ],
        "media": [{"query": {"maxWidth": 520}, "option": {"grid": {"bottom": 88}}}],
    }


def mark_picked(spec: dict[str, Any], coords: np.ndarray, picked: Sequence[int], theme: Theme) -> dict[str, Any]:
    """The option of a map with a ring around each picked point, since points can be picked without drawing an area.

    Args:
        spec: of a map of all points of `coords`.
        picked: positions in `coords`.
    """
    if not len(picked):
        return spec
    heights = np.full(len(coords), np.float32(np.nan))
    heights[list(picked)] = np.asarray(coords, dtype=np.float32)[list(picked), 1]
    title, colour = f"picked ({len(picked):,})", _RING[theme]
    rings = {
        "id": "picked",
        "name": title,
        "type": "scatter",
        "symbol": "circle",
        "symbolSize": round(6 * _scale(len(coords)) + 6, 1),
        "progressive": 0,
        "encode": {"x": "x", "y": "y_picked"},
        "itemStyle": {"color": "rgba(0,0,0,0)", "borderColor": colour, "borderWidth": 1.8},
        "silent": True,  # so that the point inside can be hovered
        "z": 4,
    }
    return {
        **spec,
        "dataset": {"source": spec["dataset"]["source"].assign(y_picked=heights)},
        "legend": {**spec["legend"], "data": [*spec["legend"]["data"], title]},
        "series": [*spec["series"], rings],
    }


def alt_map(status: Sequence[MapStatus] | Sequence[Side]) -> str:
    """Says in one sentence how many samples of each status, or on each side, the map shows.

    Args:
        status: of each point.
    """
    counts = Counter(str(name) for name in status)
    words = {str(name): look.word for looks in (_LOOKS, _SIDE_LOOKS) for name, look in looks.items()}
    parts = [f"{counts[name]:,} {words[name]}" for name in (*get_args(MapStatus), *get_args(Side)) if counts[name]]
    if not parts:
        return "Map without any rows."
    return f"Map of {len(status):,} rows, similar rows close together: {', '.join(parts)}."


def picked_points(event: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The points inside the drawn areas, from the chart's event.

    Args:
        event: as returned by the chart.
        count: number of points on the map; larger indices belong to an earlier, larger map and are ignored.

    Returns:
        Positions in the coordinates, ascending, each once.
    """
    groups = (event.get("selection") or {}).get("selected") or []
    found = {int(index) for group in groups for index in group.get("data_indices") or []}
    return tuple(sorted(index for index in found if 0 <= index < count))


def _check(coords: np.ndarray, status: Sequence[str], labels: Labels | None) -> None:
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise DeliftError(f"map coordinates of shape {coords.shape} are not points in the plane; give two columns")
    sizes = [len(status)] + ([] if labels is None else [len(labels)])
    if any(size != len(coords) for size in sizes):
        raise DeliftError(
            f"{len(coords):,} map points do not fit {sizes} statuses and labels; give one of each per point"
        )


def _look_of(label: str, place: int) -> _Look:
    """The look of a label: neighbours in the legend differ in colour and symbol; later ones are grey."""
    if place >= len(_LABEL_COLOURS):
        return _Look(label, "circle", 5, 0.6, "#6B7280", "#A3AAB5", hollow=True)
    light, dark = _LABEL_COLOURS[place]
    return _Look(label, _LABEL_SYMBOLS[place % len(_LABEL_SYMBOLS)], 7, 0.85, light, dark)


def _grade_look(label: str, place: int, grades: int) -> _Look:
    step = round(place * (len(_GRADE_COLOURS) - 1) / max(1, grades - 1))
    return _Look(label, "circle", _GRADE_SIZES[step], 0.85, *_GRADE_COLOURS[step])


def view_around(coords: np.ndarray) -> View | None:
    """The part of the plane around some points, with a margin; None for no points.

    Args:
        coords: (k, 2) float.
    """
    if not len(coords):
        return None
    low, high = coords.min(axis=0), coords.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 1e-3 + 0.05 * np.abs(high))
    low, high = low - margin, high + margin
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _inert(text: str) -> str:
    """A text from data, escaped for a formatter, which interprets HTML and braces."""
    return escape(text).replace("{", "&#123;").replace("}", "&#125;")


def _axis(values: np.ndarray) -> dict[str, Any]:
    """An axis without marks, since the coordinates have no meaning, a little wider than its values."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    return _axis_of(low - margin, high + margin)


def _axis_of(low: float, high: float) -> dict[str, Any]:
    return {"type": "value", "show": False, "min": low, "max": high}


def _scale(points: int) -> float:
    """The scale of symbols: smaller for more points, so that clusters stay distinguishable."""
    bounds = ((300, 1.5), (3_000, 1.0), (15_000, 0.8))
    return next((scale for most, scale in bounds if points <= most), 0.6)


def _series(name: str, title: str, column: str, look: _Look, theme: Theme, scale: float, said: str) -> dict[str, Any]:
    colour = look.dark if theme == "dark" else look.light
    # The library fills its own hollow symbols with white, which is too bright on a dark page.
    fill = {"color": "rgba(0,0,0,0)", "borderColor": colour, "borderWidth": 1} if look.hollow else {"color": colour}
    return {
        "id": name,
        "name": title,
        "type": "scatter",
        "symbol": look.symbol,
        "symbolSize": round(look.size * scale, 1),
        # Not progressive: the brush would only see the points drawn so far. Large mode reports no points at all.
        "progressive": 0,
        "encode": {"x": "x", "y": column},
        "itemStyle": {"opacity": look.opacity} | fill,
        "tooltip": {"formatter": f"{said}<br>{_inert(look.word)}"},
    }
