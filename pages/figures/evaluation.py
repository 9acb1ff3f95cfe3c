"""The loss of an evaluation's arms against the subset, with intervals."""

from typing import TYPE_CHECKING

from delift_core.evaluation.report import ArmResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go

    from delift_core.evaluation.arms import Estimate


def gap_chart(arms: "Sequence[ArmResult]", titles: "Mapping[str, str]") -> "go.Figure":
    """A line for each arm, the best on top: its loss minus the subset's, paired by row, with the 95 % interval.

    Right of 0 the subset is better; an interval across 0 means that no difference was found.

    Args:
        titles: name of each arm, escaped by the page.
    """
    import plotly.graph_objects as go

    ordered = _compared(arms)[::-1]
    figure = go.Figure(
        go.Scatter(
            x=[-gap.value for _, gap in ordered],
            y=[titles[arm.name] for arm, _ in ordered],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [gap.value - gap.low for _, gap in ordered],
                "arrayminus": [gap.high - gap.value for _, gap in ordered],
            },
            mode="markers",
            marker={"size": 11},
            customdata=[f"loss {arm.loss.value:.4f}; the subset has: {arm.verdict}" for arm, _ in ordered],
            hovertemplate="%{y}: %{x:+.4f} nats per token<br>%{customdata}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line_dash="dash", line_width=1, line_color="#808A92")  # visible on light and dark pages
    figure.update_layout(
        xaxis_title="loss minus the subset's",
        height=110 + 34 * len(ordered),
        margin={"l": 10, "r": 10, "t": 10, "b": 50},
        showlegend=False,
    )
    figure.update_yaxes(automargin=True)
    return figure


def alt_gap_chart(arms: "Sequence[ArmResult]", titles: "Mapping[str, str]") -> str:
    """Describes the figure in one sentence."""
    parts = [f"{titles[arm.name]} {-gap.value:+.4f}" for arm, gap in _compared(arms)]
    return f"Loss of each arm minus the subset's, in nats per token, least first: {', '.join(parts)}"


def _compared(arms: "Sequence[ArmResult]") -> "list[tuple[ArmResult, Estimate]]":
    found = [(arm, arm.gap) for arm in arms if arm.gap is not None]
    return sorted(found, key=lambda pair: -pair[1].value)
