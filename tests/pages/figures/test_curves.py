"""The gain curve and the histogram: what is drawn where, with the theme's colours."""

from typing import Any

import numpy as np
import pytest

from delift_core.errors import DeliftError
from delift_core.selection.assessment import RandomCurves
from delift_core.selection.types import RandomBaseline
from pages.figures.curves import (
    alt_gain_curve,
    alt_histogram,
    alt_means,
    gain_curve,
    means_histogram,
    utility_histogram,
)

GAINS = np.array([8.0, 4.0, 1.0, 0.5, 0.5])


def luck(mean: float, std: float) -> RandomBaseline:
    """Two draws with this mean and sample standard deviation."""
    return RandomBaseline((mean - std / np.sqrt(2), mean + std / np.sqrt(2)))


def named_colours(node: Any, path: str = "") -> list[str]:
    """Paths of every colour that a figure's JSON sets."""
    if isinstance(node, dict):
        return [hit for key, value in node.items() for hit in named_colours(value, f"{path}.{key}")] + [
            f"{path}.{key}" for key, value in node.items() if "color" in key.lower() and isinstance(value, str)
        ]
    if isinstance(node, list | tuple):
        return [hit for index, value in enumerate(node) for hit in named_colours(value, f"{path}[{index}]")]
    return []


def without_template(figure: Any) -> dict[str, Any]:
    found: dict[str, Any] = figure.to_plotly_json()
    found["layout"].pop("template", None)
    return found


def test_the_curve_runs_from_nothing_to_everything() -> None:
    curve = gain_curve(GAINS, 2, luck(9.0, 1.0)).data[0]
    assert curve.x.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(curve.y, [0, 8, 12, 13, 13.5, 14])


def test_another_order_has_its_name_and_the_greedy_one_beside_it() -> None:
    other, greedy = gain_curve(np.array([1.0, 0, 8, 4, 1]), 2, luck(9.0, 1.0), by="RDS+", beside=GAINS).data[:2]
    assert (other.name, greedy.name) == ("RDS+", "DELIFT")
    np.testing.assert_allclose(other.y, [0, 1, 1, 9, 13, 14])
    np.testing.assert_allclose(greedy.y, [0, 8, 12, 13, 13.5, 14])
    assert "the RDS+ order reaches 12" in alt_gain_curve(GAINS, 2, luck(9.0, 1.0), by="RDS+")


def test_random_subsets_stand_at_the_budget_with_their_spread() -> None:
    marker = gain_curve(GAINS, 2, luck(9.0, 1.5)).data[1]
    assert list(marker.x) == [2] and marker.y[0] == pytest.approx(9) and marker.error_y.array[0] == pytest.approx(1.5)
    assert marker.mode == "markers" and marker.marker.size >= 8


def test_random_subsets_of_every_size_are_a_band() -> None:
    curves = RandomCurves(
        np.array([[0.0, 1, 2, 3, 4], [0.0, 3, 4, 5, 6]]), np.tile(np.arange(4, dtype=np.int32), (2, 1))
    )
    greedy, band, _ = gain_curve(GAINS, 2, curves.at(2), curves=curves).data
    assert band.fill == "toself" and list(band.x) == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]
    np.testing.assert_allclose(np.array(band.y)[[1, 8]], [2 + np.sqrt(2), 2 - np.sqrt(2)])
    assert max(greedy.x) == 5


def test_budget_and_knee_are_vertical_lines_dashed_and_dotted() -> None:
    budget, bend = gain_curve(GAINS, 3, luck(9.0, 1.5), bend=2, unit="nats").data[2:]
    assert list(budget.x) == [3, 3] and budget.line.dash == "dash" and "3 rows" in budget.name
    assert list(bend.x) == [2, 2] and bend.line.dash == "dot" and "knee" in bend.name


def test_a_curve_without_bend_shows_no_knee() -> None:
    assert len(gain_curve(np.ones(6), 3, luck(2, 0.1), bend=6).data) == 3


def test_a_long_curve_is_thinned_but_keeps_budget_and_end() -> None:
    gains = np.full(100_000, 0.5)
    curve = gain_curve(gains, 33_333, luck(1, 0)).data[0]
    assert curve.x.size < 3_000
    assert {0, 33_333, 100_000} <= set(curve.x.tolist())
    np.testing.assert_allclose(curve.y, curve.x * 0.5)


def test_axes_carry_titles_with_units() -> None:
    layout = gain_curve(GAINS, 2, luck(9.0, 1.0), unit="nats").layout
    assert layout.xaxis.title.text == "rows chosen" and layout.yaxis.title.text == "coverage (nats)"
    assert gain_curve(GAINS, 2, luck(9.0, 1.0)).layout.yaxis.title.text == "coverage"
    assert utility_histogram(GAINS, unit="nats").layout.xaxis.title.text == "utility of a pair (nats)"


def test_no_colour_is_named_anywhere() -> None:
    assert named_colours({"marker": {"color": "red"}}) == [".marker.color"]
    for figure in (gain_curve(GAINS, 2, luck(9.0, 1.0)), utility_histogram(GAINS - 2)):
        assert named_colours(without_template(figure)) == []


@pytest.mark.parametrize("k", [-1, 6])
def test_a_budget_beyond_the_order_is_refused(k: int) -> None:
    with pytest.raises(DeliftError, match="budget"):
        gain_curve(GAINS, k, luck(1.0, 0.0))
    with pytest.raises(DeliftError, match="budget"):
        alt_gain_curve(GAINS, k, luck(1.0, 0.0))


@pytest.mark.parametrize("k", [0, 5])
def test_budgets_at_both_ends_are_drawn(k: int) -> None:
    assert list(gain_curve(GAINS, k, luck(0.0, 0.0)).data[2].x) == [k, k]


def test_the_histogram_counts_every_scored_pair_once_and_keeps_signs_apart() -> None:
    utility = np.random.default_rng(0).normal(0.1, 1.0, (40, 40))
    np.fill_diagonal(utility, np.nan)
    utility[0, 1] = 0.0
    helps, harms = utility_histogram(utility).data
    scored = utility[~np.isnan(utility)]
    assert helps.y.sum() == np.count_nonzero(scored > 0) and harms.y.sum() == np.count_nonzero(scored <= 0)
    left, right = helps.x - helps.width / 2, helps.x + helps.width / 2
    assert not np.any((left < -1e-9) & (right > 1e-9)), "a bar lies across 0"
    assert helps.y[right < 1e-9].sum() == 0
    # The value 0 itself falls into the bin that begins at 0.
    assert harms.y[left > 1e-9].sum() == 0


@pytest.mark.parametrize("values", [[np.nan], [0.0, 0.0], [0.3], [-0.3], [-1e-9, 1e-9]])
def test_odd_spreads_still_make_a_histogram(values: list[float]) -> None:
    utility = np.array(values)
    counted = sum(int(trace.y.sum()) for trace in utility_histogram(utility).data)
    assert counted == np.count_nonzero(~np.isnan(utility))
    assert alt_histogram(utility).endswith(".")


def test_means_of_rows_and_columns_are_outlines_told_apart_by_their_dashes() -> None:
    helped, helps = np.array([0.1, 0.2, np.nan, -0.1]), np.array([0.0, 0.4])
    rows, columns = means_histogram(helped, helps).data
    assert (rows.line.dash, columns.line.dash) == ("solid", "dash")
    assert rows.y[::2].sum() == 3 and columns.y[::2].sum() == 2 and len(rows.x) == len(rows.y)
    assert named_colours(without_template(means_histogram(helped, helps))) == []
    assert "is helped by +0.100" in alt_means(helped, helps) and "helps by +0.200" in alt_means(helped, helps)
    assert "no pair scored" in alt_means(np.array([np.nan]), helps)


def test_the_alternative_texts_state_the_findings() -> None:
    text = alt_gain_curve(GAINS, 2, luck(9.0, 1.5))
    assert "reaches 12 with 2 rows" in text and "86% of what all 5 rows reach" in text and "9 plus or minus 1.5" in text
    assert "knee is at 2 rows" in alt_gain_curve(GAINS, 3, luck(9, 1), 2) and "knee" not in text
    assert "%" not in alt_gain_curve(np.zeros(3), 1, luck(0, 0))
    assert "75% of the pairs help" in alt_histogram(np.array([0.1, 0.2, 0.3, -0.1, np.nan]))
    assert "no pair scored" in alt_histogram(np.array([np.nan]))
