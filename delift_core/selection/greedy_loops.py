"""The greedy loops, compiled by numba: see `loops` for what holds of all of them."""

import numpy as np

from delift_core.selection.loops import Places, compiled, has_place, take_place


@compiled
def order_dense(
    kernel: np.ndarray,
    candidates: np.ndarray,
    weights: np.ndarray,
    room: float,
    places: Places,
    magic: float,
    cover: np.ndarray,
    order: np.ndarray,
    gains: np.ndarray,
) -> int:
    """Greedy over the candidate columns with every gain kept up to date. A pick lowers another column's gain only
    through the rows that it covers better, and a row is covered better only a few times in all.

    Args:
        kernel: (r, n) float32.
        candidates: (c,) positions.
        weights: (n,) the largest gain per weight is picked next.
        room: what the picks may weigh together; one that no longer fits is passed over.
        places: as is one that has no place there.
        magic: see `grid.magic_number`.
        cover: (r,) float64 on the grid, raised by every pick.
        order, gains: (c,) filled from the start.

    Returns:
        How many picks add anything; the rest of `order` and `gains` is left as it is.
    """
    rows, n = kernel.shape
    gain = np.full(n, -np.inf)
    gain[candidates] = 0.0
    for row in range(rows):
        before = cover[row]
        for column in range(n):
            gain[column] += max((np.float64(kernel[row, column]) + magic) - magic - before, 0.0)
    picked = 0
    while True:
        best, most = -1, 0.0
        for column in range(n):
            if gain[column] > 0 and gain[column] / weights[column] >= most:
                best, most = column, gain[column] / weights[column]
        if best < 0:
            return picked
        if weights[best] <= room and has_place(places, best):
            take_place(places, best)
            order[picked], gains[picked] = best, gain[best]
            picked += 1
            room -= weights[best]
            for row in range(rows):
                before, after = cover[row], (np.float64(kernel[row, best]) + magic) - magic
                if after > before:
                    cover[row] = after
                    for column in range(n):
                        entry = (np.float64(kernel[row, column]) + magic) - magic
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
    places: Places,
    magic: float,
    cover: np.ndarray,
    order: np.ndarray,
    gains: np.ndarray,
) -> int:
    """Lazy greedy over the candidate columns: an old gain bounds the new one from above, so that only the top of a heap
    is ever computed again (Minoux 1978).

    Args:
        starts, rows, entries: the kernel by columns.
        candidates: (c,) positions; reordered here.
        weights: (n,) the largest gain per weight is picked next.
        room: what the picks may weigh together; one that no longer fits is passed over.
        places: as is one that has no place there.
        magic: see `grid.magic_number`.
        cover: (r,) float64 on the grid, raised by every pick.
        order, gains: (c,) filled from the start.

    Returns:
        How many picks add anything; the rest of `order` and `gains` is left as it is.
    """
    size = len(candidates)
    bound = np.zeros(len(starts) - 1)
    for index in range(size):
        column = candidates[index]
        bound[column] = _gain(starts, rows, entries, column, magic, cover) / weights[column]
    for at in range(size // 2 - 1, -1, -1):
        _sink(candidates, size, at, bound)
    picked = 0
    while size > 0 and bound[candidates[0]] > 0:
        column = candidates[0]
        fits = weights[column] <= room and has_place(places, column)
        gain = _gain(starts, rows, entries, column, magic, cover)
        if fits and gain / weights[column] < bound[column]:
            bound[column] = gain / weights[column]
        else:
            size -= 1
            candidates[0] = candidates[size]
            if fits:
                take_place(places, column)
                order[picked], gains[picked] = column, gain
                picked += 1
                room -= weights[column]
                _lift(starts, rows, entries, column, magic, cover)
        _sink(candidates, size, 0, bound)
    return picked


@compiled
def _gain(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, column: int, magic: float, cover: np.ndarray
) -> float:
    gain = 0.0
    for at in range(starts[column], starts[column + 1]):
        gain += max((np.float64(entries[at]) + magic) - magic - cover[rows[at]], 0.0)
    return gain


@compiled
def _lift(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, column: int, magic: float, cover: np.ndarray
) -> None:
    for at in range(starts[column], starts[column + 1]):
        cover[rows[at]] = max(cover[rows[at]], (np.float64(entries[at]) + magic) - magic)


@compiled
def _sink(heap: np.ndarray, size: int, at: int, bound: np.ndarray) -> None:
    """Moves an entry of the heap down to its place: larger bounds are above smaller, larger positions win ties."""
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
