"""Selecting around rows that a curator has fixed: the kept are in whatever they add, the dropped are out.

With K kept, the rest A is chosen to maximise f(K + A) - f(K). That is greedy again, begun where the kept rows cover
what they cover: no second kernel is made, and guarantee and certificate speak of the rows that were free to choose.
Quotas, where there are any, count the kept rows as well.
"""

from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.coverage import as_positions, gains_along
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.quotas import admitted, capacity, everywhere, has_minima, places_within
from delift_core.selection.random_draws import RandomCurves
from delift_core.selection.request import Engine
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import NOTHING_FIXED, Budget, Fixed, GreedyOrder, ObjectiveConfig, Quotas, Selection

if TYPE_CHECKING:
    from delift_core.selection.loops import Places


def select_around(
    config: ObjectiveConfig,
    budget: Budget,
    kernel: Kernel,
    fixed: Fixed,
    *,
    quotas: Quotas | None = None,
    token_counts: np.ndarray | None = None,
    seed: int = 0,
    random: RandomCurves | None = None,
) -> Selection:
    """Selects within a budget that the kept rows count against.

    Args:
        config: what `kernel` was made with; kept in the result.
        budget: rows, percent or tokens, for kept and chosen rows together.
        kernel: (r, n), from `objectives.represented_kernel`.
        fixed: positions that are decided.
        quotas: what is to be taken of each group; the budget is then in rows or percent.
        token_counts: (n,) whole numbers, tokens per sample; needed by a token budget.
        seed: of the random baseline, which draws around the same kept rows.
        random: of the same kernel with nothing fixed, from which the baseline is changed; `seed` is not read then.

    Raises:
        SelectionError: the fixed rows contradict each other, leave no choice, or do not fit the budget; or the quotas
            cannot be met with them within the budget.
    """
    greedy = order_around(kernel, fixed) if quotas is None else order_within(kernel, budget, quotas, fixed)
    return select_from_kernel(
        config, budget, kernel, greedy, token_counts=token_counts, seed=seed, fixed=fixed, quotas=quotas, random=random
    )


def order_within(
    kernel: Kernel, budget: Budget, quotas: Quotas, fixed: Fixed, *, engine: Engine = "auto"
) -> GreedyOrder:
    """As `order_around`, with as many rows of each group as the quotas say; what they leave no place for comes next,
    greedily and without quotas, before the dropped ones.

    With maxima alone every budget that they allow can be cut from the order. With a minimum, the given budget only.

    Raises:
        SelectionError: as `order_around`; the budget is in tokens; or the quotas cannot be met within it.
    """
    n = kernel.shape[1]
    if len(quotas.codes) != n:
        raise SelectionError(
            f"The quotas are over {len(quotas.codes):,} rows and the pool has {n:,}: group its rows again."
        )
    return greedy_order(kernel, engine=engine, phases=_phases(fixed, n), places=_places(budget, n, quotas, fixed))


def rows_within(budget: Budget, n: int, fixed: Fixed) -> int:
    """How many rows a budget under quotas comes to.

    Raises:
        SelectionError: it is in tokens, or cannot be met.
    """
    if budget.unit == "tokens":
        raise SelectionError("Quotas count rows and the budget counts tokens: give the budget in rows or percent.")
    return min(rows_of_budget(budget, n), n - len(fixed.dropped))


def order_given(
    kernel: Kernel, order: np.ndarray, budget: Budget, *, quotas: Quotas | None = None, fixed: Fixed = NOTHING_FIXED
) -> GreedyOrder:
    """As `order_around`, or with quotas as `order_within`, where another method says which row comes before which.

    Args:
        kernel: (r, n), by which the gains are.
        order: (n,) int64, all positions, the first to take first.
        budget: read with quotas only.

    Raises:
        SelectionError: as `order_within`.
    """
    n = kernel.shape[1]
    limits = [everywhere(n)] if quotas is None else [_places(budget, n, quotas, fixed), everywhere(n)]
    parts = []
    for phase in _phases(fixed, n):
        left = order[np.isin(order, phase)]
        for places in limits:
            parts.append(admitted(left, places))
            left = left[~np.isin(left, parts[-1])]
    whole = np.concatenate(parts)
    return GreedyOrder(whole, gains_along(kernel, whole))


def _places(budget: Budget, n: int, quotas: Quotas, fixed: Fixed) -> "Places":
    places = places_within(quotas, rows_within(budget, n, fixed), fixed)
    return places if has_minima(quotas) else places_within(quotas, capacity(quotas, fixed), fixed)


def order_around(kernel: Kernel, fixed: Fixed) -> GreedyOrder:
    """The greedy order that begins with the kept rows, greedily among themselves, and ends with the dropped ones: any
    budget can be cut from it.

    Raises:
        SelectionError: the fixed rows contradict each other, or all are dropped.
    """
    return greedy_order(kernel, phases=_phases(fixed, kernel.shape[1]))


def _phases(fixed: Fixed, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kept, the free and the dropped positions in a pool of n samples, (k,), (f,) and (d,) int64."""
    kept, dropped = as_positions(fixed.kept, n), as_positions(fixed.dropped, n)
    if both := np.intersect1d(kept, dropped).tolist():
        raise SelectionError(f"Position {both[0]} is both kept and dropped: decide for one.")
    if len(dropped) == n:
        raise SelectionError("Every row is dropped: keep some, or give some back to the optimiser.")
    free = np.ones(n, dtype=bool)
    free[kept] = free[dropped] = False
    return kept, np.flatnonzero(free), dropped
