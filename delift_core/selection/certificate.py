"""An upper bound on the optimum, computed from a finished selection and valid however it was made.

For a monotone submodular f and any sets A and O, f(O) <= f(A) + sum_{o in O} (f(A + o) - f(A)) (Nemhauser, Wolsey and
Fisher 1978; an online bound in Leskovec et al. 2007). The largest such sum over all sets O that the budget allows
bounds the optimum, without knowing it. This module knows nothing of how a selection is found.
"""

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.quotas import allowed_in_order, pick_limits
from delift_core.selection.types import Certificate, FixedRows, Quotas


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
