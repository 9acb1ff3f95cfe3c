"""How good a selection is: a certificate, which bounds the optimum from above, and random subsets for comparison.

For a monotone submodular f and any sets A and O, f(O) <= f(A) + sum_{o in O} (f(A + o) - f(A)) (Nemhauser, Wolsey and
Fisher 1978; an online bound in Leskovec et al. 2007). The largest such sum over all sets O that the budget allows
bounds the optimum, without knowing it. This module knows nothing of how a selection is found.
"""

from dataclasses import dataclass

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import fill_budget
from delift_core.selection.coverage import gains_along_each, value, values
from delift_core.selection.kernels import Kernel
from delift_core.selection.quotas import allowed_in_order, pick_limits
from delift_core.selection.types import NO_FIXED_ROWS, Certificate, FixedRows, Quotas, RandomBaseline


def bound_optimum(
    reached: float,
    residual: np.ndarray,
    k: int,
    token_counts: np.ndarray | None,
    token_budget: float | None,
    fixed: FixedRows,
    quotas: Quotas | None = None,
) -> Certificate:
    """Bounds the objective of every subset within the same budget and with the same fixed rows.

    Args:
        reached: objective of the k chosen samples.
        residual: (n,) gain of adding each sample of the pool to them.
        k: without a token budget, the bound is over all subsets of k samples.
        token_counts: (n,) tokens per sample; together with `token_budget`.
        token_budget: the bound is then over all subsets of at most so many tokens (fractional knapsack).
        fixed: kept rows are among the chosen and count against the budget; dropped rows are in no subset.
        quotas: the bound is then over the subsets of k samples that meet them; not with a token budget.

    Raises:
        SelectionError: only one of token_counts and token_budget is given, or no k samples meet the quotas.
    """
    if (token_counts is None) != (token_budget is None):
        raise SelectionError("A certificate for a token budget needs both the token counts and the token budget.")
    free = residual.copy()
    free[np.array(fixed.dropped, dtype=np.int64)] = 0.0
    if token_counts is not None and token_budget is not None:
        room = token_budget - token_counts[np.array(fixed.kept, dtype=np.int64)].sum()
        reachable = _fractional_knapsack(free, token_counts, room)
    elif quotas is not None:
        reachable = _most_within(free, k, fixed, quotas)
    else:
        reachable = _largest(free[free > 0], k - len(fixed.kept))
    return Certificate(value=reached, upper_bound=reached + reachable)


def _largest(gains: np.ndarray, count: int) -> float:
    """The sum of the `count` largest gains, or of all if there are fewer."""
    if count == 0:
        return 0.0
    largest = gains if len(gains) <= count else np.partition(gains, len(gains) - count)[len(gains) - count :]
    return float(largest.sum())


def _most_within(gains: np.ndarray, k: int, fixed: FixedRows, quotas: Quotas) -> float:
    """The largest total gain of k samples that meet the quotas, with the kept and without the dropped ones.

    Feasible sets are a matroid (see `quotas`), for which taking the largest first is exact (Edmonds 1971).
    """
    limits = pick_limits(quotas, k, fixed)
    kept = allowed_in_order(np.array(fixed.kept, dtype=np.int64), limits)
    free = np.setdiff1d(np.arange(len(gains)), np.array([*fixed.kept, *fixed.dropped], dtype=np.int64))
    picks = allowed_in_order(free[np.argsort(-gains[free], kind="stable")], limits)
    return float(gains[np.concatenate([kept, picks])].sum())


def _fractional_knapsack(gains: np.ndarray, token_counts: np.ndarray, token_budget: float) -> float:
    """The largest total gain within the budget if samples could be divided (Dantzig 1957), an upper bound for whole
    samples. Samples longer than the budget fit into no subset and do not count."""
    fits = token_counts <= token_budget
    gains, counts = gains[fits], token_counts[fits].astype(np.float64)
    best_first = np.argsort(-gains / counts, kind="stable")
    gains, counts = gains[best_first], counts[best_first]
    room_before = token_budget - (np.cumsum(counts) - counts)
    return float((np.clip(room_before / counts, 0, 1) * gains).sum())


DRAWS = 20


@dataclass(frozen=True, slots=True)
class RandomCurves:
    """Random subsets of every size: each draw is an order, and its first k rows are a random subset of size k."""

    objective: np.ndarray  # (draws, n + 1) float64, of the first 0 to n rows of each draw
    ranks: np.ndarray  # (draws, n) int32, the index of each row in each draw

    def at(self, k: int) -> RandomBaseline:
        """The objectives of subsets of k rows, 0 to n."""
        return RandomBaseline(values=tuple(self.objective[:, k].tolist()))

    def around(self, kernel: Kernel, k: int, fixed: FixedRows) -> RandomBaseline:
        """The objectives of subsets of k rows: the kept rows, then the first of each draw that are not dropped.

        The curves give the objective of a prefix of each draw; only the kernel rows that fixed rows help are evaluated
        again.

        Args:
            kernel: (r, n), of these curves.
        """
        if not (fixed.kept or fixed.dropped):
            return self.at(k)
        decided = np.array([*fixed.kept, *fixed.dropped], dtype=np.int64)
        rows, part = _helped(kernel, decided)
        values = []
        for objective, ranks in zip(self.objective, self.ranks, strict=True):
            length = _prefix_length(np.sort(ranks[decided]), k - len(fixed.kept))
            before = ranks < length
            after = before.copy()
            after[list(fixed.kept)], after[list(fixed.dropped)] = True, False
            change = value(part, np.flatnonzero(after)) - value(part, np.flatnonzero(before)) if len(rows) else 0.0
            values.append(float(objective[length]) + change)
        return RandomBaseline(values=tuple(values))

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sample standard deviation over the draws for sizes (s,): (s,) float64 each."""
        drawn = self.objective[:, sizes]
        mean: np.ndarray = drawn.mean(axis=0)
        return mean, drawn.std(axis=0, ddof=1) if len(drawn) > 1 else np.zeros(len(mean))


def _helped(kernel: Kernel, columns: np.ndarray) -> tuple[np.ndarray, Kernel]:
    """The rows in which any of the columns is nonzero, ascending, and those rows of the kernel."""
    if isinstance(kernel, np.ndarray):
        rows = np.flatnonzero(kernel[:, columns].any(axis=1))
    else:
        wanted = np.zeros(kernel.shape[1], dtype=bool)
        wanted[columns] = True
        at = np.flatnonzero(wanted[kernel.indices] & (kernel.data > 0))
        rows = np.unique(np.searchsorted(kernel.indptr, at, side="right") - 1)
    return rows, kernel[rows]


def _prefix_length(skipped: np.ndarray, wanted: int) -> int:
    """The length of the prefix that has `wanted` indices besides the skipped ones (ascending)."""
    length = wanted
    for index in skipped.tolist():
        if index >= length:
            break
        length += 1
    return length


def random_curves(kernel: Kernel, *, seed: int = 0) -> RandomCurves:
    """Evaluates random orders of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        seed: equal seeds give equal orders.
    """
    n = kernel.shape[1]
    orders = np.stack(_draws(n, DRAWS, seed, NO_FIXED_ROWS))
    gains = gains_along_each(kernel, orders)
    ranks = np.empty((DRAWS, n), dtype=np.int32)
    np.put_along_axis(ranks, orders, np.arange(n, dtype=np.int32)[None, :], axis=1)
    return RandomCurves(np.concatenate([np.zeros((DRAWS, 1)), np.cumsum(gains, axis=1)], axis=1), ranks)


def random_baseline(
    kernel: Kernel,
    k: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    token_counts: np.ndarray | None = None,
    token_budget: float | None = None,
    fixed: FixedRows = NO_FIXED_ROWS,
    quotas: Quotas | None = None,
) -> RandomBaseline:
    """Evaluates random subsets of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        k: subset size, 1 to n; not read with a token budget.
        draws: number of independent subsets, >= 1.
        seed: equal seeds give equal values.
        token_counts: (n,) tokens per sample; together with `token_budget`.
        token_budget: each draw takes samples in random order, without those that no longer fit.
        fixed: every subset includes the kept rows and none of the dropped ones.
        quotas: each draw takes samples in random order, without those that are not allowed.

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
            subset = fill_budget(order, token_counts, token_budget - token_counts[kept].sum())
        else:
            assert quotas is not None
            limits = pick_limits(quotas, k, fixed)
            allowed_in_order(kept, limits)
            subset = allowed_in_order(order, limits)
        subsets.append(np.concatenate([kept, subset]))
    return RandomBaseline(values=tuple(values(kernel, subsets).tolist()))


def _draws(n: int, draws: int, seed: int, fixed: FixedRows) -> list[np.ndarray]:
    """Random orders of the rows that are not fixed. Fixing other rows only removes them from the same orders."""
    free = np.ones(n, dtype=bool)
    free[np.array([*fixed.kept, *fixed.dropped], dtype=np.int64)] = False
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(n) for _ in range(draws)]
    return [order[free[order]] for order in orders]
