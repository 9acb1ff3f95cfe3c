"""The loop behind `replay`, compiled by numba: a greedy order made again where it changes, and repeated elsewhere."""

from typing import NamedTuple

import numpy as np

from delift_core.selection.greedy_loops import sink
from delift_core.selection.loops import compiled

BEFORE, NOW = 0, 1
AROUND = 0.8  # share of a gain from which neighbours are looked at with it: fewer looks for a larger heap
AS_BEFORE, EARLY, LATE, PICKED, DROPPED = 0, 1, 2, 3, 4


class Sparse(NamedTuple):
    """A kernel by columns and by rows; sums of its entries are exact on the grid of `magic`, see `grid`.

    Attributes:
        starts, rows, entries: of a csc_array.
        row_starts, columns, row_entries: of a csr_array.
    """

    starts: np.ndarray
    rows: np.ndarray
    entries: np.ndarray
    row_starts: np.ndarray
    columns: np.ndarray
    row_entries: np.ndarray
    magic: float


class Walk(NamedTuple):
    """Two greedy runs side by side: all picks with a larger gain were made in both.

    Attributes:
        cover: (r, 2) float32, the largest entry of each row among the picks of the run before and of the run now.
        state: (n,) int8, what is known of each column: 0 nothing yet, its turn is as before or later; 1 in the heap, as
            it may come before its turn; 2 in the heap, as its turn has passed; 3 picked; 4 not to be picked.
        heap: (2 n,) int64, the largest bound first; `size` (1,) int64 of them. A number from n on says: look around
            that column less n again.
        bound: (2 n,) float64, at least the gain now of a column in the heap.
    """

    cover: np.ndarray
    state: np.ndarray
    heap: np.ndarray
    size: np.ndarray
    bound: np.ndarray


@compiled
def order_again(
    kernel: Sparse, before: np.ndarray, before_gains: np.ndarray, walk: Walk, order: np.ndarray, gains: np.ndarray
) -> int:
    """Greedy from where `walk` begins, by what an earlier run says of the columns that nothing has happened to.

    Both runs pick by falling gain, so they are walked along together. A column can only gain more now than before where
    some row of its is covered less, which is where a column was picked before and not yet now; what is around such a
    column is looked at, and put into the heap if it may come first. Every other column gains at most as much as before:
    it is looked at when its turn before comes, and is picked if its gain is still the same, which needs no sum where
    its rows are covered alike.

    Args:
        before, before_gains: (u,) the picks of the earlier run that added anything, from nothing picked.
        walk: with what is picked already in `state` and, by `lift`, in `cover`.
        order, gains: (n,) filled from the start.

    Returns:
        How many picks add anything.
    """
    n, picked, place, fresh = len(walk.state), 0, 0, -1
    while True:
        upper, earlier, settled = 0.0, -1, False
        if place < len(before):
            upper, earlier = before_gains[place], before[place]
        if walk.size[0] > 0:
            top = walk.heap[0]
            most = walk.bound[top]
            if most > 0 and (most > upper or (most == upper and top >= earlier)):
                if top >= n:
                    _pop(walk)
                    if walk.state[top - n] == LATE:
                        look_around(kernel, top - n, most, walk)
                    continue
                if top != fresh:
                    gain, may_be_early = _gain_now(kernel, top, walk)
                    if walk.state[top] == EARLY and not may_be_early:
                        _pop(walk)
                        walk.state[top], walk.bound[top] = AS_BEFORE, gain
                        continue
                    if gain < most:
                        walk.bound[top], fresh = gain, top
                        sink(walk.heap, walk.size[0], 0, walk.bound)
                        continue
                _pop(walk)
                if top != earlier:
                    walk.state[top], fresh = PICKED, -1
                    order[picked], gains[picked] = top, most
                    picked += 1
                    lift(kernel, top, walk.cover, NOW)
                    continue
                walk.state[top], upper, settled = AS_BEFORE, most, True
        if earlier < 0:
            return picked
        place, fresh = place + 1, -1
        if walk.state[earlier] == AS_BEFORE:
            gain = upper if settled or _is_alike(kernel, earlier, walk.cover) else _gain_now(kernel, earlier, walk)[0]
            if gain == upper:
                walk.state[earlier] = PICKED
                order[picked], gains[picked] = earlier, gain
                picked += 1
                lift(kernel, earlier, walk.cover, NOW)
            else:
                _push(walk, earlier, gain)
                walk.state[earlier] = EARLY
        lift(kernel, earlier, walk.cover, BEFORE)
        if walk.state[earlier] == EARLY:
            walk.state[earlier] = LATE
        if walk.state[earlier] != PICKED:
            look_around(kernel, earlier, np.inf, walk)


@compiled
def look_around(kernel: Sparse, column: int, height: float, walk: Walk) -> None:
    """Puts into the heap what may be picked before a column whose turn has passed: columns of which nothing is known
    that share a row with it and gain nearly as much as it, or as much as `height`.

    Others gain more than before as well, but not more than the most that is found here: when the walk comes down to
    that and the column is still not picked, this is to be done again.
    """
    least = -1.0 if walk.state[column] == DROPPED else min(height, AROUND * _gain_now(kernel, column, walk)[0])
    most = 0.0
    for at in range(kernel.starts[column], kernel.starts[column + 1]):
        row = kernel.rows[at]
        covered = walk.cover[row, NOW]
        if covered >= walk.cover[row, BEFORE]:
            continue
        for place in range(kernel.row_starts[row], kernel.row_starts[row + 1]):
            other = kernel.columns[place]
            if kernel.row_entries[place] > covered and walk.state[other] == AS_BEFORE:
                gain = walk.bound[other]
                if gain >= least:
                    gain = walk.bound[other] = _gain_now(kernel, other, walk)[0]
                if gain >= least:
                    _push(walk, other, gain)
                    walk.state[other] = EARLY
                else:
                    most = max(most, gain)
    if most > 0:
        _push(walk, len(walk.state) + column, most)


@compiled
def lift(kernel: Sparse, column: int, cover: np.ndarray, run: int) -> None:
    """Covers the rows by a column in one of the two runs."""
    for at in range(kernel.starts[column], kernel.starts[column + 1]):
        row = kernel.rows[at]
        cover[row, run] = max(cover[row, run], kernel.entries[at])


@compiled
def _is_alike(kernel: Sparse, column: int, cover: np.ndarray) -> bool:
    for at in range(kernel.starts[column], kernel.starts[column + 1]):
        row = kernel.rows[at]
        if cover[row, BEFORE] != cover[row, NOW]:
            return False
    return True


@compiled
def _on_grid(entry: float, magic: float) -> float:
    rounded: float = (np.float64(entry) + magic) - magic
    return rounded


@compiled
def _gain_now(kernel: Sparse, column: int, walk: Walk) -> tuple[float, bool]:
    """The gain of a column, and whether it may be more than before: some row of its is covered less."""
    gain, more = 0.0, False
    for at in range(kernel.starts[column], kernel.starts[column + 1]):
        row, entry = kernel.rows[at], kernel.entries[at]
        now = walk.cover[row, NOW]
        gain += max(_on_grid(entry, kernel.magic) - _on_grid(now, kernel.magic), 0.0)
        more |= (entry > now) & (walk.cover[row, BEFORE] > now)
    return gain, more


@compiled
def _push(walk: Walk, item: int, bound: float) -> None:
    """Adds to the heap, ordered as in `loops.sink`."""
    walk.bound[item] = bound
    at, heap = walk.size[0], walk.heap
    walk.size[0] += 1
    while at > 0:
        parent = (at - 1) // 2
        above = heap[parent]
        if walk.bound[above] > bound or (walk.bound[above] == bound and above > item):
            break
        heap[at] = above
        at = parent
    heap[at] = item


@compiled
def _pop(walk: Walk) -> None:
    walk.size[0] -= 1
    walk.heap[0] = walk.heap[walk.size[0]]
    sink(walk.heap, walk.size[0], 0, walk.bound)
