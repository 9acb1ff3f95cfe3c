"""The map: one row per point whatever its status, looks that differ, and events as a browser sent them."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.errors import DeliftError
from delift_core.selection.coverage import Side
from pages.figures.coverage_map import (
    MapStatus,
    Theme,
    alt_map,
    labelled_map_spec,
    map_spec,
    mark_picked,
    picked_points,
)

EVERY: tuple[MapStatus, ...] = get_args(MapStatus)
STATUSES = EVERY[:6]  # those of the recorded map; "undecided" stands alone, before there is a selection
THEMES: tuple[Theme, ...] = get_args(Theme)

# The small map on which the events below were recorded (streamlit 1.67): 8 columns of 6 points on whole numbers.
POINTS = np.stack(np.divmod(np.arange(48), 6), axis=1).astype(np.float32)
POINT_STATUS: list[MapStatus] = [STATUSES[(i * 5) % 7 % 6] for i in range(48)]


def group(series: int, status: str, count: int, indices: list[int]) -> dict[str, Any]:
    name = f"{status.replace('-', ' ')} ({count})"
    ids = {"series_index": series, "series_id": status, "series_name": name}
    return ids | {"data_type": "main", "data_indices": indices}


def rectangle(x: list[float], y: list[float]) -> dict[str, Any]:
    return {"brush_index": 0, "brush_type": "rect", "coord_range": [x, y]}


TWO_AREAS = {
    "selection": {
        "selected": [
            group(0, "dropped", 7, [45]),
            group(1, "existing", 7, [15, 22]),
            group(2, "target", 7, [26]),
            group(3, "chosen", 14, [14, 21, 28, 46]),
            group(4, "dropped-by-hand", 7, [16, 44]),
            group(5, "kept-by-hand", 6, [20, 27]),
        ],
        "areas": [
            rectangle([1.1994254937163378, 4.422944344703771], [1.0841463414634145, 4.541463414634147]),
            rectangle([6.187396768402155, 7.103554757630162], [1.7756097560975608, 4.541463414634147]),
        ],
    }
}
# The same map after its dropped points were kept by hand (one series fewer) and the first area was moved.
AFTER_EDIT = {
    "selection": {
        "selected": [
            group(1, "target", 7, [12, 19]),
            group(2, "chosen", 14, [18, 25, 46]),
            group(3, "dropped-by-hand", 7, [30, 44]),
            group(4, "kept-by-hand", 13, [13, 24, 31, 45]),
        ],
        "areas": [
            rectangle([1.9662836624775586, 5.189802513464992], [-2.373170731707318, 1.0841463414634145]),
            rectangle([6.187396768402155, 7.103554757630162], [1.7756097560975608, 4.541463414634147]),
        ],
    }
}


def inside(event: dict[str, Any]) -> tuple[int, ...]:
    """Positions of the points that lie in the event's rectangles, by geometry alone."""
    found = set()
    for area in event["selection"]["areas"]:
        (x0, x1), (y0, y1) = area["coord_range"]
        found |= {i for i, (x, y) in enumerate(POINTS) if x0 <= x <= x1 and y0 <= y <= y1}
    return tuple(sorted(found))


@pytest.mark.parametrize("event", [TWO_AREAS, AFTER_EDIT])
def test_recorded_events_name_exactly_the_points_inside_the_areas(event: dict[str, Any]) -> None:
    assert picked_points(event, len(POINTS)) == inside(event)


@pytest.mark.parametrize("event", [{}, {"selection": None}, {"selection": {"selected": [], "areas": []}}])
def test_an_empty_event_picks_nothing(event: dict[str, Any]) -> None:
    assert picked_points(event, 10) == ()


def test_positions_of_an_earlier_larger_map_are_left_out_and_overlaps_count_once() -> None:
    event = {"selection": {"selected": [{"data_indices": [9, 3, 10]}, {"data_indices": [3, 1]}, {}]}}
    assert picked_points(event, 10) == (1, 3, 9)


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=30))
def test_row_p_of_the_table_is_point_p_and_appears_in_its_status_alone(status: list[MapStatus]) -> None:
    coords = np.random.default_rng(len(status)).normal(size=(len(status), 2)).astype(np.float32)
    spec = map_spec(coords, status, theme="light")
    table = spec["dataset"]["source"]
    np.testing.assert_array_equal(table["x"].to_numpy(), coords[:, 0])
    drawn = {series["id"]: series["encode"]["y"] for series in spec["series"]}
    assert set(drawn) == set(status)
    for name, column in drawn.items():
        heights = table[column].to_numpy()
        mine = np.array([s == name for s in status])
        np.testing.assert_array_equal(heights[mine], coords[mine, 1])
        assert np.isnan(heights[~mine]).all()


def test_an_edit_changes_neither_the_rows_nor_their_order() -> None:
    before = map_spec(POINTS, POINT_STATUS, theme="light")["dataset"]["source"]
    edited: list[MapStatus] = ["kept-by-hand" if s == "dropped" else s for s in POINT_STATUS]
    after = map_spec(POINTS, edited, theme="light")["dataset"]["source"]
    np.testing.assert_array_equal(before["x"].to_numpy(), after["x"].to_numpy())
    assert before["label"].tolist() == after["label"].tolist()


@pytest.mark.parametrize("theme", THEMES)
def test_statuses_differ_by_colour_and_by_symbol(theme: Theme) -> None:
    series = map_spec(POINTS, POINT_STATUS, theme=theme)["series"]
    styles = [s["itemStyle"] for s in series]
    colours = {style.get("borderColor", style["color"]) for style in styles}
    shapes = {(s["symbol"], "borderColor" in s["itemStyle"]) for s in series}
    assert len(colours) == len(shapes) == len(STATUSES)


def test_themes_have_colours_of_their_own_and_dropped_points_are_muted_but_there() -> None:
    light, dark = ({s["id"]: s["itemStyle"] for s in map_spec(POINTS, POINT_STATUS, theme=t)["series"]} for t in THEMES)
    assert all(light[name] != dark[name] for name in STATUSES)
    assert 0.3 < light["dropped"]["opacity"] < min(light[n]["opacity"] for n in STATUSES if n != "dropped")


def test_dropped_points_lie_at_the_bottom_and_edits_on_top() -> None:
    ids = [s["id"] for s in map_spec(POINTS, POINT_STATUS, theme="light")["series"]]
    assert ids[0] == "dropped" and set(ids[-2:]) == {"kept-by-hand", "dropped-by-hand"}
    assert ids.index("chosen") > ids.index("dropped")


def test_the_legend_says_word_and_count() -> None:
    spec = map_spec(np.zeros((3, 2)), ["chosen", "kept-by-hand", "chosen"], theme="dark")
    assert spec["legend"]["show"] is True
    assert spec["legend"]["data"] == ["chosen (2)", "kept by hand (1)"] == [s["name"] for s in spec["series"]]


def test_the_brush_sees_every_point() -> None:
    spec = map_spec(POINTS, POINT_STATUS, theme="light")
    assert all(s["progressive"] == 0 and "large" not in s for s in spec["series"])
    assert spec["toolbox"]["feature"]["brush"]["type"] == ["rect", "polygon", "keep", "clear"]
    assert spec["brush"]["xAxisIndex"] == spec["brush"]["yAxisIndex"] == "all"
    assert [zoom["type"] for zoom in spec["dataZoom"]] == ["inside", "inside"]


def test_all_points_lie_within_the_axes() -> None:
    spec = map_spec(POINTS, POINT_STATUS, theme="light")
    for axis, values in ((spec["xAxis"], POINTS[:, 0]), (spec["yAxis"], POINTS[:, 1])):
        assert axis["min"] < values.min() and values.max() < axis["max"]


def test_labels_travel_as_data_never_inside_a_template() -> None:
    spec = map_spec(np.zeros((1, 2)), ["chosen"], theme="light", labels=["<b>{@x}</b>"])
    assert spec["dataset"]["source"]["label"].tolist() == ["<b>{@x}</b>"]
    assert spec["series"][0]["tooltip"]["formatter"] == "{@label}<br>chosen"


def test_a_map_without_points_and_a_map_on_one_spot_are_drawn() -> None:
    empty = map_spec(np.zeros((0, 2)), [], theme="light")
    assert empty["series"] == [] and len(empty["dataset"]["source"]) == 0
    spot = map_spec(np.ones((2, 2)), ["chosen", "dropped"], theme="light")
    assert spot["xAxis"]["min"] < 1 < spot["xAxis"]["max"]


@pytest.mark.parametrize(
    ("coords", "status", "labels"),
    [
        (np.zeros((2, 3)), ["chosen", "chosen"], None),
        (np.zeros((2, 2)), ["chosen"], None),
        (np.zeros((1, 2)), ["chosen"], ["a", "b"]),
        (np.zeros((1, 2)), ["lost"], None),
    ],
)
def test_what_does_not_fit_together_is_refused(coords: np.ndarray, status: Any, labels: Any) -> None:
    with pytest.raises(DeliftError):
        map_spec(coords, status, theme="light", labels=labels)


def test_the_alternative_text_counts_each_status() -> None:
    text = alt_map(["chosen", "dropped", "dropped", "kept-by-hand"])
    assert "4 rows" in text and "1 chosen, 2 not chosen, 1 kept by hand" in text
    assert "without any rows" in alt_map([])


@pytest.mark.parametrize("theme", THEMES)
def test_two_subsets_on_one_map_are_told_apart_by_colour_and_symbol(theme: Theme) -> None:
    sides: list[Side] = ["both", "only-first", "only-second", "neither"]
    spec = map_spec(POINTS[:4], sides, theme=theme)
    styles = [(s["symbol"], s["itemStyle"].get("borderColor", s["itemStyle"]["color"])) for s in spec["series"]]
    assert len({symbol for symbol, _ in styles}) == 3 and len({colour for _, colour in styles}) == 4
    assert "1 only in A, 1 only in B" in alt_map(sides)


def test_points_can_be_coloured_by_labels_of_their_own() -> None:
    order = [f"label {place}" for place in range(12)]
    groups = [order[place % 12] for place in range(48)]
    spec = labelled_map_spec(POINTS, groups, order, theme="light")
    table = spec["dataset"]["source"]
    assert [s["name"] for s in spec["series"]] == [f"{label} (4)" for label in order]
    assert len({s["itemStyle"].get("borderColor", s["itemStyle"]["color"]) for s in spec["series"][:9]}) == 9
    for place, series in enumerate(spec["series"]):
        heights = table[series["encode"]["y"]].to_numpy()
        assert np.flatnonzero(np.isfinite(heights)).tolist() == [place, place + 12, place + 24, place + 36]
    with pytest.raises(DeliftError, match="'label 11' is not in the order"):
        labelled_map_spec(POINTS, groups, order[:11], theme="light")


def test_a_label_from_data_is_inert_in_the_hover_text() -> None:
    label = "<img src=x onerror=alert(1)>{@x}"
    (series,) = labelled_map_spec(POINTS[:1], [label], [label], theme="dark")["series"]
    shown = series["tooltip"]["formatter"].removeprefix("{@label}<br>")
    assert "<" not in shown and "{" not in shown


def test_lines_travel_as_numbers_and_are_called_lines() -> None:
    spec = map_spec(np.zeros((2, 2)), ["chosen", "target"], theme="light", labels=np.array([7, 3], dtype=np.int32))
    assert spec["dataset"]["source"]["label"].tolist() == [7, 3]
    assert spec["series"][-1]["tooltip"]["formatter"].startswith("row {@label}<br>")


@pytest.mark.parametrize("theme", THEMES)
def test_picked_points_have_rings_and_nothing_else_changes(theme: Theme) -> None:
    spec = map_spec(POINTS, POINT_STATUS, theme=theme)
    assert mark_picked(spec, POINTS, (), theme) == spec
    marked = mark_picked(spec, POINTS, (3, 40), theme)
    heights = marked["dataset"]["source"]["y_picked"].to_numpy()
    assert np.flatnonzero(np.isfinite(heights)).tolist() == [3, 40]
    np.testing.assert_array_equal(heights[[3, 40]], POINTS[[3, 40], 1])
    assert marked["series"][:-1] == spec["series"] and marked["series"][-1]["silent"]
    assert marked["legend"]["data"] == [*spec["legend"]["data"], "picked (2)"]
    assert not spec["brush"]["outOfBrush"]  # an area dims nothing: it is not what is picked
