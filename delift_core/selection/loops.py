"""Loops over a kernel's entries, compiled by numba: what neither numpy nor scipy does without a copy of the kernel.

Each is a plain function of arrays. None starts threads and all let go of the interpreter's lock, so that any number of
sessions may call them at once. A sparse kernel is read by rows (`starts`, `columns`, `entries` of a csr_array) or by
columns (`starts`, `rows`, `entries` of a csc_array). Compiled code is kept beside this file, or in the user's cache
folder where that cannot be written.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np

_Loop = TypeVar("_Loop", bound=Callable[..., object])


def compiled(loop: _Loop) -> _Loop:
    quick: Any
    try:
        quick = numba.njit(nogil=True, cache=True)(loop)
    except RuntimeError:  # no folder can be written at all: compiled anew in each process
        quick = numba.njit(nogil=True)(loop)
    compiled: _Loop = quick
    return compiled


class Places(NamedTuple):
    """How many columns of each of m groups may still be picked; the picks of a phase use it up.

    Attributes:
        codes: (n,) int64, the group of each column.
        least, most: (m,) int64, picks that each group is owed, and that it may have.
        taken: (m,) int64, picks that it has.
        spare: (1,) int64, picks that are owed to no group.
    """

    codes: np.ndarray
    least: np.ndarray
    most: np.ndarray
    taken: np.ndarray
    spare: np.ndarray


@compiled
def has_place(places: Places, column: int) -> bool:
    """Whether a column may be picked next. Once it may not, it never may again: nothing gives a place back."""
    group = places.codes[column]
    taken = places.taken[group]
    admitted: bool = taken < places.least[group] or (taken < places.most[group] and places.spare[0] > 0)
    return admitted


@compiled
def take_place(places: Places, column: int) -> None:
    """Notes that a column was picked."""
    group = places.codes[column]
    if places.taken[group] >= places.least[group]:
        places.spare[0] -= 1
    places.taken[group] += 1


@compiled
def admit(order: np.ndarray, places: Places, taken: np.ndarray) -> int:
    """Takes positions in order into `taken`, passing over those that have no place.

    Returns:
        How many were taken.
    """
    count = 0
    for index in range(len(order)):
        if has_place(places, order[index]):
            take_place(places, order[index])
            taken[count] = order[index]
            count += 1
    return count


@compiled
def best_of_dense(kernel: np.ndarray, chosen: np.ndarray, best: np.ndarray, most: np.ndarray) -> None:
    """For each row the largest entry among the chosen columns into `most`, and its index among them into `best` (the
    smaller index wins a tie); both are left as they are where no entry is above `most`."""
    for row in range(kernel.shape[0]):
        for index in range(len(chosen)):
            if kernel[row, chosen[index]] > most[row]:
                most[row], best[row] = kernel[row, chosen[index]], index


@compiled
def best_of_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, rank: np.ndarray, best: np.ndarray, most: np.ndarray
) -> None:
    """As `best_of_dense`, the chosen columns being those of rank >= 0: their indices."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            place, entry = rank[columns[at]], entries[at]
            if place >= 0 and (entry > most[row] or (entry == most[row] and entry > 0 and place < best[row])):
                most[row], best[row] = entry, place


@compiled
def cover_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, inside: np.ndarray, cover: np.ndarray
) -> None:
    """Raises `cover` (r,) to the largest entry of each row in the columns that are `inside` (n,) bool."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            if inside[columns[at]]:
                cover[row] = max(cover[row], np.float64(entries[at]))


@compiled
def add_gains_dense(kernel: np.ndarray, cover: np.ndarray, gains: np.ndarray) -> None:
    """Adds to `gains` what each column has above `cover`."""
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            gains[column] += max(np.float64(kernel[row, column]) - cover[row], 0.0)


@compiled
def add_gains_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, cover: np.ndarray, gains: np.ndarray
) -> None:
    """Adds to `gains` what each column has above `cover`."""
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            gains[columns[at]] += max(np.float64(entries[at]) - cover[row], 0.0)


@compiled
def walk_dense(kernel: np.ndarray, orders: np.ndarray, gains: np.ndarray) -> None:
    """Adds to `gains` (d, k) what each column adds to those before it in its order, for d orders (d, k) at once."""
    for row in range(kernel.shape[0]):
        for which in range(orders.shape[0]):
            cover = 0.0
            for place in range(orders.shape[1]):
                entry = np.float64(kernel[row, orders[which, place]])
                if entry > cover:
                    gains[which, place] += entry - cover
                    cover = entry


@compiled
def walk_sparse(
    starts: np.ndarray, rows: np.ndarray, entries: np.ndarray, order: np.ndarray, cover: np.ndarray, gains: np.ndarray
) -> None:
    """As `walk_dense` for one order (k,), on a kernel by columns; raises `cover` (r,)."""
    for place in range(len(order)):
        for at in range(starts[order[place]], starts[order[place] + 1]):
            above = np.float64(entries[at]) - cover[rows[at]]
            if above > 0:
                gains[place] += above
                cover[rows[at]] = entries[at]


@compiled
def values_dense(kernel: np.ndarray, inside: np.ndarray, totals: np.ndarray) -> None:
    """Adds to `totals` (d,) the objectives of d subsets at once: `inside` is (n, d) float32, 1 for members, else 0."""
    draws = inside.shape[1]
    cover = np.zeros(draws, dtype=np.float32)
    for row in range(kernel.shape[0]):
        cover[:] = 0
        for column in range(kernel.shape[1]):
            entry = np.float32(kernel[row, column])
            if entry > 0:
                for draw in range(draws):
                    cover[draw] = max(cover[draw], entry * inside[column, draw])
        for draw in range(draws):
            totals[draw] += np.float64(cover[draw])


@compiled
def values_sparse(
    starts: np.ndarray, columns: np.ndarray, entries: np.ndarray, inside: np.ndarray, totals: np.ndarray
) -> None:
    """As `values_dense`, on a kernel by rows."""
    draws = inside.shape[1]
    cover = np.zeros(draws, dtype=np.float32)
    for row in range(len(starts) - 1):
        cover[:] = 0
        for at in range(starts[row], starts[row + 1]):
            for draw in range(draws):
                cover[draw] = max(cover[draw], np.float32(entries[at]) * inside[columns[at], draw])
        for draw in range(draws):
            totals[draw] += np.float64(cover[draw])


@compiled
def fill_up(order: np.ndarray, weights: np.ndarray, room: float, least: float, taken: np.ndarray) -> int:
    """Takes positions in order into `taken`, passing over what does not fit; ends when not even `least` does.

    Returns:
        How many were taken.
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
def find_stand_ins(
    kernel: tuple[np.ndarray, np.ndarray, np.ndarray],
    help_given: tuple[np.ndarray, np.ndarray, np.ndarray],
    dropped: np.ndarray,
    rank: np.ndarray,
    found: np.ndarray,
) -> None:
    """For each dropped column the rank of the chosen one that shares most of its help, -1 where none shares any: the
    largest sum over the first n rows, its own excepted, of the smaller of the two entries; the smaller rank wins.

    Args:
        kernel: (starts, columns, entries), by rows.
        help_given: (starts, rows, entries) of the dropped columns.
        dropped: (d,) positions.
        rank: (n,) rank among the chosen, -1 for the others.
        found: (d,) filled.
    """
    row_starts, columns, entries = kernel
    starts, rows, helps = help_given
    n = len(rank)
    shared = np.zeros(n)
    touched = np.empty(n, dtype=np.int64)
    for index in range(len(dropped)):
        count = 0
        for at in range(starts[index], starts[index + 1]):
            row = rows[at]
            if row >= n or row == dropped[index]:
                continue
            for other in range(row_starts[row], row_starts[row + 1]):
                place = rank[columns[other]]
                both = min(np.float64(entries[other]), np.float64(helps[at]))
                if place >= 0 and both > 0:
                    if shared[place] == 0:
                        touched[count] = place
                        count += 1
                    shared[place] += both
        found[index], most = -1, 0.0
        for at in range(count):
            place = touched[at]
            if shared[place] > most or (shared[place] == most and place < found[index]):
                found[index], most = place, shared[place]
            shared[place] = 0.0
