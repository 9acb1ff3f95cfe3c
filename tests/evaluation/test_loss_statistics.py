"""Means, bootstrap intervals and verdicts against known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.evaluation.statistics import (
    NO_DIFFERENCE,
    TOO_FEW_ROWS,
    Estimate,
    difference,
    loss_estimate,
    mean_loss,
    verdict,
)


def test_the_mean_weighs_rows_by_their_tokens_and_runs_alike() -> None:
    losses = np.array([[2.0, 9.0], [4.0, 3.0]])
    assert mean_loss(losses, np.array([1, 5])) == pytest.approx((11 / 6 + 7 / 6) / 2)


def test_the_interval_of_a_mean_is_the_normal_one_when_there_are_many_rows() -> None:
    """With one token a row, the standard error of the mean is known: s / sqrt(n)."""
    losses = np.random.default_rng(0).exponential(2.0, size=(1, 400))
    estimate = loss_estimate(losses, np.ones(400), seed=0)
    error = losses.std() / np.sqrt(400)
    assert estimate.value == pytest.approx(losses.mean())
    assert estimate.low == pytest.approx(losses.mean() - 1.96 * error, abs=0.15 * error)
    assert estimate.high == pytest.approx(losses.mean() + 1.96 * error, abs=0.15 * error)


def test_runs_that_differ_widen_the_interval() -> None:
    """Rows without spread: two runs at 1 and 2 average to 1, 1.5 or 2 when drawn again."""
    losses = np.array([np.full(50, 1.0), np.full(50, 2.0)])
    assert loss_estimate(losses, np.ones(50), seed=0) == Estimate(1.5, 1.0, 2.0)


def test_the_difference_is_paired_by_row() -> None:
    """Rows that differ a lot among themselves and by a constant between arms: the constant is certain."""
    tokens = np.random.default_rng(1).integers(1, 30, size=60)
    arm = np.random.default_rng(2).exponential(5.0, size=60) * tokens
    gap = difference((arm - 0.25 * tokens)[None], arm[None], tokens, seed=0)
    assert [gap.value, gap.low, gap.high] == pytest.approx([-0.25] * 3)
    assert verdict(gap, 60) == "lower loss by 0.2500"
    assert verdict(difference(arm[None], (arm - 0.25 * tokens)[None], tokens, seed=0), 60) == "higher loss by 0.2500"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_an_arm_does_not_differ_from_itself(seed: int) -> None:
    losses = np.random.default_rng(seed).exponential(size=(1, 20))
    gap = difference(losses, losses, np.full(20, 3), seed=seed)
    assert gap == Estimate(0.0, 0.0, 0.0)
    assert verdict(gap, 20) == NO_DIFFERENCE


def test_arms_of_equal_distribution_are_seldom_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval leaves out the truth in about one of twenty cases, not in a third of them."""
    monkeypatch.setattr("delift_core.evaluation.statistics.RESAMPLES", 200)
    generator = np.random.default_rng(5)
    found = 0
    for case in range(60):
        arms = generator.normal(3.0, 1.0, size=(2, 40))
        found += verdict(difference(arms[:1], arms[1:], np.ones(40), seed=case), 40) != NO_DIFFERENCE
    assert 0 < found <= 8


def test_equal_seeds_give_equal_intervals() -> None:
    losses = np.random.default_rng(0).exponential(size=(3, 30))
    tokens = np.full(30, 2)
    assert loss_estimate(losses, tokens, seed=1) == loss_estimate(losses, tokens, seed=1)
    assert loss_estimate(losses, tokens, seed=1) != loss_estimate(losses, tokens, seed=2)


def test_an_interval_that_touches_zero_gives_no_direction_and_few_rows_none_at_all() -> None:
    assert verdict(Estimate(-0.1, -0.2, 0.0), 100) == NO_DIFFERENCE
    assert verdict(Estimate(-0.1, -0.2, -0.01), 100) == "lower loss by 0.1000"
    assert verdict(Estimate(0.1, 0.01, 0.2), 100) == "higher loss by 0.1000"
    assert verdict(Estimate(-1e-6, -2e-6, -1e-7), 100) == NO_DIFFERENCE
    assert verdict(Estimate(-0.1, -0.2, -0.01), 7) == TOO_FEW_ROWS
