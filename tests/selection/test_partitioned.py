"""Two rounds over parts against greedy on the whole, all subsets, and the guarantees."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import gains_along, value
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.partitioned import ReadColumns, choose_in_parts


def random_kernel(seed: int, n: int) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=(n, n)), 0).astype(np.float32)


def columns_of(kernel: np.ndarray) -> ReadColumns:
    return partial(np.take, kernel, axis=1)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 9), data=st.data())
def test_guarantee_and_certificate(seed: int, n: int, data: st.DataObject) -> None:
    kernel = random_kernel(seed, n)
    parts, k = data.draw(st.integers(1, n)), data.draw(st.integers(1, n))
    picks = data.draw(st.integers(-(-k // parts), k).filter(lambda q: (n // parts) >= q or q == k))
    choice = choose_in_parts(columns_of(kernel), n, k, parts=parts, per_part=picks, seed=seed)
    assert len(set(choice.chosen.tolist())) == k
    np.testing.assert_allclose(choice.gains, gains_along(kernel, choice.chosen), atol=1e-9)
    best = max(value(kernel, np.array(subset)) for subset in combinations(range(n), k))
    reached = value(kernel, choice.chosen)
    assert choice.certificate.value == pytest.approx(reached)
    assert choice.certificate.upper_bound >= best - 1e-9
    assert reached >= (1 - np.exp(-picks / k)) / parts * best - 1e-9


def test_one_part_is_plain_greedy() -> None:
    kernel = random_kernel(1, 30)
    choice = choose_in_parts(columns_of(kernel), 30, 9, parts=1)
    np.testing.assert_array_equal(choice.chosen, greedy_order(kernel).order[:9])


def test_no_more_is_read_than_a_part_or_what_was_picked() -> None:
    kernel, seen = csr_array(random_kernel(2, 200)), []

    def read(positions: np.ndarray) -> Kernel:
        seen.append(len(positions))
        return kernel[:, positions]

    choice = choose_in_parts(read, 200, 20, parts=5, per_part=10)
    assert max(seen) == 50
    whole = greedy_order(kernel).gains[:20].sum()
    assert choice.gains.sum() >= 0.95 * whole
    assert choice.certificate.ratio > 0.6


def test_on_average_half_the_share_of_greedy_is_reached_and_far_more() -> None:
    kernel = random_kernel(3, 10)
    best = max(value(kernel, np.array(subset)) for subset in combinations(range(10), 3))
    reached = [choose_in_parts(columns_of(kernel), 10, 3, parts=3, seed=seed).gains.sum() for seed in range(30)]
    assert np.mean(reached) >= (1 - 1 / np.e) / 2 * best
    assert np.mean(reached) >= 0.9 * best


@pytest.mark.parametrize(("k", "parts", "picks"), [(0, 1, None), (6, 1, None), (2, 0, None), (2, 6, None), (2, 2, 3)])
def test_numbers_that_make_no_sense_are_refused(k: int, parts: int, picks: int | None) -> None:
    with pytest.raises(SelectionError, match="Cannot choose"):
        choose_in_parts(columns_of(random_kernel(0, 5)), 5, k, parts=parts, per_part=picks)


def test_too_few_picks_to_choose_from_are_refused() -> None:
    with pytest.raises(SelectionError, match="fewer than 4 samples: pick more in each"):
        choose_in_parts(columns_of(random_kernel(0, 6)), 6, 4, parts=3, per_part=1)
