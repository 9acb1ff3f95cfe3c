"""What luck would have reached: the objective of random subsets within the same budget.

Knows nothing of how the selection it is compared with was found.
"""

from dataclasses import dataclass

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import fill
from delift_core.selection.coverage import gains_along_each, value, values
from delift_core.selection.kernels import Kernel
from delift_core.selection.quotas import admitted, places_within
from delift_core.selection.types import NOTHING_FIXED, Fixed, Quotas, RandomBaseline

DRAWS = 20


@dataclass(frozen=True, slots=True)
class RandomCurves:
    """Random subsets of every size at once: each draw is an order, its first k rows a random subset of k.

    Attributes:
        objective: (draws, n + 1) float64, that of the first 0 to n rows of each draw.
        places: (draws, n) int32, where in its draw each row stands.
    """

    objective: np.ndarray
    places: np.ndarray

    def at(self, k: int) -> RandomBaseline:
        """Subsets of k rows, 0 to n."""
        return RandomBaseline(values=tuple(self.objective[:, k].tolist()))

    def around(self, kernel: Kernel, k: int, fixed: Fixed) -> RandomBaseline:
        """Subsets of k rows with the kept ones, and otherwise the first of each draw that are not dropped: only rows
        that the fixed ones help are looked at again.

        Args:
            kernel: (r, n), of which these are the curves.
        """
        if not (fixed.kept or fixed.dropped):
            return self.at(k)
        decided = np.array([*fixed.kept, *fixed.dropped], dtype=np.int64)
        rows, part = _helped(kernel, decided)
        values = []
        for objective, places in zip(self.objective, self.places, strict=True):
            length = _prefix(np.sort(places[decided]), k - len(fixed.kept))
            before = places < length
            now = before.copy()
            now[list(fixed.kept)], now[list(fixed.dropped)] = True, False
            change = value(part, np.flatnonzero(now)) - value(part, np.flatnonzero(before)) if len(rows) else 0.0
            values.append(float(objective[length]) + change)
        return RandomBaseline(values=tuple(values))

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For subsets of some sizes (s,): mean and sample standard deviation over the draws, (s,) float64 each."""
        drawn = self.objective[:, sizes]
        mean: np.ndarray = drawn.mean(axis=0)
        return mean, drawn.std(axis=0, ddof=1) if len(drawn) > 1 else np.zeros(len(mean))


def _helped(kernel: Kernel, columns: np.ndarray) -> tuple[np.ndarray, Kernel]:
    """The rows in which any of some columns has something, ascending, and that part of the kernel."""
    if isinstance(kernel, np.ndarray):
        rows = np.flatnonzero(kernel[:, columns].any(axis=1))
    else:
        wanted = np.zeros(kernel.shape[1], dtype=bool)
        wanted[columns] = True
        at = np.flatnonzero(wanted[kernel.indices] & (kernel.data > 0))
        rows = np.unique(np.searchsorted(kernel.indptr, at, side="right") - 1)
    return rows, kernel[rows]


def _prefix(passed_over: np.ndarray, wanted: int) -> int:
    """How long a prefix holds as many places as wanted without those (ascending) that are passed over."""
    length = wanted
    for place in passed_over.tolist():
        if place >= length:
            break
        length += 1
    return length


def random_curves(kernel: Kernel, *, seed: int = 0) -> RandomCurves:
    """Walks along random orders of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        seed: of the generator; the same seed gives the same orders.
    """
    n = kernel.shape[1]
    orders = np.stack(_draws(n, DRAWS, seed, NOTHING_FIXED))
    gains = gains_along_each(kernel, orders)
    places = np.empty((DRAWS, n), dtype=np.int32)
    np.put_along_axis(places, orders, np.arange(n, dtype=np.int32)[None, :], axis=1)
    return RandomCurves(np.concatenate([np.zeros((DRAWS, 1)), np.cumsum(gains, axis=1)], axis=1), places)


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
    kept = np.array(fixed.kept, dtype=np.int64)
    if token_budget is None and quotas is None:
        orders = [np.concatenate([kept, order])[:k] for order in _draws(n, draws, seed, fixed)]
        return RandomBaseline(tuple(np.cumsum(gains_along_each(kernel, np.stack(orders)), axis=1)[:, -1].tolist()))
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
    """The rows that are free to choose in random orders, one a draw: the same orders whatever is fixed, but for the
    fixed rows."""
    free = np.ones(n, dtype=bool)
    free[np.array([*fixed.kept, *fixed.dropped], dtype=np.int64)] = False
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(n) for _ in range(draws)]
    return [order[free[order]] for order in orders]
