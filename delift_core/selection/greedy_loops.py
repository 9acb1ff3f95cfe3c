"""The loops of greedy maximisation, compiled by numba; conventions as in `loops`.

Entries are rounded to a grid by (s + constant) - constant, so that gains are exact (`kernels.rounding_constant`).
"""

import numpy as np

from delift_core.selection.loops import PickLimits, compiled, is_allowed, record_pick


@compiled
def order_dense(
    kernel: np.ndarray,
    candidates: np.ndarray,
    weights: np.ndarray,
    room: float,
    limits: PickLimits,
    constant: float,
    cover: np.ndarray,
    order: np.ndarray,
    gains: np.ndarray,
) -> int:
    """Greedy over the candidate columns that keeps every gain up to date.

    A pick changes other gains only through rows whose coverage it raises, which happens a few times per row in all.

    Args:
        kernel: (r, n) float32.
        candidates: (c,) positions.
        weights: (n,) the column with the largest gain per weight is picked next.
        room: maximum total weight of the picks; a column that no longer fits is skipped.
        limits: a column that they do not allow is skipped.
        constant: see `kernels.rounding_constant`.
        cover: (r,) float64 on the grid, raised by every pick.
        order, gains: (c,) receive the picks and their gains.

    Returns:
        The number of picks; only columns with a gain are picked.
    """
    rows, n = kernel.shape
    gain = np.full(n, -np.inf)  # (n,) -inf for columns that cannot be picked
    gain[candidates] = 0.0
    for row in range(rows):
        before = cover[row]
        for column in range(n):
            gain[column] += max((np.float64(kernel[row, column]) + constant) - constant - before, 0.0)
    picked = 0
    while True:
        best, most = -1, 0.0
        for column in range(n):
            if gain[column] > 0 and gain[column] / weights[column] >= most:  # >=: the largest position wins a tie
                best, most = column, gain[column] / weights[column]
        if best < 0:
            return picked
        if weights[best] <= room and is_allowed(limits, best):
            record_pick(limits, best)
            order[picked], gains[picked] = best, gain[best]
            picked += 1
            room -= weights[best]
            for row in range(rows):
                before, after = cover[row], (np.float64(kernel[row, best]) + constant) - constant
                if after > before:
                    cover[row] = after
                    for column in range(n):  # loses what its entry had above the old coverage, up to the new one
                        entry = (np.float64(kernel[row, column]) + constant) - constant
                        gain[column] -= min(max(entry, before), after) - before
        gain[best] = -np.inf


@compiled
def order_sparse(
    starts: np.ndarray,
    rows: np.ndarray,
    entries: np.ndarray,
    candidates: np.ndarray,
    weights: np.ndarray,
    room: float,
    limits: PickLimits,
    constant: float,
    cover: np.ndarray,
    order: np.ndarray,
    gains: np.ndarray,
) -> int:
    """Lazy greedy over the candidate columns: gains only shrink, so an old gain bounds the new one from above, and only
    the top of a heap is ever recomputed (Minoux 1978).

    Args:
        starts, rows, entries: the kernel by columns.
        candidates: (c,) positions; used as the heap.
        weights, room, limits, constant, cover, order, gains: as for `order_dense`.

    Returns:
        The number of picks; only columns with a gain are picked.
    """
    size = len(candidates)
    bound = np.zeros(len(starts) - 1)  # (n,) upper bounds of gain / weight
    for index in range(size):
        column = candidates[index]
        bound[column] = _gain(starts, rows, entries, column, constant, cover) / weights[column]
    for at in range(size // 2 - 1, -1, -1):
        _sink(candidates, size, at, bound)
    picked = 0
    while size > 0 and bound[candidates[0]] > 0:
        column = candidates[0]
        fits = weights[column] <= room and is_allowed(limits, column)
        gain = _gain(starts, rows, entries, column, constant, cover)
        if fits and gain / weights[column] < bound[column]:
            bound[column] = gain / weights[column]
        else:
            size -= 1
            candidates[0] = candidates[size]
            if fits:
                record_pick(limits, column)
                order[picked], gains[picked] = column, gain
                picked += 1
                room -= weights[column]
                _raise_cover(starts, rows, entries, column, constant, cover)
        _sink(candidates, size, 0, bound)
    return picked


@compiled
def _gain(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, column: int, constant: float, cover: np.ndarray
) -> float:
    gain = 0.0
    for at in range(starts[column], starts[column + 1]):
        gain += max((np.float64(entries[at]) + constant) - constant - cover[rows[at]], 0.0)
    return gain


@compiled
def _raise_cover(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, column: int, constant: float, cover: np.ndarray
) -> None:
    for at in range(starts[column], starts[column + 1]):
        cover[rows[at]] = max(cover[rows[at]], (np.float64(entries[at]) + constant) - constant)


@compiled
def _sink(heap: np.ndarray, size: int, at: int, bound: np.ndarray) -> None:
    """Sifts an entry down the heap: larger bounds come first, then larger positions."""
    if at >= size:
        return
    moving = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        other = heap[child + 1] if child + 1 < size else -1
        upper = heap[child]
        if other >= 0 and (bound[other] > bound[upper] or (bound[other] == bound[upper] and other > upper)):
            child, upper = child + 1, other
        if bound[upper] < bound[moving] or (bound[upper] == bound[moving] and upper < moving):
            break
        heap[at] = upper
        at = child
    heap[at] = moving
