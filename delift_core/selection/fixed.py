"""Selecting around rows that a curator has fixed: the kept are in whatever they add, the dropped are out.

With K kept, the rest A is chosen to maximise f(K + A) - f(K). That is greedy again, begun where the kept rows cover
what they cover: no second kernel is made, and guarantee and certificate speak of the rows that were free to choose.
"""

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.coverage import as_positions
from delift_core.selection.engine import select_from_kernel
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.types import Budget, Fixed, GreedyOrder, ObjectiveConfig, Selection


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
    greedy = order_around(kernel, fixed)
    return select_from_kernel(config, budget, kernel, greedy, token_counts=token_counts, seed=seed, fixed=fixed)


def order_around(kernel: Kernel, fixed: Fixed) -> GreedyOrder:
    """The greedy order that begins with the kept rows, greedily among themselves, and ends with the dropped ones: any
    budget can be cut from it.

    Raises:
        SelectionError: the fixed rows contradict each other, or all are dropped.
    """
    n = kernel.shape[1]
    kept, dropped = as_positions(fixed.kept, n), as_positions(fixed.dropped, n)
    if both := np.intersect1d(kept, dropped).tolist():
        raise SelectionError(f"Position {both[0]} is both kept and dropped: decide for one.")
    if len(dropped) == n:
        raise SelectionError("Every row is dropped: keep some, or give some back to the optimiser.")
    free = np.setdiff1d(np.arange(n), np.concatenate([kept, dropped]))
    return greedy_order(kernel, phases=(kept, free, dropped))
