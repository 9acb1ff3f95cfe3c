"""The whole greedy order over a represented kernel, by the engine that suits it.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the best subset of every size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of one order is the greedy answer for its size. This module knows
nothing of budgets or of which objective the kernel expresses.

Our engines compute gains without rounding errors (see `grid`), so that the exact ones give the same order, ties
included. submodlib sums float32 differences and decides some ties by the history of its heap: its order is the same
where no two gains are within rounding of each other, and worth the same everywhere.
"""

from collections.abc import Sequence

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, as_kernel
from delift_core.selection.pickers import Engine, picker_for
from delift_core.selection.types import GreedyOrder


def greedy_order(
    kernel: Kernel,
    *,
    engine: Engine = "auto",
    phases: Sequence[np.ndarray] | None = None,
    epsilon: float = 0.1,
    seed: int = 0,
) -> GreedyOrder:
    """Orders all columns of a kernel greedily by Facility Location gain; the same kernel gives the same order.

    Args:
        kernel: (r, n), finite, >= 0; rows are represented, columns selectable. Dense in any memory layout, or sparse.
        engine: see `pickers.Engine`.
        phases: positions that come before those of the next phase whatever their gains, (k_1,), (k_2,), ...; together
            all n, each once. None is one phase.
        epsilon: in (0, 1), of the engine "stochastic": every prefix reaches 1 - 1/e - epsilon in expectation.
        seed: of the engine "stochastic".

    Returns:
        The order of all n columns with float64 gains. Among equal gains the largest position comes first (except with
        "submodlib" and "stochastic"); those that add nothing come last in each phase, their positions descending.

    Raises:
        SelectionError: the kernel is not such a matrix, or the engine's copy of it does not fit into memory.
    """
    if not 0 < epsilon < 1:
        raise SelectionError(f"epsilon is {epsilon}: use a number between 0 and 1.")
    form = as_kernel(kernel)
    n = form.shape[1]
    picker = picker_for(engine, form, epsilon=epsilon, seed=seed)
    order, gains = np.empty(n, dtype=np.int64), np.zeros(n)
    start = 0
    for phase in phases or (np.arange(n),):
        picks, added = picker.pick(phase, np.ones(n), np.inf)
        order[start : start + len(picks)], gains[start : start + len(picks)] = picks, added
        order[start + len(picks) : start + len(phase)] = np.setdiff1d(phase, picks)[::-1]
        start += len(phase)
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
    picker.pick(first, np.ones(form.shape[1]), np.inf)
    return picker.pick(others, weights.astype(np.float64), room)[0]
