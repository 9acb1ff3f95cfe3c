"""Loops over a kernel's entries, compiled by numba, where numpy and scipy would need a copy of the kernel.

All are plain functions of arrays, without threads of their own, that release the interpreter's lock: any number of
sessions can call them at once. A dense kernel is (r, n). A sparse one is passed by rows (`starts` (r + 1,), `columns`
and `entries` (nnz,) of a csr_array) or by columns (`starts` (n + 1,), `rows` and `entries` (nnz,) of a csc_array).
numba caches compiled code beside this file, or in the user's cache folder if that is read-only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

_Loop = TypeVar("_Loop", bound=Callable[..., object])


def compiled(loop: _Loop, *, fastmath: Any = False) -> _Loop:
    """Compiles a loop on its first call, without the interpreter's lock.

    Args:
        fastmath: which liberties with float arithmetic numba may take.
    """
    result: Any
    try:
        result = numba.njit(nogil=True, cache=True, fastmath=fastmath)(loop)
    except RuntimeError:  # no folder is writable: compile in each process
        result = numba.njit(nogil=True, fastmath=fastmath)(loop)
    return cast(_Loop, result)


class PickLimits(NamedTuple):
    """How many columns of each of m groups may still be picked. Picks are recorded in place in `taken` and `spare`."""

    codes: np.ndarray  # (n,) int64, the group of each column
    least: np.ndarray  # (m,) int64, minimum and maximum number of picks of each group
    most: np.ndarray  # (m,) int64, minimum and maximum number of picks of each group
    taken: np.ndarray  # (m,) int64, picks of each group so far
    spare: np.ndarray  # (1,) int64, picks that no group needs for its minimum


@compiled
def is_allowed(limits: PickLimits, column: int) -> bool:
    """Whether a column may be picked next. A column that may not be picked now never can be: `spare` only shrinks."""
    group = limits.codes[column]
    taken = limits.taken[group]
    allowed: bool = taken < limits.least[group] or (taken < limits.most[group] and limits.spare[0] > 0)
    return allowed


@compiled
def record_pick(limits: PickLimits, column: int) -> None:
    """Counts a pick of a column."""
    group = limits.codes[column]
    if limits.taken[group] >= limits.least[group]:
        limits.spare[0] -= 1
    limits.taken[group] += 1


@compiled
def take_allowed(order: np.ndarray, limits: PickLimits, taken: np.ndarray) -> int:
    """Writes the allowed positions of `order` (k,) to `taken` (k,), counting each as a pick; returns their number."""
    count = 0
    for index in range(len(order)):
        if is_allowed(limits, order[index]):
            record_pick(limits, order[index])
            taken[count] = order[index]
            count += 1
    return count


@compiled
def best_of_dense(kernel: np.ndarray, chosen: np.ndarray, best: np.ndarray, most: np.ndarray) -> None:
    """Raises `most` (r,) to the largest entry of each row in the chosen columns (k,), and sets `best` (r,) to the index
    of that column in `chosen`; the smaller index wins a tie. Rows without an entry above `most` do not change."""
    for row in range(kernel.shape[0]):
        for index in range(len(chosen)):
            if kernel[row, chosen[index]] > most[row]:
                most[row], best[row] = kernel[row, chosen[index]], index


@compiled
def best_of_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, rank: np.ndarray, best: np.ndarray, most: np.ndarray
) -> None:
    """As `best_of_dense`, with `rank` (n,) the index of each column in `chosen`, -1 for the others."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            index, entry = rank[columns[at]], entries[at]
            if index >= 0 and (entry > most[row] or (entry == most[row] and entry > 0 and index < best[row])):
                most[row], best[row] = entry, index


@compiled
def cover_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, chosen: np.ndarray, cover: np.ndarray
) -> None:
    """Raises `cover` (r,) to the largest entry of each row in the `chosen` columns, (n,) bool."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            if chosen[columns[at]]:
                cover[row] = max(cover[row], np.float64(entries[at]))


@compiled
def add_gains_dense(kernel: np.ndarray, cover: np.ndarray, gains: np.ndarray) -> None:
    """Adds to `gains` (n,) the gain of each column over `cover` (r,)."""
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            gains[column] += max(np.float64(kernel[row, column]) - cover[row], 0.0)


@compiled
def add_gains_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, cover: np.ndarray, gains: np.ndarray
) -> None:
    """Adds to `gains` (n,) the gain of each column over `cover` (r,)."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            gains[columns[at]] += max(np.float64(entries[at]) - cover[row], 0.0)


@compiled
def add_gains_along_dense(kernel: np.ndarray, orders: np.ndarray, gains: np.ndarray) -> None:
    """Adds to `gains` (d, k) the gain of each column over those before it, for d orders (d, k) in one pass."""
    for row in range(kernel.shape[0]):
        for draw in range(orders.shape[0]):
            cover = 0.0  # of this row by the columns of this order so far
            for index in range(orders.shape[1]):
                entry = np.float64(kernel[row, orders[draw, index]])
                if entry > cover:
                    gains[draw, index] += entry - cover
                    cover = entry


@compiled
def add_gains_along_sparse(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, order: np.ndarray, cover: np.ndarray, gains: np.ndarray
) -> None:
    """As `add_gains_along_dense` for one order (k,), on a kernel by columns; raises `cover` (r,)."""
    for index in range(len(order)):
        for at in range(starts[order[index]], starts[order[index] + 1]):
            gain = np.float64(entries[at]) - cover[rows[at]]
            if gain > 0:
                gains[index] += gain
                cover[rows[at]] = entries[at]


@compiled
def values_dense(kernel: np.ndarray, members: np.ndarray, totals: np.ndarray) -> None:
    """Adds to `totals` (d,) the objectives of d subsets in one pass; `members` is (n, d) float32, 1 or 0."""
    draws = members.shape[1]
    cover = np.zeros(draws, dtype=np.float32)  # of one row by each subset
    for row in range(kernel.shape[0]):
        cover[:] = 0
        for column in range(kernel.shape[1]):
            entry = np.float32(kernel[row, column])
            if entry > 0:
                for draw in range(draws):  # without a branch, so that the compiler vectorises it
                    cover[draw] = max(cover[draw], entry * members[column, draw])
        for draw in range(draws):
            totals[draw] += np.float64(cover[draw])


@compiled
def values_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, members: np.ndarray, totals: np.ndarray
) -> None:
    """As `values_dense`, on a kernel by rows."""
    draws = members.shape[1]
    cover = np.zeros(draws, dtype=np.float32)
    for row in range(len(starts) - 1):
        cover[:] = 0
        for at in range(starts[row], starts[row + 1]):
            for draw in range(draws):
                cover[draw] = max(cover[draw], np.float32(entries[at]) * members[columns[at], draw])
        for draw in range(draws):
            totals[draw] += np.float64(cover[draw])


@compiled
def take_fitting(order: np.ndarray, weights: np.ndarray, room: float, least: float, taken: np.ndarray) -> int:
    """Writes the positions of `order` (k,) that fit into `room` one after another to `taken` (k,).

    Args:
        weights: (n,) of each position.
        least: the smallest weight; when even that does not fit, the loop ends.

    Returns:
        The number of positions taken.
    """
    count = 0
    for index in range(len(order)):
        if room < least:
            break
        if weights[order[index]] <= room:
            taken[count] = order[index]
            room -= weights[order[index]]
            count += 1
    return count


@compiled
def find_replacement_ranks(
    kernel: tuple[np.ndarray, np.ndarray, np.ndarray],
    help_given: tuple[np.ndarray, np.ndarray, np.ndarray],
    dropped: np.ndarray,
    rank: np.ndarray,
    found: np.ndarray,
) -> None:
    """The rank of the chosen column that shares most help with each dropped one, -1 if none shares any.

    Shared help is the sum over the first n rows, except the dropped column's own, of the smaller of the two entries.
    The smaller rank wins a tie.

    Args:
        kernel: (starts, columns, entries), by rows.
        help_given: (starts, rows, entries) of the dropped columns.
        dropped: (d,) positions.
        rank: (n,) rank among the chosen, -1 for the others.
        found: (d,) receives the ranks.
    """
    row_starts, columns, entries = kernel
    starts, rows, helps = help_given
    n = len(rank)
    shared = np.zeros(n)  # with each rank; only the touched ones are reset, so that the cost follows the entries
    touched = np.empty(n, dtype=np.int64)
    for index in range(len(dropped)):
        count = 0
        for at in range(starts[index], starts[index + 1]):
            row = rows[at]
            if row >= n or row == dropped[index]:
                continue
            for other in range(row_starts[row], row_starts[row + 1]):
                chosen = rank[columns[other]]
                both = min(np.float64(entries[other]), np.float64(helps[at]))
                if chosen >= 0 and both > 0:
                    if shared[chosen] == 0:
                        touched[count] = chosen
                        count += 1
                    shared[chosen] += both
        found[index], most = -1, 0.0
        for at in range(count):
            chosen = touched[at]
            if shared[chosen] > most or (shared[chosen] == most and chosen < found[index]):
                found[index], most = chosen, shared[chosen]
            shared[chosen] = 0.0
