"""The whole greedy order over a represented kernel, by the engine that suits it.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the best subset of every size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of one order is the greedy answer for its size. This module knows
nothing of budgets or of which objective the kernel expresses.

Our engines compute gains without rounding errors (see `grid`), so that they give the same order, ties included.
submodlib sums float32 differences and decides some ties by the history of its heap: its order is the same where no two
gains are within rounding of each other, and worth the same everywhere.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, as_kernel
from delift_core.selection.pickers import WITHOUT_PLACES, picker_for
from delift_core.selection.quotas import admitted, everywhere
from delift_core.selection.request import Engine
from delift_core.selection.types import GreedyOrder

if TYPE_CHECKING:
    from delift_core.selection.loops import Places


def greedy_order(
    kernel: Kernel,
    *,
    engine: Engine = "auto",
    phases: Sequence[np.ndarray] | None = None,
    places: "Places | None" = None,
) -> GreedyOrder:
    """Orders all columns of a kernel greedily by Facility Location gain; the same kernel gives the same order.

    Args:
        kernel: (r, n), finite, >= 0; rows are represented, columns selectable. Dense in any memory layout, or sparse.
        engine: see `request.Engine`.
        phases: positions that come before those of the next phase whatever their gains, (k_1,), (k_2,), ...; together
            all n, each once. None is one phase.
        places: from `quotas.places_within`, used up here. In each phase, what has a place comes before what has none.

    Returns:
        The order of all n columns with float64 gains. Among equal gains the largest position comes first (except with
        "submodlib"); those that add nothing come last in each phase, their positions descending.

    Raises:
        SelectionError: the kernel is not such a matrix, the engine's copy of it does not fit into memory, or the engine
            cannot keep to places.
    """
    if places is not None and engine in WITHOUT_PLACES:
        raise SelectionError(f"The engine {engine!r} knows no quotas: use another one.")
    form = as_kernel(kernel)
    n = form.shape[1]
    picker = picker_for(engine, form)
    order, gains = np.empty(n, dtype=np.int64), np.zeros(n)
    start = 0
    for phase in phases or (np.arange(n),):
        left = phase
        for limits in (everywhere(n),) if places is None else (places, everywhere(n)):
            picks, added = picker.pick(left, np.ones(n), np.inf, limits)
            gains[start : start + len(picks)] = added
            picks = np.concatenate([picks, admitted(np.setdiff1d(left, picks)[::-1], limits)])
            order[start : start + len(picks)] = picks
            start += len(picks)
            left = np.setdiff1d(left, picks)
    return GreedyOrder(order, gains)


def pick_per_weight(
    kernel: Kernel, weights: np.ndarray, room: float, *, first: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Picks by gain per weight, passing over what no longer fits, until nothing that fits adds anything.

    Args:
        kernel: (r, n) as for `greedy_order`.
        weights: (n,) above 0.
        room: what the picks may weigh together.
        first: positions that are in already; they take no room.
        others: positions to pick from.

    Returns:
        (k,) int64 positions of `others` in the order picked.
    """
    form = as_kernel(kernel)
    picker = picker_for("auto", form)
    n = form.shape[1]
    picker.pick(first, np.ones(n), np.inf, everywhere(n))
    return picker.pick(others, weights.astype(np.float64), room, everywhere(n))[0]
