"""How good a selection certainly is, computed after the fact and valid for any selection, however it was made.

For a monotone submodular f and any set A, every set O obeys f(O) <= f(A) + sum_{o in O} (f(A + o) - f(A)) (Nemhauser,
Wolsey and Fisher 1978; Leskovec et al. 2007 use it as an online bound). Bounding the sum over all O the budget allows
bounds the optimum without knowing it. This module knows nothing of how a selection is found.
"""

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.quotas import admitted, places_within
from delift_core.selection.types import Certificate, Fixed, Quotas


def bound(
    reached: float,
    residual: np.ndarray,
    k: int,
    token_counts: np.ndarray | None,
    token_budget: float | None,
    fixed: Fixed,
    quotas: Quotas | None = None,
) -> Certificate:
    """Bounds the best objective that any subset within the same budget, and with the same fixed rows, can reach.

    Args:
        reached: the objective of the k chosen samples.
        residual: (n,) what each sample of the pool would still add to them.
        k: without a token budget the bound is over all subsets of k samples.
        token_counts: (n,) tokens per sample; together with `token_budget`.
        token_budget: tokens allowed; the bound is then over all subsets within it (fractional knapsack).
        fixed: rows decided by hand; the kept ones are among the chosen, and count against the budget.
        quotas: the bound is then over the subsets of k samples that meet them; not together with a token budget.

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
    """The sum of so many of the largest, or of all where there are no more."""
    if count == 0:
        return 0.0
    largest = gains if len(gains) <= count else np.partition(gains, len(gains) - count)[len(gains) - count :]
    return float(largest.sum())


def _most_within(gains: np.ndarray, k: int, fixed: Fixed, quotas: Quotas) -> float:
    """The largest total gain of k samples that meet the quotas, the kept ones among them and the dropped ones not.

    Feasible sets are a matroid (see `quotas`), in which taking the largest first is exact (Edmonds 1971).
    """
    places = places_within(quotas, k, fixed)
    kept = admitted(np.array(fixed.kept, dtype=np.int64), places)
    free = np.setdiff1d(np.arange(len(gains)), np.array([*fixed.kept, *fixed.dropped], dtype=np.int64))
    picks = admitted(free[np.argsort(-gains[free], kind="stable")], places)
    return float(gains[np.concatenate([kept, picks])].sum())


def _fractional_knapsack(gains: np.ndarray, token_counts: np.ndarray, token_budget: float) -> float:
    """The largest total gain within the budget if samples could be cut (Dantzig 1957): never below the whole-sample
    optimum. Samples longer than the budget can be in no allowed subset and are left out."""
    fits = token_counts <= token_budget
    gains, counts = gains[fits], token_counts[fits].astype(np.float64)
    best_first = np.argsort(-gains / counts, kind="stable")
    gains, counts = gains[best_first], counts[best_first]
    room_before = token_budget - (np.cumsum(counts) - counts)
    return float((np.clip(room_before / counts, 0, 1) * gains).sum())
