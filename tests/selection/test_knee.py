"""Where the gain curve bends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.selection.coverage import knee


def test_the_knee_is_where_the_curve_bends() -> None:
    assert knee(np.r_[np.full(10, 1.0), np.full(90, 0.01)]) == 10
    assert knee(np.ones(7)) == 0
    assert knee(np.zeros(4)) == 0
    assert knee(np.array([])) == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_no_point_lies_further_above_the_chord_than_the_knee(values: list[float]) -> None:
    gains = np.sort(np.array(values))[::-1]
    total = float(gains.sum())
    bend = knee(gains)
    assert 0 <= bend <= len(values)
    if total > 0:
        heights = [gains[:i].sum() / total - i / len(values) for i in range(len(values) + 1)]
        assert heights[bend] == pytest.approx(max(heights), abs=1e-6)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_of_gains_that_never_rise_it_counts_those_above_the_mean(values: list[int]) -> None:
    gains = np.sort(np.array(values, dtype=np.float64))[::-1]
    above = int(np.count_nonzero(gains > gains.mean() * (1 + 1e-12)))
    heights = np.concatenate([[0.0], np.cumsum(gains - gains.mean())])
    assert heights[knee(gains)] == pytest.approx(heights[above], abs=1e-6 * max(1.0, gains.sum()))
