"""Losses of the arms of an evaluation, with their intervals; figures from values, without colours of their own."""

from typing import TYPE_CHECKING

from delift_core.evaluation.report import ArmResult
from delift_core.evaluation.request import SUBSET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go


def loss_chart(arms: "Sequence[ArmResult]", titles: "Mapping[str, str]") -> "go.Figure":
    """One line an arm, the best on top: loss per token with its 95 % interval; the subset's mark is a diamond.

    Args:
        titles: what to call each arm; escaping is the page's.
    """
    import plotly.graph_objects as go

    ordered = sorted(arms, key=lambda arm: -arm.loss.value)
    figure = go.Figure(
        go.Scatter(
            x=[arm.loss.value for arm in ordered],
            y=[titles[arm.name] for arm in ordered],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [arm.loss.high - arm.loss.value for arm in ordered],
                "arrayminus": [arm.loss.value - arm.loss.low for arm in ordered],
            },
            mode="markers",
            marker={"size": 11, "symbol": ["diamond" if arm.name == SUBSET else "circle" for arm in ordered]},
            customdata=[arm.verdict or "the subset itself" for arm in ordered],
            hovertemplate="%{y}: %{x:.4f} nats per token<br>%{customdata}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis_title="held-out loss, nats per response token (less is better)",
        height=110 + 34 * len(ordered),
        margin={"l": 10, "r": 10, "t": 10, "b": 50},
        showlegend=False,
    )
    figure.update_yaxes(automargin=True)
    return figure


def alt_loss_chart(arms: "Sequence[ArmResult]", titles: "Mapping[str, str]") -> str:
    """The figure in words."""
    ordered = sorted(arms, key=lambda arm: arm.loss.value)
    parts = [f"{titles[arm.name]} {arm.loss.value:.4f}" for arm in ordered]
    return f"Held-out loss, least first: {', '.join(parts)}"
