"""Means, intervals and verdicts from losses on held-out rows.

Intervals are percentile bootstrap intervals (Efron 1979) of the loss per token, a ratio of two sums over rows. All arms
are measured on the same rows, so that differences are paired: both sides are resampled with the same rows. The runs of
an arm (other random subsets, other orders of rows) are resampled too, because the spread between a few runs would
otherwise be taken for a difference. The interval of an arm with a single run is of the rows only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
FEWEST_ROWS = 8  # a bootstrap of fewer rows underestimates the spread
SMALLEST = 5e-5  # nats per token; a smaller difference is reported as 0.0000
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
    """Mean loss per token in nats, of (s, n) summed losses of s runs on n rows and (n,) numbers of tokens."""
    return float(losses.sum() / (len(losses) * tokens.sum()))


def loss_estimate(losses: np.ndarray, tokens: np.ndarray, *, seed: int) -> Estimate:
    """Loss per token of one arm with its bootstrap interval; arguments as for `mean_loss`."""
    return _estimate(mean_loss(losses, tokens), _resampled([losses], tokens, seed)[:, 0])


def difference(subset: np.ndarray, arm: np.ndarray, tokens: np.ndarray, *, seed: int) -> Estimate:
    """Loss per token of the subset minus that of another arm, paired by row; below 0 if the subset is better.

    Args:
        subset: (s, n) summed losses in nats of s runs on n held-out rows.
        arm: (r, n) summed losses of the other arm on the same rows.
        tokens: (n,) response tokens of each row, > 0.
        seed: of the resampling.
    """
    resampled = _resampled([subset, arm], tokens, seed)
    return _estimate(mean_loss(subset, tokens) - mean_loss(arm, tokens), resampled[:, 0] - resampled[:, 1])


def verdict(gap: Estimate, rows: int) -> str:
    """The difference as text, from the subset's side; `NO_DIFFERENCE` if the interval includes 0 or it rounds to 0."""
    if rows < FEWEST_ROWS:
        return TOO_FEW_ROWS
    if gap.low <= 0 <= gap.high or abs(gap.value) < SMALLEST:
        return NO_DIFFERENCE
    return f"{'lower' if gap.value < 0 else 'higher'} loss by {abs(gap.value):.4f}"


def _resampled(arms: Sequence[np.ndarray], tokens: np.ndarray, seed: int) -> np.ndarray:
    """(RESAMPLES, arms) loss per token; all arms have the same resampled rows, each its own resampled runs."""
    generator = np.random.default_rng(seed)
    rows = len(tokens)
    values = np.empty((RESAMPLES, len(arms)))
    for resample in range(RESAMPLES):
        drawn = np.bincount(generator.integers(rows, size=rows), minlength=rows)  # (n,) weight of each row
        for column, losses in enumerate(arms):
            runs = losses[generator.integers(len(losses), size=len(losses))]  # (s, n)
            values[resample, column] = (runs @ drawn).mean() / (tokens @ drawn)
    return values


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.percentile(resampled, _LEVEL)
    return Estimate(value, float(low), float(high))
