"""The greedy order of all columns of a represented kernel, also around fixed rows and within quotas.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the optimum for every subset size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of the order is the greedy answer for its size.

Our engines compute exact gains (`kernels.rounding_constant`) and so give the same order, ties included. submodlib sums
float32 differences and breaks some ties by the history of its heap: its order is the same where no two gains are within
rounding of each other, and has the same value everywhere.

With kept rows K, the other rows A maximise f(K + A) - f(K). That is greedy maximisation that starts from the coverage
of K, without a second kernel; guarantee and certificate are about the rows that could be chosen freely. Dropped rows
come last. Quotas count kept rows too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.coverage import as_positions, gains_along
from delift_core.selection.kernels import Kernel, as_kernel
from delift_core.selection.pickers import WITHOUT_QUOTAS, picker_for
from delift_core.selection.quotas import allowed_in_order, capacity, has_minima, no_quota, pick_limits
from delift_core.selection.request import Engine
from delift_core.selection.types import NO_FIXED_ROWS, Budget, FixedRows, GreedyOrder, Quotas

if TYPE_CHECKING:
    from delift_core.selection.loops import PickLimits


def greedy_order(
    kernel: Kernel,
    *,
    engine: Engine = "auto",
    phases: Sequence[np.ndarray] | None = None,
    limits: "PickLimits | None" = None,
) -> GreedyOrder:
    """Orders all columns of a kernel greedily by Facility Location gain; equal kernels give equal orders.

    Args:
        kernel: (r, n), finite, >= 0; rows are represented, columns selectable. Dense in any memory layout, or sparse.
        engine: see `request.Engine`.
        phases: positions (k_1,), (k_2,), ..., together all n, each once; those of a phase precede those of the next,
            whatever their gains. None is one phase.
        limits: from `quotas.pick_limits`, updated here. In each phase, allowed positions precede the others.

    Returns:
        The order of all n columns with float64 gains. Among equal gains the largest position comes first (except with
        "submodlib"); columns without a gain come last in each phase, in descending position.

    Raises:
        SelectionError: an invalid kernel, the engine's copy of it does not fit into memory, or `limits` with an engine
            that does not support them.
    """
    if limits is not None and engine in WITHOUT_QUOTAS:
        raise SelectionError(f"The engine {engine!r} does not support quotas: use another one.")
    form = as_kernel(kernel)
    n = form.shape[1]
    picker = picker_for(engine, form)
    order, gains = np.empty(n, dtype=np.int64), np.zeros(n)
    start = 0
    for phase in phases or (np.arange(n),):
        left = phase
        for current in (no_quota(n),) if limits is None else (limits, no_quota(n)):
            picks, picked_gains = picker.pick(left, np.ones(n), np.inf, current)
            gains[start : start + len(picks)] = picked_gains
            picks = np.concatenate([picks, allowed_in_order(np.setdiff1d(left, picks)[::-1], current)])
            order[start : start + len(picks)] = picks
            start += len(picks)
            left = np.setdiff1d(left, picks)
    return GreedyOrder(order, gains)


def order_within(
    kernel: Kernel, budget: Budget, quotas: Quotas, fixed: FixedRows, *, engine: Engine = "auto"
) -> GreedyOrder:
    """As `order_around`, within quotas: the rows that they allow precede those that they do not, greedily each.

    With maxima alone, every budget can be cut from the order; with a minimum, only the given budget.

    Raises:
        SelectionError: as `order_around`, or the quotas cannot be met within the budget.
    """
    n = kernel.shape[1]
    if len(quotas.codes) != n:
        raise SelectionError(
            f"The quotas are over {len(quotas.codes):,} rows and the pool has {n:,}: group its rows again."
        )
    return greedy_order(kernel, engine=engine, phases=_phases(fixed, n), limits=_limits(budget, n, quotas, fixed))


def order_key(budget: Budget, n: int, quotas: Quotas, fixed: FixedRows) -> tuple[object, ...]:
    """What an order within quotas depends on: budgets with equal keys are cut from the same order.

    Raises:
        SelectionError: the quotas cannot be met within this budget.
    """
    rows = rows_within(budget, n, fixed)
    pick_limits(quotas, rows, fixed)
    return quotas.column, quotas.groups, quotas.codes.tobytes(), rows if has_minima(quotas) else None


def rows_within(budget: Budget, n: int, fixed: FixedRows) -> int:
    """The number of rows of a budget, in rows or percent, under quotas.

    Raises:
        SelectionError: it cannot be met.
    """
    return min(rows_of_budget(budget, n), n - len(fixed.dropped))


def arrange_order(
    kernel: Kernel, order: np.ndarray, budget: Budget, *, quotas: Quotas | None = None, fixed: FixedRows = NO_FIXED_ROWS
) -> GreedyOrder:
    """Another method's order with the kept rows first and the dropped ones last, within quotas as in `order_within`.

    Args:
        kernel: (r, n), for the gains.
        order: (n,) int64, all positions, best first.
        budget: only read with quotas.

    Raises:
        SelectionError: as `order_within`.
    """
    n = kernel.shape[1]
    stages = [no_quota(n)] if quotas is None else [_limits(budget, n, quotas, fixed), no_quota(n)]
    parts = []
    for phase in _phases(fixed, n):
        left = order[np.isin(order, phase)]
        for limits in stages:
            parts.append(allowed_in_order(left, limits))
            left = left[~np.isin(left, parts[-1])]
    whole = np.concatenate(parts)
    return GreedyOrder(whole, gains_along(kernel, whole))


def _limits(budget: Budget, n: int, quotas: Quotas, fixed: FixedRows) -> "PickLimits":
    limits = pick_limits(quotas, rows_within(budget, n, fixed), fixed)
    return limits if has_minima(quotas) else pick_limits(quotas, capacity(quotas, fixed), fixed)


def order_around(kernel: Kernel, fixed: FixedRows) -> GreedyOrder:
    """The greedy order with the kept rows first and the dropped rows last; any budget can be cut from it.

    Raises:
        SelectionError: all rows are dropped.
    """
    return greedy_order(kernel, phases=_phases(fixed, kernel.shape[1]))


def _phases(fixed: FixedRows, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kept, the free and the dropped positions in a pool of n samples, (k,), (f,) and (d,) int64."""
    kept, dropped = as_positions(fixed.kept, n), as_positions(fixed.dropped, n)
    if len(dropped) == n:
        raise SelectionError("Every row is dropped: keep some, or leave some to the optimiser.")
    free = np.ones(n, dtype=bool)
    free[kept] = free[dropped] = False
    return kept, np.flatnonzero(free), dropped
