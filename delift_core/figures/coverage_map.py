"""The map of samples as an ECharts option, and the reading of what the mouse chose on it.

Each status is a series of its own over one shared table, so that it has a symbol, a place in the legend and a depth
of its own. The table keeps one row per point in the order given and leaves a point's height empty in the columns of
the other statuses. An index that the chart reports is therefore a position into the coordinates, whatever the status
of a point was when it was drawn: a choice made before an edit still names the same samples after it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from delift_core.errors import DeliftError

MapStatus = Literal[
    "chosen",
    "dropped",
    "kept-by-hand",
    "dropped-by-hand",
    "target",
    "existing",
    "both",
    "only-first",
    "only-second",
    "neither",
]
Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class _Look:
    """How one status is drawn; colours come from the app's two themes, and no two symbols are alike."""

    word: str
    symbol: str
    size: int
    opacity: float
    light: str
    dark: str
    hollow: bool = False


_CROSS = "path://M0,2L2,0L6,4L10,0L12,2L8,6L12,10L10,12L6,8L2,12L0,10L4,6Z"
# In drawing order: what comes later lies on top.
_LOOKS: dict[MapStatus, _Look] = {
    "dropped": _Look("dropped", "circle", 5, 0.6, "#6B7280", "#A3AAB5", hollow=True),
    "existing": _Look("existing", "rect", 6, 0.7, "#9A78E0", "#7C74E0"),
    "target": _Look("target", "diamond", 9, 0.85, "#7B1E3A", "#E9E64A"),
    "chosen": _Look("chosen", "circle", 6, 0.85, "#0B6BA8", "#5DB1F0"),
    "dropped-by-hand": _Look("dropped by hand", _CROSS, 9, 1.0, "#DE7A22", "#F2A33A"),
    "kept-by-hand": _Look("kept by hand", "triangle", 9, 1.0, "#2E9E8F", "#92F0E0"),
    "neither": _Look("in neither", "circle", 5, 0.6, "#6B7280", "#A3AAB5", hollow=True),
    "both": _Look("in both", "circle", 6, 0.85, "#0B6BA8", "#5DB1F0"),
    "only-first": _Look("only in A", "triangle", 9, 1.0, "#DE7A22", "#F2A33A"),
    "only-second": _Look("only in B", "diamond", 9, 1.0, "#2E9E8F", "#92F0E0"),
}


def map_spec(
    coords: np.ndarray, status: Sequence[MapStatus], *, theme: Theme, labels: Sequence[str] | None = None
) -> dict[str, Any]:
    """Builds the ECharts option of the map: a box and a lasso to choose with, and a legend with counts.

    Args:
        coords: (m, 2) float, the points in the plane.
        status: m statuses, one per point.
        theme: which of the app's two themes the colours must suit.
        labels: m short texts for the hover text, shown literally; positions when left out.

    Returns:
        An option for a chart of the page; `dataset.source` is a pandas DataFrame with one row per point.

    Raises:
        DeliftError: the lengths do not agree, or a status is unknown.
    """
    import pandas as pd

    coords = np.asarray(coords, dtype=np.float32)
    _check(coords, status, labels)
    names = np.asarray(status, dtype=object)
    counts = Counter(status)
    present = [name for name in _LOOKS if counts[name]]
    table = {"x": coords[:, 0]}
    for name in present:
        table[name] = np.where(names == name, coords[:, 1], np.float32(np.nan))
    texts = [str(index) for index in range(len(coords))] if labels is None else list(labels)
    return {
        "animation": False,
        "dataset": {"source": pd.DataFrame({**table, "label": texts})},
        "grid": {"left": 8, "right": 8, "top": 44, "bottom": 48},
        "xAxis": _axis(coords[:, 0]),
        "yAxis": _axis(coords[:, 1]),
        "tooltip": {"trigger": "item", "confine": True},
        "legend": {
            "show": True,
            "left": "center",
            "bottom": 4,
            "itemGap": 14,
            "itemWidth": 12,
            "itemHeight": 12,
            "data": [_titled(n, counts) for n in present],
        },
        "toolbox": {"left": "left", "feature": {"brush": {"type": ["rect", "polygon", "keep", "clear"]}}},
        "brush": {
            "xAxisIndex": "all",
            "yAxisIndex": "all",
            "throttleType": "debounce",
            "throttleDelay": 300,
            "outOfBrush": {"opacity": 0.12},
        },
        "dataZoom": [
            {"type": "inside", "xAxisIndex": 0, "filterMode": "none"},
            {"type": "inside", "yAxisIndex": 0, "filterMode": "none"},
        ],
        "series": [_series(name, counts, theme, _scale(len(coords))) for name in present],
        "media": [{"query": {"maxWidth": 520}, "option": {"grid": {"bottom": 88}}}],
    }


def alt_map(status: Sequence[MapStatus]) -> str:
    """Says in one sentence how many samples the map shows of each status.

    Args:
        status: one status per point.
    """
    counts = Counter(status)
    parts = [f"{counts[name]:,} {_LOOKS[name].word}" for name in get_args(MapStatus) if counts[name]]
    if not parts:
        return "Map of samples with no sample on it."
    return f"Map of {len(status):,} samples, alike samples close together: {', '.join(parts)}."


def picked_points(event: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """Reads the points inside the drawn areas from the page's chart event.

    Args:
        event: what the chart returned; only item access is used.
        count: number of points on the map; an index beyond it belongs to an earlier, larger map and is left out.

    Returns:
        Positions into the coordinates, ascending, each once; empty when nothing is chosen.
    """
    groups = (event.get("selection") or {}).get("selected") or []
    found = {int(index) for group in groups for index in group.get("data_indices") or []}
    return tuple(sorted(index for index in found if 0 <= index < count))


def _check(coords: np.ndarray, status: Sequence[MapStatus], labels: Sequence[str] | None) -> None:
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise DeliftError(f"map coordinates of shape {coords.shape} are not points in the plane; give two columns")
    sizes = [len(status)] + ([] if labels is None else [len(labels)])
    if any(size != len(coords) for size in sizes):
        raise DeliftError(
            f"{len(coords)} map points do not fit {sizes} statuses and labels; give one of each per point"
        )
    unknown = sorted(set(status) - set(_LOOKS))
    if unknown:
        raise DeliftError(f"unknown map status {unknown[0]!r}; use one of {', '.join(_LOOKS)}")


def _axis(values: np.ndarray) -> dict[str, Any]:
    """An axis without marks (the coordinates mean nothing), a little wider than its values."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    return {"type": "value", "show": False, "min": low - margin, "max": high + margin}


def _titled(name: MapStatus, counts: Counter[MapStatus]) -> str:
    return f"{_LOOKS[name].word} ({counts[name]:,})"


def _scale(points: int) -> float:
    """Smaller symbols on a fuller map, so that clusters stay clouds instead of becoming slabs."""
    bounds = ((300, 1.5), (3_000, 1.0), (15_000, 0.8))
    return next((scale for most, scale in bounds if points <= most), 0.6)


def _series(name: MapStatus, counts: Counter[MapStatus], theme: Theme, scale: float) -> dict[str, Any]:
    look = _LOOKS[name]
    colour = look.dark if theme == "dark" else look.light
    # The library's own hollow symbols are filled with white, which shines out of a dark page.
    fill = {"color": "rgba(0,0,0,0)", "borderColor": colour, "borderWidth": 1} if look.hollow else {"color": colour}
    return {
        "id": name,
        "name": _titled(name, counts),
        "type": "scatter",
        "symbol": look.symbol,
        "symbolSize": round(look.size * scale, 1),
        # Drawn at once: with progressive drawing the brush sees only what is drawn so far. Large mode reports nothing.
        "progressive": 0,
        "encode": {"x": "x", "y": name},
        "itemStyle": {"opacity": look.opacity} | fill,
        "tooltip": {"formatter": f"{{@label}}<br>{look.word}"},
    }
