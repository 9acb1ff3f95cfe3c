"""Means, intervals and verdicts from losses on held-out rows: pure arithmetic, no model, no files.

Intervals are percentile bootstrap intervals (Efron 1979) of the loss per token, the ratio of two sums over rows. All
arms are measured on the same rows, so a difference is resampled with the same rows on both sides (paired). An arm that
was trained several times (another random subset, another order of rows) has its runs resampled too: otherwise luck in
three draws would pass for a difference. An arm trained once has no such spread to show, and its interval is of the
rows only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
FEWEST_ROWS = 8  # with fewer rows a bootstrap sees too little of the spread to say anything
SMALLEST = 5e-5  # nats per token; below, a difference is rounding, however certain
_LEVEL = (2.5, 97.5)

NO_DIFFERENCE = "no difference found"
TOO_FEW_ROWS = f"fewer than {FEWEST_ROWS} held-out rows: too few to tell"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, in nats per token."""

    value: float
    low: float
    high: float


def mean_loss(losses: np.ndarray, tokens: np.ndarray) -> float:
    """Loss per token in nats: (s, n) sums of s runs over n rows, (n,) tokens > 0; the mean over the runs."""
    return float(losses.sum() / (len(losses) * tokens.sum()))


def loss_estimate(losses: np.ndarray, tokens: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Loss per token of one arm with its bootstrap interval; (s, n) losses of s runs over n rows, (n,) tokens."""
    return _estimate(mean_loss(losses, tokens), _resampled([losses], tokens, seed, resamples)[:, 0])


def difference(
    subset: np.ndarray, arm: np.ndarray, tokens: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """Loss per token of the subset minus that of another arm, paired by row; below 0 the subset is better.

    Args:
        subset: (s, n) summed losses in nats of s runs over n held-out rows.
        arm: (r, n) the same of the other arm, on the same rows.
        tokens: (n,) response tokens of each row, > 0.
        seed: of the resampling; equal seeds give equal intervals.
    """
    resampled = _resampled([subset, arm], tokens, seed, resamples)
    return _estimate(mean_loss(subset, tokens) - mean_loss(arm, tokens), resampled[:, 0] - resampled[:, 1])


def verdict(gap: Estimate, rows: int) -> str:
    """A difference in words, from the subset's side; no direction when its interval includes 0 or it shows as 0."""
    if rows < FEWEST_ROWS:
        return TOO_FEW_ROWS
    if gap.low <= 0 <= gap.high or abs(gap.value) < SMALLEST:
        return NO_DIFFERENCE
    return f"{'lower' if gap.value < 0 else 'higher'} loss by {abs(gap.value):.4f}"


def _resampled(arms: Sequence[np.ndarray], tokens: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """(resamples, arms) loss per token: the same rows drawn for all arms, the runs of each drawn on their own."""
    generator = np.random.default_rng(seed)
    rows = len(tokens)
    values = np.empty((resamples, len(arms)))
    for resample in range(resamples):
        drawn = np.bincount(generator.integers(rows, size=rows), minlength=rows)  # how often each row
        for column, losses in enumerate(arms):
            runs = losses[generator.integers(len(losses), size=len(losses))]
            values[resample, column] = (runs @ drawn).mean() / (tokens @ drawn)
    return values


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.percentile(resampled, _LEVEL)
    return Estimate(value, float(low), float(high))
