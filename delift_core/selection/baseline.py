"""What luck would have reached: the objective of random subsets within the same budget.

Knows nothing of how the selection it is compared with was found.
"""

from dataclasses import dataclass

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import fill
from delift_core.selection.coverage import gains_along_each, values
from delift_core.selection.kernels import Kernel
from delift_core.selection.quotas import admitted, places_within
from delift_core.selection.types import NOTHING_FIXED, Fixed, Quotas, RandomBaseline

DRAWS = 20


@dataclass(frozen=True, slots=True)
class RandomCurves:
    """Random subsets of every size at once: each draw is an order, its first k rows a random subset of k.

    Attributes:
        objective: (draws, m + 1) float64, that of the first 0 to m rows of each draw.
    """

    objective: np.ndarray

    def at(self, k: int) -> RandomBaseline:
        """Subsets of k rows, 0 to m."""
        return RandomBaseline(values=tuple(self.objective[:, k].tolist()))

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For subsets of some sizes (s,): mean and sample standard deviation over the draws, (s,) float64 each."""
        drawn = self.objective[:, sizes]
        mean: np.ndarray = drawn.mean(axis=0)
        return mean, drawn.std(axis=0, ddof=1) if len(drawn) > 1 else np.zeros(len(mean))


def random_curves(
    kernel: Kernel, *, draws: int = DRAWS, seed: int = 0, fixed: Fixed = NOTHING_FIXED, most: int | None = None
) -> RandomCurves:
    """Walks along random orders of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        draws: number of independent orders, >= 1.
        seed: of the generator; the same seed gives the same orders.
        fixed: rows decided by hand: every order begins with the kept ones, and has none of the dropped.
        most: rows after which the orders end; None: all that there are.
    """
    kept = np.array(fixed.kept, dtype=np.int64)
    orders = [np.concatenate([kept, order])[:most] for order in _draws(kernel.shape[1], draws, seed, fixed)]
    gains = gains_along_each(kernel, np.stack(orders))
    return RandomCurves(np.concatenate([np.zeros((draws, 1)), np.cumsum(gains, axis=1)], axis=1))


def random_baseline(
    kernel: Kernel,
    k: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    token_counts: np.ndarray | None = None,
    token_budget: float | None = None,
    fixed: Fixed = NOTHING_FIXED,
    quotas: Quotas | None = None,
) -> RandomBaseline:
    """Evaluates random subsets of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        k: subset size, 1 to n; not read when a token budget is given.
        draws: number of independent subsets, >= 1.
        seed: of the generator; the same seed gives the same values.
        token_counts: (n,) tokens per sample; together with `token_budget`.
        token_budget: each draw then takes samples in random order, passing over those that no longer fit.
        fixed: rows decided by hand: every subset has the kept ones, and counts them, and none of the dropped.
        quotas: each draw then takes samples in random order, passing over those that have no place.

    Raises:
        SelectionError: draws or k out of range, or only one of token_counts and token_budget given.
    """
    n = kernel.shape[1]
    if draws < 1 or (token_budget is None and not 1 <= k <= n):
        raise SelectionError(f"Cannot draw {draws} random subsets of {k} from {n} samples: use 1 to {n}, and 1 draw.")
    if (token_counts is None) != (token_budget is None):
        raise SelectionError("A random baseline within a token budget needs both the token counts and the budget.")
    if token_budget is None and quotas is None:
        return random_curves(kernel, draws=draws, seed=seed, fixed=fixed, most=k).at(k)
    kept = np.array(fixed.kept, dtype=np.int64)
    subsets = []
    for order in _draws(n, draws, seed, fixed):
        if token_counts is not None and token_budget is not None:
            subset = fill(order, token_counts, token_budget - token_counts[kept].sum())
        else:
            assert quotas is not None
            places = places_within(quotas, k, fixed)
            admitted(kept, places)
            subset = admitted(order, places)
        subsets.append(np.concatenate([kept, subset]))
    return RandomBaseline(values=tuple(values(kernel, subsets).tolist()))


def _draws(n: int, draws: int, seed: int, fixed: Fixed) -> list[np.ndarray]:
    """The rows that are free to choose in random orders, one a draw."""
    free = np.setdiff1d(np.arange(n), np.array([*fixed.kept, *fixed.dropped], dtype=np.int64))
    generator = np.random.default_rng(seed)
    return [free[generator.permutation(len(free))] for _ in range(draws)]
