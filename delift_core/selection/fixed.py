"""Selecting around rows that a curator has fixed: the kept are in whatever they add, the dropped are out.

With K kept, the rest A is chosen to maximise f(K + A) - f(K): the conditional gain of Facility Location, which is again
Facility Location, on the kernel max(s_ij - max_{k in K} s_ik, 0). So the optimiser, its guarantee and its certificate
stay as they are; they speak of the rows that were free to choose.
"""

from dataclasses import replace

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.coverage import as_positions, covered, gains_along, residual_gains
from delift_core.selection.engine import select_from_kernel
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel, above
from delift_core.selection.types import (
    Budget,
    Certificate,
    Fixed,
    GreedyOrder,
    ObjectiveConfig,
    RandomBaseline,
    Selection,
)


def select_around(
    config: ObjectiveConfig,
    budget: Budget,
    kernel: Kernel,
    fixed: Fixed,
    *,
    token_counts: np.ndarray | None = None,
    seed: int = 0,
) -> Selection:
    """Selects within a budget that the kept rows count against.

    The order of the result begins with the kept rows (greedily among themselves) and ends with the dropped ones, so
    that another budget can be cut from it as from any order.

    Args:
        config: what `kernel` was made with; kept in the result.
        budget: rows, percent or tokens, for kept and chosen rows together.
        kernel: (r, n), from `objectives.represented_kernel`.
        fixed: positions that are decided.
        token_counts: (n,) whole numbers, tokens per sample; needed by a token budget.
        seed: of the random baseline, which draws around the same kept rows.

    Raises:
        SelectionError: the fixed rows contradict each other, leave no choice, or do not fit the budget.
    """
    n = kernel.shape[1]
    kept, dropped = as_positions(fixed.kept, n), as_positions(fixed.dropped, n)
    if both := np.intersect1d(kept, dropped).tolist():
        raise SelectionError(f"Position {both[0]} is both kept and dropped: decide for one.")
    free = np.setdiff1d(np.arange(n), np.concatenate([kept, dropped]))
    kept = kept[greedy_order(kernel[:, kept]).order] if len(kept) else kept
    rest = _rest_of(budget, kept, len(free), n, token_counts)
    if rest is None:
        return _only_kept(config, budget, kernel, kept, free, dropped, fixed)
    base = covered(kernel, kept)
    residual = above(kernel, free, base)
    counts = token_counts[free] if token_counts is not None else None
    inner = select_from_kernel(config, rest, residual, greedy_order(residual), token_counts=counts, seed=seed)
    reached = float(base.sum())
    chosen = np.concatenate([kept, free[inner.chosen]])
    order = np.concatenate([kept, free[inner.greedy.order], dropped])
    return replace(
        inner,
        budget=budget,
        fixed=fixed,
        chosen=chosen,
        chosen_gains=gains_along(kernel, chosen),
        greedy=GreedyOrder(order, gains_along(kernel, order)),
        residual_gains=residual_gains(kernel, chosen),
        certificate=Certificate(reached + inner.certificate.value, reached + inner.certificate.upper_bound),
        random=RandomBaseline(tuple(reached + value for value in inner.random.values)),
    )


def _rest_of(budget: Budget, kept: np.ndarray, free: int, n: int, token_counts: np.ndarray | None) -> Budget | None:
    """What the kept rows leave of a budget for the free ones; None when they use it up, or nothing is free."""
    if budget.unit == "tokens":
        if token_counts is None:
            raise SelectionError("A token budget needs the token count of every sample: count tokens, or give rows.")
        used = int(token_counts[kept].sum())
        if used > budget.amount:
            raise SelectionError(
                f"The {len(kept)} kept rows have {used:,} tokens and the budget is {int(budget.amount):,}: "
                f"give at least {used:,} tokens, or keep fewer."
            )
        return Budget("tokens", budget.amount - used) if free and used < budget.amount else None
    rows = rows_of_budget(budget, n)
    if rows < len(kept):
        raise SelectionError(f"{len(kept)} rows are kept and the budget is {rows}: raise it, or keep fewer.")
    wanted = min(rows - len(kept), free)
    return Budget("rows", wanted) if wanted else None


def _only_kept(
    config: ObjectiveConfig,
    budget: Budget,
    kernel: Kernel,
    kept: np.ndarray,
    free: np.ndarray,
    dropped: np.ndarray,
    fixed: Fixed,
) -> Selection:
    """The selection when nothing is left to choose."""
    if not len(kept):
        raise SelectionError("Every row is dropped: keep some, or give some back to the optimiser.")
    order = np.concatenate([kept, free, dropped])
    reached = float(covered(kernel, kept).sum())
    return Selection(
        config=config,
        budget=budget,
        chosen=kept,
        chosen_gains=gains_along(kernel, kept),
        greedy=GreedyOrder(order, gains_along(kernel, order)),
        residual_gains=residual_gains(kernel, kept),
        certificate=Certificate(reached, reached),
        random=RandomBaseline((reached,)),
        fixed=fixed,
    )
