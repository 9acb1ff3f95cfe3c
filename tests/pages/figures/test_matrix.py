"""The utility heat map: colours left to the theme, positions handed back, estimates marked, mouse events read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.errors import DeliftError
from pages.figures.matrix import (
    alt_heatmap,
    clip_value,
    picked_box,
    picked_cell,
    utility_heatmap,
)

# Events as a browser sent them (streamlit 1.67): a typed array of custom data arrives as a mapping.
CLICK = {
    "selection": {
        "points": [
            {
                "curve_number": 1,
                "point_number": 329,
                "point_index": 329,
                "x": 9,
                "y": 5,
                "customdata": {"0": 41, "1": 58},
                "text": "-0.035",
            }
        ],
        "point_indices": [329],
        "box": [],
        "lasso": [],
    }
}
BOX = {
    "selection": {
        "points": [],
        "point_indices": [],
        "box": [{"xref": "x", "yref": "y", "x": [6.334951456310679, 19.59061488673139], "y": [11.5, 4.2578947368]}],
        "lasso": [],
    }
}
EMPTY: dict[str, Any] = {"selection": {"points": [], "point_indices": [], "box": [], "lasso": []}}


def square(n: int = 12, seed: int = 0) -> np.ndarray:
    utility = np.random.default_rng(seed).normal(0.02, 0.1, (n, n))
    np.fill_diagonal(utility, np.nan)
    return utility


def heatmap(utility: np.ndarray, **changes: Any) -> Any:
    rows, columns = utility.shape
    arguments: dict[str, Any] = {
        "row_labels": [f"r{i}" for i in range(rows)],
        "col_labels": [f"c{j}" for j in range(columns)],
        "row_positions": np.arange(rows) + 100,
        "col_positions": np.arange(columns) + 500,
        "mouse": "pick",
    }
    return utility_heatmap(utility, **(arguments | changes))


def test_colours_are_left_to_the_theme_and_centred_on_zero() -> None:
    utility = square()
    figure = heatmap(utility)
    drawn = figure.data[0]
    assert drawn.autocolorscale is True and drawn.colorscale is None
    assert (drawn.zmid, drawn.zmin, drawn.zmax) == (0, -clip_value(utility), clip_value(utility))
    assert figure.layout.paper_bgcolor is None and figure.layout.plot_bgcolor is None
    assert set(figure.data[1].marker.to_plotly_json()) == {"symbol", "size", "color"}
    assert figure.data[1].marker.color == "rgba(0,0,0,0)"
    assert figure.data[1].selected.marker.color is None and figure.data[1].unselected.marker.color is None


def test_every_cell_has_a_marker_that_carries_its_positions() -> None:
    utility = square(7)[:, :4]
    overlay = heatmap(utility).data[1]
    assert overlay.customdata.dtype == np.int32
    for x, y, (row, column), text in zip(overlay.x, overlay.y, overlay.customdata, overlay.text, strict=True):
        assert (row, column) == (y + 100, x + 500)
        assert text == ("not scored" if np.isnan(utility[y, x]) else f"{utility[y, x]:+.3f}")
    assert overlay.x.size == utility.size


def test_a_click_needs_a_drag_tool_that_does_not_select_and_a_box_sends_no_cells() -> None:
    picking, boxing = heatmap(square(), mouse="pick"), heatmap(square(), mouse="box")
    assert (picking.layout.dragmode, boxing.layout.dragmode) == ("pan", "select")
    assert picking.data[0].hoverinfo == "skip"
    assert boxing.data[0].hovertemplate is not None
    assert len(boxing.data[1].x) == 1 and boxing.data[1].customdata is None


def test_estimated_cells_have_a_cross_and_say_so() -> None:
    utility = square(4)
    estimated = np.zeros((4, 4), dtype=bool)
    estimated[0, 3] = estimated[2, 1] = True
    _, crosses, overlay = heatmap(utility, estimated=estimated).data
    assert list(zip(crosses.y, crosses.x, strict=True)) == [(0, 3), (2, 1)] and "x" in crosses.marker.symbol
    said = np.array(["estimated" in text for text in overlay.text]).reshape(4, 4)
    np.testing.assert_array_equal(said, estimated)
    assert crosses.hoverinfo == "skip" and len(heatmap(utility).data) == 2


def test_row_zero_stands_on_top_and_the_axes_say_who_helps_whom() -> None:
    layout = heatmap(square(5)).layout
    assert tuple(layout.yaxis.range) == (4.5, -0.5) and tuple(layout.xaxis.range) == (-0.5, 4.5)
    assert (layout.yaxis.title.text, layout.xaxis.title.text) == ("row being answered", "example shown")
    assert layout.margin.t == 30


def test_the_colour_bar_lies_below_and_says_the_clip_and_the_unit() -> None:
    utility = np.full((3, 3), 0.5)
    bar = heatmap(utility, unit="nats").data[0].colorbar
    assert bar.orientation == "h"
    assert bar.ticktext == ("≤ −0.5", "−0.25", "0", "+0.25", "≥ +0.5")
    assert "(nats)" in bar.title.text
    assert "(" not in heatmap(utility).data[0].colorbar.title.text


def test_labels_are_shown_literally_short_and_on_one_line() -> None:
    figure = heatmap(square(3), row_labels=["<b>&\nhi", "a" * 50, "1"])
    alias = figure.layout.yaxis.labelalias
    assert alias["0"] == "&lt;b&gt;&amp; hi"
    assert alias["1"].endswith("…") and len(alias["1"]) == 14
    assert alias["2"] == "1"
    assert len(figure.layout.xaxis.labelalias) == 3


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((257, 2), {}),
        ((2, 513), {"mouse": "box"}),
        ((3, 3), {"row_labels": ["only one"]}),
        ((3, 3), {"col_positions": [1, 2]}),
    ],
)
def test_what_cannot_be_drawn_is_refused(shape: tuple[int, int], changes: dict[str, Any]) -> None:
    with pytest.raises(DeliftError):
        heatmap(np.zeros(shape), **changes)


def test_the_clip_leaves_out_outliers_and_unscored_cells() -> None:
    values = np.full(1000, 0.1)
    values[:5] = -7.0
    values[5:500] = np.nan
    assert clip_value(values) == pytest.approx(0.1)
    assert clip_value(np.linspace(-1, 1, 101)) == pytest.approx(0.98)


def test_the_clip_is_positive_even_without_contrast() -> None:
    assert clip_value(np.full((2, 2), np.nan)) == 1.0
    assert clip_value(np.zeros((4, 4))) == 1.0
    assert clip_value(np.r_[np.zeros(200), -0.3]) == pytest.approx(0.3)


def test_a_recorded_click_names_the_positions_of_the_cell() -> None:
    assert picked_cell(CLICK) == (41, 58)
    assert picked_box(CLICK) is None


def test_positions_may_come_as_a_list_and_points_of_other_traces_are_passed_over() -> None:
    event = {"selection": {"points": [{"x": 1, "y": 2}, {"customdata": [3, 4]}]}}
    assert picked_cell(event) == (3, 4)


@pytest.mark.parametrize("customdata", [7, "34", {}, {"0": 3}, [3], None])
def test_custom_data_of_another_shape_is_no_cell(customdata: Any) -> None:
    assert picked_cell({"selection": {"points": [{"customdata": customdata}]}}) is None


def test_a_recorded_box_is_the_half_open_range_of_the_cell_centres_inside() -> None:
    assert picked_box(BOX) == (5, 12, 7, 20)
    assert picked_cell(BOX) is None


@given(st.lists(st.floats(-2, 12), min_size=4, max_size=4))
def test_a_box_holds_exactly_the_centres_within_its_bounds(bounds: list[float]) -> None:
    x0, x1, y0, y1 = bounds
    found = picked_box({"selection": {"box": [{"x": [x0, x1], "y": [y0, y1]}]}})
    cells = [
        (i, j)
        for i in range(20)
        for j in range(20)
        if min(y0, y1) <= i <= max(y0, y1) and min(x0, x1) <= j <= max(x0, x1)
    ]
    if found is None:
        assert not cells
    else:
        row_lo, row_hi, col_lo, col_hi = found
        assert cells == [(i, j) for i in range(row_lo, row_hi) for j in range(col_lo, col_hi)]


def test_of_two_boxes_the_last_one_counts() -> None:
    first, second = {"x": [0, 1], "y": [0, 1]}, {"x": [2.5, 5.5], "y": [0, 1]}
    assert picked_box({"selection": {"box": [first, second]}}) == (0, 2, 3, 6)


@pytest.mark.parametrize("event", [{}, {"selection": None}, {"selection": {}}, EMPTY])
def test_an_empty_event_picks_nothing(event: dict[str, Any]) -> None:
    assert picked_cell(event) is None and picked_box(event) is None


def test_the_alternative_text_states_the_finding() -> None:
    utility = np.array([[np.nan, 0.5], [-0.1, np.nan], [0.2, 0.2]])
    text = alt_heatmap(utility)
    assert "3 rows by 2 columns" in text and "75% of 4 scored pairs help" in text and "+0.500" in text
    assert "no pair scored" in alt_heatmap(np.full((2, 2), np.nan))
