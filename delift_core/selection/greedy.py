"""The whole greedy order over a represented kernel, by the engine that suits it.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the best subset of every size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of one order is the greedy answer for its size. This module knows
nothing of budgets or of which objective the kernel expresses.

Our engines compute gains without rounding errors (see `grid`), so that all of them give the same order, ties included.
submodlib sums float32 differences and decides some ties by the history of its heap: its order is the same where no two
gains are within rounding of each other, and worth the same everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy.sparse import csr_array

from delift_core.selection.coverage import covered, gains_along
from delift_core.selection.grid import magic_number
from delift_core.selection.kernels import Kernel, SparseColumns, above, as_kernel, by_columns
from delift_core.selection.memory import ensure_fits
from delift_core.selection.types import GreedyOrder

Engine = Literal["auto", "dense", "sparse", "submodlib"]
_Extend: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_DENSE_BYTES = 4


def greedy_order(kernel: Kernel, *, engine: Engine = "auto", phases: Sequence[np.ndarray] | None = None) -> GreedyOrder:
    """Orders all columns of a kernel greedily by Facility Location gain; the same kernel gives the same order.

    Args:
        kernel: (r, n), finite, >= 0; rows are represented, columns selectable. Dense in any memory layout, or sparse.
        engine: "auto" is "sparse" for a sparse kernel and "dense" for a dense one; any engine takes either form, and
            turns it into its own first. "submodlib" is the reference.
        phases: positions that come before those of the next phase whatever their gains, (k_1,), (k_2,), ...; together
            all n, each once. None is one phase.

    Returns:
        The order of all n columns with float64 gains. Among equal gains the largest position comes first; where nothing
        can be gained any more the positions therefore descend.

    Raises:
        SelectionError: the kernel is not such a matrix, or the engine's copy of it does not fit into memory.
    """
    form = as_kernel(kernel)
    if engine == "auto":
        engine = "dense" if isinstance(form, np.ndarray) else "sparse"
    extend = _ENGINES[engine](form)
    parts = [extend(phase) for phase in (phases or [np.arange(form.shape[1])]) if len(phase)]
    return GreedyOrder(np.concatenate([order for order, _ in parts]), np.concatenate([gains for _, gains in parts]))


def _dense_engine(kernel: Kernel) -> _Extend:
    """Keeps every gain up to date: a pick changes the gains only through the rows that it covers better."""
    from delift_core.selection.loops import order_dense

    dense, magic, cover = _as_dense(kernel), magic_number(kernel), np.zeros(kernel.shape[0])

    def extend(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order, gains = np.empty(len(candidates), dtype=np.int64), np.zeros(len(candidates))
        useful = order_dense(dense, candidates, magic, cover, order, gains)
        order[useful:] = np.setdiff1d(candidates, order[:useful])[::-1]
        return order, gains

    return extend


def _sparse_engine(kernel: Kernel) -> _Extend:
    """Lazy greedy by columns: most picks share no row with most columns, whose gains then need no second look."""
    from delift_core.selection.loops import order_sparse

    columns = by_columns(csr_array(kernel) if isinstance(kernel, np.ndarray) else kernel)
    assert isinstance(columns, SparseColumns)
    magic, cover = magic_number(kernel), np.zeros(kernel.shape[0])

    def extend(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order, gains, heap = np.empty(len(candidates), dtype=np.int64), np.zeros(len(candidates)), candidates.copy()
        useful = order_sparse(columns.starts, columns.rows, columns.entries, heap, magic, cover, order, gains)
        order[useful:] = np.sort(heap[: len(heap) - useful])[::-1]
        return order, gains

    return extend


def _submodlib_engine(kernel: Kernel) -> _Extend:
    """submodlib's lazy greedy, on a copy of what the candidates have above the phases before."""
    dense, taken = _as_dense(kernel), [np.empty(0, dtype=np.int64)]

    def extend(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = above(dense, candidates, covered(dense, np.concatenate(taken)))
        assert isinstance(part, np.ndarray)
        picks = _by_submodlib(np.ascontiguousarray(part))
        taken.append(candidates[picks])
        # submodlib's own gains are sums of float32 differences; these are exact for the kernel as stored.
        return candidates[picks], gains_along(part, picks)

    return extend


def _by_submodlib(dense: np.ndarray) -> np.ndarray:
    rows, n = dense.shape
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=n, mode="dense", sijs=dense, separate_rep=True, n_rep=rows)
    # submodlib accepts budgets below n only, so the last column is added here.
    picks = [int(j) for j, _ in function.maximize(budget=n - 1, optimizer="LazyGreedy", show_progress=False)]
    last = set(range(n)).difference(picks)
    return np.array([*picks, *last], dtype=np.int64)


def _as_dense(kernel: Kernel) -> np.ndarray:
    if isinstance(kernel, np.ndarray):
        return kernel
    ensure_fits(kernel.shape[0], kernel.shape[1], _DENSE_BYTES)
    dense: np.ndarray = kernel.toarray()
    return dense


_ENGINES: dict[Engine, Callable[[Kernel], _Extend]] = {
    "dense": _dense_engine,
    "sparse": _sparse_engine,
    "submodlib": _submodlib_engine,
}
