"""Curves of a selection: objective against the number of rows, and the distribution of the utilities.

Colours are those of the theme, in the order of the traces: the first for pairs that help, the second for the others.
"""

from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DeliftError
from delift_core.selection.assessment import RandomCurves
from delift_core.selection.types import RandomBaseline

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CURVE_POINTS = 2_000
_BINS = 80  # at most
_RANDOM = "random rows (mean ± sd)"
_DELIFT = "DELIFT"


def gain_curve(
    gains: np.ndarray,
    k: int,
    random: RandomBaseline,
    *,
    curves: RandomCurves | None = None,
    bend: int = 0,
    unit: str = "",
    by: str = _DELIFT,
    beside: np.ndarray | None = None,
) -> "go.Figure":
    """Draws the objective against the number of rows, with the budget, the knee and random rows.

    Args:
        gains: (n,) float, marginal gains of the whole order, first pick first.
        k: rows in the budget, 0 to n.
        random: random subsets within the budget, drawn as a point if there are no `curves`.
        curves: random subsets of every size, drawn as a band.
        bend: rows at the knee (see `selection.knee`); not marked if it is 0 or n.
        unit: unit of the metric for the axis ("nats"); empty for the Euclidean metric.
        by: the method that made the order.
        beside: (n,) float, the gains of DELIFT's order, to compare another method's with.

    Raises:
        DeliftError: k is outside 0 to n.
    """
    import plotly.graph_objects as go

    objective = _objective(gains, k)
    shown = np.unique(np.r_[np.linspace(0, gains.size, _CURVE_POINTS + 1).round().astype(int), k, bend])
    top = float(max(objective.max(), random.mean + random.std))
    figure = go.Figure()
    figure.add_scatter(x=shown, y=objective[shown], mode="lines", name=by, line={"width": 3, "simplify": False})
    if beside is not None:
        best = _objective(beside, k)
        top = max(top, float(best.max()))
        figure.add_scatter(x=shown, y=best[shown], mode="lines", name=_DELIFT, line={"width": 1.5, "simplify": False})
    if curves is None:
        _add_point(figure, k, random)
    else:
        _add_band(figure, shown[shown < curves.objective.shape[1]], curves)
    marks = [(k, f"budget: {k:,} rows", "dash", 2.0)]
    if 0 < bend < gains.size:
        marks.append((bend, f"knee: {bend:,} rows", "dot", 1.5))
    for at, name, dash, width in marks:
        figure.add_scatter(
            x=[at, at], y=[0, top], mode="lines", name=name, line={"dash": dash, "width": width}, hoverinfo="skip"
        )
    figure.update_xaxes(title="rows chosen", rangemode="tozero")
    figure.update_yaxes(title=_titled("coverage", unit), rangemode="tozero")
    return _framed(figure)


def _add_point(figure: "go.Figure", k: int, random: RandomBaseline) -> None:
    figure.add_scatter(
        x=[k],
        y=[random.mean],
        error_y={"type": "data", "array": [random.std], "thickness": 2, "width": 8},
        mode="markers",
        marker={"size": 11, "symbol": "diamond"},
        name=_RANDOM,
        zorder=1,
    )


def _add_band(figure: "go.Figure", shown: np.ndarray, curves: RandomCurves) -> None:
    mean, std = curves.band(shown)
    figure.add_scatter(
        x=np.concatenate([shown, shown[::-1]]),
        y=np.concatenate([mean + std, (mean - std)[::-1]]),
        mode="lines",
        fill="toself",
        line={"width": 1},
        name=_RANDOM,
        hoverinfo="skip",
    )


def alt_gain_curve(gains: np.ndarray, k: int, random: RandomBaseline, bend: int = 0, by: str = _DELIFT) -> str:
    """Says in one sentence what the budget reaches, compared with random subsets and with all rows.

    Args:
        gains, k, random, bend, by: as for `gain_curve`.
    """
    objective = _objective(gains, k)
    total, reached = float(objective[-1]), float(objective[k])
    share = f", {reached / total:.0%} of what all {gains.size:,} rows reach" if total > 0 else ""
    knee = f"; the knee is at {bend:,} rows" if 0 < bend < gains.size else ""
    return (
        f"Coverage by number of rows: the {by} order reaches {reached:.4g} with {k:,} rows{share}; random subsets "
        f"of that size reach {random.mean:.4g} plus or minus {random.std:.2g}{knee}."
    )


def utility_histogram(utility: np.ndarray, *, unit: str = "") -> "go.Figure":
    """Draws the distribution of the scored utilities, with pairs that help and others apart.

    Args:
        utility: any shape, float; NaN = not scored (the diagonal included) and left out.
        unit: unit of the metric for the axis ("nats"); empty for the Euclidean metric.
    """
    import plotly.graph_objects as go

    scored = utility[np.isfinite(utility)].astype(np.float64)
    edges = _edges_around_zero(scored)
    figure = go.Figure()
    for name, part in (("helps (U > 0)", scored[scored > 0]), ("does not help (U ≤ 0)", scored[scored <= 0])):
        counts, _ = np.histogram(part, bins=edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            name=name,
            hovertemplate="utility about %{x:+.3g}<br>%{y:,} pairs<extra></extra>",
        )
    figure.update_xaxes(title=_titled("utility of a pair", unit))
    figure.update_yaxes(title="pairs")
    figure.update_layout(barmode="stack", bargap=0)
    return _framed(figure)


def alt_histogram(utility: np.ndarray) -> str:
    """Says in one sentence how many pairs help, and the median of the utilities.

    Args:
        utility: as for `utility_histogram`.
    """
    scored = utility[np.isfinite(utility)]
    if not scored.size:
        return "Histogram of utilities with no pair scored yet."
    low, middle, high = np.quantile(scored, [0.05, 0.5, 0.95])
    return (
        f"Histogram of {scored.size:,} utilities: {np.mean(scored > 0):.0%} of the pairs help; the median is "
        f"{middle:+.3f} and nine in ten lie between {low:+.3f} and {high:+.3f}."
    )


def means_histogram(helped: np.ndarray, helps: np.ndarray, *, unit: str = "") -> "go.Figure":
    """Draws the distributions of the row means and of the column means of a utility matrix, as outlines.

    Args:
        helped: (n,) float, row means: how much each sample is helped on average; NaN is left out.
        helps: (m,) float, column means: how much each sample helps on average; NaN is left out.
        unit: unit of the metric for the axis ("nats"); empty for the Euclidean metric.
    """
    import plotly.graph_objects as go

    parts = [values[np.isfinite(values)].astype(np.float64) for values in (helped, helps)]
    edges = _edges_around_zero(np.concatenate(parts))
    figure = go.Figure()
    names = ("is helped (row mean)", "helps (column mean)")
    for name, dash, values in zip(names, ("solid", "dash"), parts, strict=True):
        counts, _ = np.histogram(values, bins=edges)
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1],
            y=np.repeat(counts, 2),
            mode="lines",
            name=name,
            line={"dash": dash, "width": 2},
            hovertemplate="mean utility about %{x:+.3g}<br>%{y:,} rows<extra></extra>",
        )
    figure.update_xaxes(title=_titled("mean utility", unit))
    figure.update_yaxes(title="rows")
    return _framed(figure)


def alt_means(helped: np.ndarray, helps: np.ndarray) -> str:
    """Describes the distributions of the row means and of the column means in one sentence.

    Args:
        helped, helps: as for `means_histogram`.
    """
    said = []
    for what, values in (("is helped", helped), ("helps", helps)):
        known = values[np.isfinite(values)]
        if not known.size:
            return "Histogram of row and column means with no pair scored yet."
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
        said.append(f"{what} by {middle:+.3f} (nine in ten between {low:+.3f} and {high:+.3f})")
    return f"Histogram of row and column means: on average, the middle row {said[0]} and {said[1]}."


def _objective(gains: np.ndarray, k: int) -> np.ndarray:
    """Cumulative objective after 0 to n picks."""
    if not 0 <= k <= gains.size:
        raise DeliftError(f"a budget of {k:,} rows does not fit an order of {gains.size:,}; choose 0 to {gains.size:,}")
    return np.concatenate([[0.0], np.cumsum(gains, dtype=np.float64)])


def _edges_around_zero(values: np.ndarray) -> np.ndarray:
    """Edges of equal bins with 0 on an edge, so that no bar mixes pairs that help and others. There are about twice the
    cube root of the number of values (Rice's rule)."""
    count = min(_BINS, max(8, round(2 * float(np.cbrt(values.size)))))
    low, high = (min(float(values.min()), 0.0), max(float(values.max()), 0.0)) if values.size else (-1.0, 1.0)
    width = (high - low) / count or 1.0 / count
    below, over = int(np.ceil(-low / width)), int(np.ceil(high / width))
    return np.arange(-max(below, 1), max(over, 1) + 1) * width


def _titled(text: str, unit: str) -> str:
    return f"{text} ({unit})" if unit else text


def _framed(figure: "go.Figure") -> "go.Figure":
    figure.update_layout(
        height=360,
        margin={"t": 40, "l": 10, "r": 10, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    return figure
