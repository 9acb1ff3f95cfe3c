"""The whole greedy order over a represented kernel, by the engine that suits it.

Greedy maximisation of a monotone submodular function reaches at least 1 - 1/e of the best subset of every size
(Nemhauser, Wolsey and Fisher 1978), and each prefix of one order is the greedy answer for its size. This module knows
nothing of budgets or of which objective the kernel expresses.

Our engines compute gains without rounding errors (see `grid`), so that all of them give the same order, ties included.
submodlib sums float32 differences and decides some ties by the history of its heap: its order is the same where no two
gains are within rounding of each other, and worth the same everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np
from scipy.sparse import csr_array

from delift_core.selection.coverage import covered, gains_along
from delift_core.selection.grid import magic_number
from delift_core.selection.kernels import Kernel, SparseColumns, above, as_kernel, by_columns
from delift_core.selection.memory import ensure_fits
from delift_core.selection.types import GreedyOrder

Engine = Literal["auto", "dense", "sparse", "submodlib"]

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
    n = form.shape[1]
    picker = _PICKERS[_fitting(engine, form)](form)
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
    picker = _PICKERS[_fitting("auto", form)](form)
    picker.pick(first, np.ones(form.shape[1]), np.inf)
    return picker.pick(others, weights.astype(np.float64), room)[0]


class _Picker(Protocol):
    """An engine at work on one kernel: what was picked before stays covered."""

    def pick(self, candidates: np.ndarray, weights: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
        """Picks what adds anything: (k,) positions, and their gains."""
        ...


class _DensePicker:
    """Keeps every gain up to date: a pick changes the gains only through the rows that it covers better."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._magic, self._cover = _as_dense(kernel), magic_number(kernel), np.zeros(kernel.shape[0])

    def pick(self, candidates: np.ndarray, weights: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.loops import order_dense

        order, gains = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
        useful = order_dense(self._kernel, candidates, weights, room, self._magic, self._cover, order, gains)
        return order[:useful], gains[:useful]


class _SparsePicker:
    """Lazy greedy by columns: most picks share no row with most columns, whose gains then need no second look."""

    def __init__(self, kernel: Kernel) -> None:
        columns = by_columns(csr_array(kernel) if isinstance(kernel, np.ndarray) else kernel)
        assert isinstance(columns, SparseColumns)
        self._columns, self._magic, self._cover = columns, magic_number(kernel), np.zeros(kernel.shape[0])

    def pick(self, candidates: np.ndarray, weights: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.loops import order_sparse

        order, gains = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
        starts, rows, entries = self._columns.starts, self._columns.rows, self._columns.entries
        heap = candidates.astype(np.int64)
        useful = order_sparse(starts, rows, entries, heap, weights, room, self._magic, self._cover, order, gains)
        return order[:useful], gains[:useful]


class _SubmodlibPicker:
    """submodlib's lazy greedy, on a copy of what the candidates have above the phases before; it knows no weights."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._cover = _as_dense(kernel), np.zeros(kernel.shape[0])

    def pick(self, candidates: np.ndarray, weights: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
        if not len(candidates):
            return candidates, np.empty(0)
        part = above(self._kernel, candidates, self._cover)
        assert isinstance(part, np.ndarray)
        picks = _by_submodlib(np.ascontiguousarray(part))
        self._cover = np.maximum(self._cover, covered(self._kernel, candidates))
        # submodlib's own gains are sums of float32 differences; these are exact for the kernel as stored.
        return candidates[picks], gains_along(part, picks)


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


def _fitting(engine: Engine, kernel: Kernel) -> Engine:
    if engine != "auto":
        return engine
    return "dense" if isinstance(kernel, np.ndarray) else "sparse"


_PICKERS: dict[Engine, Callable[[Kernel], _Picker]] = {
    "dense": _DensePicker,
    "sparse": _SparsePicker,
    "submodlib": _SubmodlibPicker,
}
