"""The order around fixed rows, from the order without them: the same answer as from nothing, for little work.

A kept or dropped row changes a greedy order only near itself: most columns share no row with it, nor with any column
whose turn it changes. Those are picked again where they were picked before, and gains are computed for the others only
(see `replay_loops`). Sparse kernels only: in a dense one every column is near every other.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import as_positions
from delift_core.selection.grid import magic_number, on_grid
from delift_core.selection.kernels import SparseColumns, as_kernel, by_columns
from delift_core.selection.pickers import SparsePicker
from delift_core.selection.quotas import everywhere
from delift_core.selection.types import Fixed, GreedyOrder


@dataclass(frozen=True, slots=True)
class Replay:
    """A kernel's greedy order with what it takes to change it: the kernel by columns, and the grid of its sums.

    Attributes:
        kernel: (r, n) in canonical form.
        alone: (n,) float64, the gain of each column when nothing is picked.
        greedy: its order from nothing, by an exact engine of ours: its gains are compared to the last bit.
    """

    kernel: csr_array
    columns: SparseColumns
    alone: np.ndarray
    magic: float
    greedy: GreedyOrder

    def around(self, fixed: Fixed) -> GreedyOrder:
        """What `fixed.order_around` gives for the same kernel, bit for bit.

        Raises:
            SelectionError: the fixed rows contradict each other, or all are dropped.
        """
        n = self.kernel.shape[1]
        kept, dropped = fixed_positions(fixed, n)
        picker = SparsePicker(self.columns, self.magic)
        order, gains = np.empty(n, dtype=np.int64), np.zeros(n)
        _pick_all(picker, kept, order, gains, 0)
        start = len(kept)
        useful = self._pick_free(kept, dropped, picker, order[start:], gains[start:])
        left = np.ones(n, dtype=bool)
        left[kept] = left[dropped] = left[order[start : start + useful]] = False
        end = n - len(dropped)
        order[start + useful : end] = np.flatnonzero(left)[::-1]
        gains[start + useful : end] = 0
        _pick_all(picker, dropped, order, gains, end)
        return GreedyOrder(order, gains)

    def _pick_free(
        self, kept: np.ndarray, dropped: np.ndarray, picker: SparsePicker, order: np.ndarray, gains: np.ndarray
    ) -> int:
        """Picks what is neither kept nor dropped, on what the picker covers; says how many picks add anything."""
        from delift_core.selection.replay_loops import DROPPED, NOW, PICKED, Sparse, Walk, lift, order_again

        r, n = self.kernel.shape
        by_columns = (self.columns.starts, self.columns.rows, self.columns.entries)
        kernel = Sparse(*by_columns, self.kernel.indptr, self.kernel.indices, self.kernel.data, self.magic)
        useful = self.greedy.useful
        before, before_gains = self.greedy.order[:useful], self.greedy.gains[:useful]
        walk = Walk(
            cover=np.zeros((r, 2), dtype=np.float32),
            state=np.zeros(n, dtype=np.int8),
            heap=np.empty(2 * n, dtype=np.int64),
            size=np.zeros(1, dtype=np.int64),
            bound=np.concatenate([self.alone, np.zeros(n)]),
        )
        walk.state[kept], walk.state[dropped] = PICKED, DROPPED
        for column in kept:
            lift(kernel, column, walk.cover, NOW)
        picked: int = order_again(kernel, before, before_gains, walk, order, gains)
        np.copyto(picker.cover, on_grid(walk.cover[:, NOW], self.magic))
        return picked


def replay_of(kernel: csr_array, greedy: GreedyOrder) -> Replay:
    """Prepares a sparse kernel and its order, as from `greedy.greedy_order`, for changes.

    Raises:
        SelectionError: the order is of another kernel, or the copy by columns does not fit into memory.
    """
    form = as_kernel(kernel)
    assert isinstance(form, csr_array)
    if len(greedy.order) != form.shape[1]:
        raise SelectionError(
            f"The greedy order has {len(greedy.order):,} samples and the kernel {form.shape[1]:,}: order it again."
        )
    columns = by_columns(form)
    assert isinstance(columns, SparseColumns)
    magic = magic_number(form)
    alone = np.bincount(form.indices, weights=on_grid(form.data, magic), minlength=form.shape[1])
    return Replay(form, columns, alone, magic, greedy)


def fixed_positions(fixed: Fixed, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The kept and the dropped positions in a pool of n samples: (k,) and (d,) int64.

    Raises:
        SelectionError: they contradict each other, or all are dropped.
    """
    kept, dropped = as_positions(fixed.kept, n), as_positions(fixed.dropped, n)
    if both := np.intersect1d(kept, dropped).tolist():
        raise SelectionError(f"Position {both[0]} is both kept and dropped: decide for one.")
    if len(dropped) == n:
        raise SelectionError("Every row is dropped: keep some, or give some back to the optimiser.")
    return kept, dropped


def _pick_all(picker: SparsePicker, phase: np.ndarray, order: np.ndarray, gains: np.ndarray, start: int) -> None:
    """Orders a phase of its own into `order` and `gains` from `start` on."""
    n = len(order)
    if not len(phase):
        return
    picks, added = picker.pick(phase, np.ones(n), np.inf, everywhere(n))
    gains[start : start + len(picks)] = added
    order[start : start + len(phase)] = np.concatenate([picks, np.setdiff1d(phase, picks)[::-1]])
