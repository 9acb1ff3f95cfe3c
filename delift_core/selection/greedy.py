"""The whole greedy order over a represented kernel, by submodlib's lazy greedy.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the best subset of every size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of one order is the greedy answer for its size. This module knows
nothing of budgets or of which objective the kernel expresses.
"""

import numpy as np

from delift_core.selection.coverage import as_kernel, gains_along
from delift_core.selection.memory import ensure_fits
from delift_core.selection.types import GreedyOrder

_OPTIMISER_COPY_BYTES = 4


def greedy_order(kernel: np.ndarray) -> GreedyOrder:
    """Orders all columns of a kernel greedily by Facility Location gain; the same kernel gives the same order.

    Args:
        kernel: (r, n), finite, >= 0; rows are represented, columns selectable. Any memory layout.

    Returns:
        The order of all n columns with exact float64 gains. Among equal gains the largest position comes first, as
        submodlib decides it; where nothing can be gained any more the order is therefore arbitrary but fixed.

    Raises:
        SelectionError: the kernel is not such a matrix, or does not fit into memory a second time.
    """
    dense = as_kernel(kernel)
    ensure_fits(dense.shape[0], dense.shape[1], _OPTIMISER_COPY_BYTES)
    order = _lazy_greedy(dense)
    # submodlib's own gains are sums of float32 differences; these are exact for the kernel as stored.
    return GreedyOrder(order=order, gains=gains_along(dense, order))


def _lazy_greedy(dense: np.ndarray) -> np.ndarray:
    rows, n = dense.shape
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=n, mode="dense", sijs=dense, separate_rep=True, n_rep=rows)
    # submodlib accepts budgets below n only, so the last column is added here.
    picks = [int(j) for j, _ in function.maximize(budget=n - 1, optimizer="LazyGreedy", show_progress=False)]
    last = set(range(n)).difference(picks)
    return np.array([*picks, *last], dtype=np.int64)
