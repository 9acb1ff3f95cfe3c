"""The greedy order of all columns of a represented kernel.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the optimum for every subset size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of the order is the greedy answer for its size. This module knows
nothing of budgets or of the objective behind a kernel.

Our engines compute exact gains (`kernels.rounding_constant`) and so give the same order, ties included. submodlib sums
float32 differences and breaks some ties by the history of its heap: its order is the same where no two gains are within
rounding of each other, and has the same value everywhere.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, as_kernel
from delift_core.selection.pickers import WITHOUT_QUOTAS, picker_for
from delift_core.selection.quotas import allowed_in_order, no_quota
from delift_core.selection.request import Engine
from delift_core.selection.types import GreedyOrder

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


def pick_per_weight(
    kernel: Kernel, weights: np.ndarray, room: float, *, first: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Picks by gain per weight until no position that fits has a gain.

    Args:
        kernel: (r, n) as for `greedy_order`.
        weights: (n,) above 0.
        room: maximum total weight of the picks.
        first: positions that are already chosen; their weight does not count.
        others: positions to pick from.

    Returns:
        (k,) int64 positions of `others` in the order picked.
    """
    form = as_kernel(kernel)
    picker = picker_for("auto", form)
    n = form.shape[1]
    picker.pick(first, np.ones(n), np.inf, no_quota(n))
    return picker.pick(others, weights.astype(np.float64), room, no_quota(n))[0]
