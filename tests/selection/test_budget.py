"""Reading, writing and meeting budgets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.errors import SelectionError
from delift_core.selection.budget import cut_at_budget, fill_budget, rows_of_budget, tokens_used
from delift_core.selection.coverage import gains_along, value
from delift_core.selection.greedy import greedy_order
from delift_core.selection.request import format_budget, parse_budget
from delift_core.selection.types import Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("30%", Budget("percent", 30)),
        ("12.5%", Budget("percent", 12.5)),
        (" 100 % ", Budget("percent", 100)),
        ("500", Budget("rows", 500)),
        ("200000tok", Budget("tokens", 200000)),
    ],
)
def test_parse(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "lots", "30 rows", "1e3", "%", "tok", "30%%", "0,5%", "nan", "٣%", "5\n6"])
def test_other_forms_are_refused_with_the_accepted_ones(text: str) -> None:
    with pytest.raises(SelectionError, match='"30%".*"500".*"200000tok"') as caught:
        parse_budget(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-3", "0%", "-1%", "100.1%", "0tok", "2.5", "1.5tok"])
def test_amounts_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SelectionError):
        parse_budget(text)


@given(
    st.one_of(
        st.builds(Budget, st.just("percent"), st.floats(1e-9, 100)),
        st.builds(Budget, st.sampled_from(["rows", "tokens"]), st.integers(1, 10**12).map(float)),
    )
)
def test_a_written_budget_reads_back(budget: Budget) -> None:
    assert parse_budget(format_budget(budget)) == budget


@pytest.mark.parametrize(
    ("budget", "n", "rows"),
    [
        (Budget("percent", 30), 999, 300),
        (Budget("percent", 30), 1, 1),
        (Budget("percent", 0.01), 50, 1),
        (Budget("percent", 50), 5, 3),
        (Budget("percent", 100), 7, 7),
        (Budget("rows", 7), 7, 7),
    ],
)
def test_rows_of_budget(budget: Budget, n: int, rows: int) -> None:
    assert rows_of_budget(budget, n) == rows


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget("rows", 8), "asks for 8 rows but the pool has 7: ask for at most 7"),
        (Budget("rows", 0), "above 0"),
        (Budget("percent", -5), "above 0"),
        (Budget("percent", 101), "at most 100"),
        (Budget("percent", float("nan")), "above 0"),
        (Budget("rows", 1.5), "whole number"),
        (Budget("tokens", 50), "no fixed number of rows"),
    ],
)
def test_budgets_that_cannot_be_met(budget: Budget, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        rows_of_budget(budget, 7)


def random_kernel(seed: int, rows: int, n: int) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=(rows, n)), 0).astype(np.float32)


def test_rows_and_percent_take_a_prefix() -> None:
    kernel = random_kernel(0, 10, 10)
    greedy = greedy_order(kernel)
    for budget, k in ((Budget("rows", 4), 4), (Budget("percent", 30), 3), (Budget("rows", 10), 10)):
        chosen, gains = cut_at_budget(kernel, greedy, budget)
        np.testing.assert_array_equal(chosen, greedy.order[:k])
        np.testing.assert_array_equal(gains, greedy.gains[:k])


# Sample 0 is worth most but long; 1 and 2 are worth almost as much each and short.
LONG_FIRST = np.array([[1.0, 0, 0], [0, 0.9, 0], [0, 0, 0.8]], dtype=np.float32)


@pytest.mark.parametrize(
    ("limit", "counts", "chosen"),
    [
        (10, [10, 5, 5], [1, 2]),  # by gain per token
        (14, [10, 5, 5], [1, 2]),
        (15, [10, 5, 5], [0, 1]),  # in plain order: 1.9, per token 1 + 2 = 1.7
        (20, [10, 5, 5], [0, 1, 2]),
        (4, [10, 5, 4], [2]),
        (6, [10, 6, 1], [1]),  # per token takes 2 alone (0.8); the best single that fits is 1
    ],
)
def test_tokens_by_hand(limit: int, counts: list[int], chosen: list[int]) -> None:
    got, gains = cut_at_budget(LONG_FIRST, greedy_order(LONG_FIRST), Budget("tokens", limit), np.array(counts))
    assert sorted(got.tolist()) == chosen
    np.testing.assert_allclose(gains, gains_along(LONG_FIRST, got))


def test_the_best_single_sample_that_fits_is_never_lost() -> None:
    # Sample 0 does not fit, but in the order it comes first and makes 1 look useless. Per token, 2 wins and leaves no
    # room for 1. Only starting from the best one that fits finds 0.9.
    kernel = np.array([[1.0, 0.9, 0.0], [0.0, 0.0, 0.5]], dtype=np.float32)
    chosen, gains = cut_at_budget(kernel, greedy_order(kernel), Budget("tokens", 6), np.array([100, 6, 1]))
    assert chosen.tolist() == [1]
    assert gains.tolist() == pytest.approx([0.9])


def test_gain_per_token_is_computed_again_after_each_pick() -> None:
    # Plain order takes 3 alone (1.0). Per token 0 comes first; 1 covers the same row, so 2 must follow: 1.4.
    kernel = np.array([[0.9, 0.8, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1.0]], dtype=np.float32)
    chosen, gains = cut_at_budget(kernel, greedy_order(kernel), Budget("tokens", 2), np.array([1, 1, 1, 2]))
    assert chosen.tolist() == [0, 2]
    assert gains.tolist() == pytest.approx([0.9, 0.5])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), data=st.data())
def test_token_choices_respect_the_budget_and_the_guarantee(seed: int, n: int, data: st.DataObject) -> None:
    kernel = random_kernel(seed, 6, n)
    counts = np.array(data.draw(st.lists(st.integers(1, 40), min_size=n, max_size=n)))
    limit = data.draw(st.integers(int(counts.min()), int(counts.sum())))
    greedy = greedy_order(kernel)
    chosen, gains = cut_at_budget(kernel, greedy, Budget("tokens", limit), counts)
    assert 0 < tokens_used(chosen, counts) <= limit
    assert len(set(chosen.tolist())) == len(chosen)
    left = np.setdiff1d(np.arange(n), chosen)
    assert all(counts[j] + counts[chosen].sum() > limit for j in left)
    assert gains.sum() == pytest.approx(value(kernel, chosen), abs=1e-9)
    allowed = [s for k in range(1, n + 1) for s in combinations(range(n), k) if counts[list(s)].sum() <= limit]
    best = max(value(kernel, np.array(subset)) for subset in allowed)
    assert value(kernel, chosen) >= (1 - 1 / np.e) / 2 * best - 1e-9
    assert value(kernel, chosen) >= value(kernel, fill_budget(greedy.order, counts, limit)) - 1e-9


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 50), k=st.integers(1, 9))
def test_equal_lengths_are_a_row_budget(seed: int, tokens: int, k: int) -> None:
    kernel = random_kernel(seed, 9, 9)
    greedy = greedy_order(kernel)
    by_tokens, _ = cut_at_budget(kernel, greedy, Budget("tokens", tokens * k), np.full(9, tokens))
    by_rows, _ = cut_at_budget(kernel, greedy, Budget("rows", k))
    assert value(kernel, by_tokens) == pytest.approx(value(kernel, by_rows), rel=1e-6, abs=1e-6)
    assert len(by_tokens) == k


@pytest.mark.parametrize(
    ("budget", "counts", "message"),
    [
        (Budget("tokens", 4), np.array([10, 5, 6]), "4 tokens is below the shortest sample, which has 5"),
        (Budget("tokens", 4), None, "needs the token count"),
        (Budget("tokens", 4), np.array([1, 1]), "3 whole numbers"),
        (Budget("tokens", 4), np.array([1.0, 1.0, 1.0]), "3 whole numbers"),
        (Budget("tokens", 4), np.array([1, 0, 1]), "Sample 1 has no tokens"),
        (Budget("rows", 4), None, "asks for 4 rows"),
    ],
)
def test_cuts_that_cannot_be_made(budget: Budget, counts: np.ndarray | None, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        cut_at_budget(LONG_FIRST, greedy_order(LONG_FIRST), budget, counts)


def test_an_order_of_another_pool_is_refused() -> None:
    with pytest.raises(SelectionError, match="order it again"):
        cut_at_budget(LONG_FIRST, greedy_order(np.eye(2)), Budget("rows", 1))
