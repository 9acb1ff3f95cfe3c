"""The composition of subsets and their pool: a group of bars for each label."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DeliftError

if TYPE_CHECKING:
    import plotly.graph_objects as go

_GROUP_HEIGHT, _FRAME_HEIGHT = 22, 96
_LABEL_LENGTH = 28


def composition_bars(labels: Sequence[str], shares: Mapping[str, np.ndarray]) -> "go.Figure":
    """Draws the share of every label, with a bar for each set of rows.

    Args:
        labels: m labels, the first at the top.
        shares: name of a set of rows to its (m,) shares in [0, 1]; the first name is drawn topmost in each group.

    Raises:
        DeliftError: a set does not have one share per label.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    places = np.arange(len(labels))
    for name, part in shares.items():
        if part.shape != (len(labels),):
            raise DeliftError(f"{name} has shares of shape {part.shape} for {len(labels):,} labels; give one a label")
        figure.add_bar(
            y=places,
            x=part,
            name=name,
            orientation="h",
            customdata=[_literal(label) for label in labels],
            hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", title="share of rows")
    figure.update_yaxes(
        autorange="reversed", tickvals=places, ticktext=[_literal(_short(label)) for label in labels], automargin=True
    )
    figure.update_layout(
        barmode="group",
        bargap=0.3,
        height=_FRAME_HEIGHT + _GROUP_HEIGHT * max(4, len(labels) * (1 + len(shares)) // 2),
        margin={"t": 40, "l": 10, "r": 10, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    return figure


def alt_composition(name: str, labels: Sequence[str], shares: Mapping[str, np.ndarray]) -> str:
    """Says in one sentence which label is most frequent in each set.

    Args:
        name: of the facet.
        labels, shares: as for `composition_bars`.
    """
    parts = [f"{rows} {part.max():.0%} {labels[int(part.argmax())]}" for rows, part in shares.items() if part.size]
    return f"Bars of {name.lower()}, {len(labels):,} labels; most frequent: {', '.join(parts)}."


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…"


def _literal(label: str) -> str:
    """A label from data, escaped, since plotly interprets some HTML."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
