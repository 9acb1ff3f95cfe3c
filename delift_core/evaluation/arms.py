"""The arms of an evaluation: the rows that each run trains on, the rows that all are measured on, and their statistics.

Intervals are percentile bootstrap intervals (Efron 1979) of the loss per token, a ratio of two sums over rows. All arms
are measured on the same rows, so that differences are paired: both sides are resampled with the same rows. The runs of
an arm (other random subsets, other orders of rows) are resampled too, because the spread between a few runs would
otherwise be taken for a difference. The interval of an arm with a single run is of the rows only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.evaluation.evaluation_request import SUBSET, UNTOUCHED, EvaluationRequest
from delift_core.selection.budget import fill_budget

OrderOf = Callable[[str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run: positions of its rows in the pool, and the seed that shuffles them."""

    rows: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm with its runs; the untouched model has one run without rows."""

    name: str
    runs: tuple[Run, ...]


def plan_arms(
    request: EvaluationRequest, subset: tuple[int, ...], tokens: Mapping[int, int], order_of: OrderOf
) -> tuple[Arm, ...]:
    """Plans the untouched model, the subset, and the requested arms, over the rows that can be trained on.

    Args:
        subset: positions of the subset that can be trained on, at least one.
        tokens: number of response tokens of every position that can be trained on.
        order_of: returns the pool positions in a method's order, (n,) int64.
    """
    positions, k = np.array(sorted(tokens)), len(subset)
    counts = np.array([tokens[position] for position in positions.tolist()])
    limit = sum(tokens[position] for position in subset)
    seeds = range(request.first_seed, request.first_seed + request.seeds)
    method_seeds = range(request.first_seed, request.first_seed + request.method_runs)
    others = {other.name: other.positions for other in request.others}

    def random_rows(seed: int) -> tuple[int, ...]:
        return tuple(np.random.default_rng((seed, k)).choice(positions, size=k, replace=False).tolist())

    def random_rows_by_tokens(seed: int) -> tuple[int, ...]:
        order = np.random.default_rng((seed, k, limit)).permutation(len(positions))
        return tuple(positions[fill_budget(order, counts, float(limit))].tolist())

    def arm(name: str) -> Arm:
        if name == "random":
            return Arm(name, tuple(Run(random_rows(seed), seed) for seed in seeds))
        if name == "random-tokens":
            return Arm(name, tuple(Run(random_rows_by_tokens(seed), seed) for seed in seeds))
        if name == "full":
            return Arm(name, (Run(tuple(positions.tolist()), request.first_seed),))
        order = others[name] if name in others else tuple(order_of(name).tolist())
        rows = tuple(position for position in order if position in tokens)[:k]
        return Arm(name, tuple(Run(rows, seed) for seed in method_seeds))

    names = dict.fromkeys((*request.against, *others))
    return (
        Arm(UNTOUCHED, (Run((), request.first_seed),)),
        Arm(SUBSET, tuple(Run(subset, seed) for seed in seeds)),
        *(arm(name) for name in names),
    )


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
