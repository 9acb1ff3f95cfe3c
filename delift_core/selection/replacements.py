"""Which chosen sample gives most of the help that a left-out one could have given."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from delift_core.selection.coverage import ranks
from delift_core.selection.kernels import Kernel, column_of

_CACHED_ENTRIES = 200_000  # float32 numbers that stay in a core's cache, so that a pass over them is quick


def stand_ins(kernel: Kernel, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    """For each of `dropped`, the chosen a that gives most of its help: with the largest sum over the pool of
    min(s_a, s_dropped), the earlier pick winning a tie; None where all the sums are 0.

    Args:
        kernel: (r, n), of which the first n rows are the pool.
        chosen: (k,) positions in the order picked.
        dropped: (d,) other positions, ascending.
    """
    if isinstance(kernel, np.ndarray):
        return _dense(kernel, chosen, dropped)
    return _sparse(kernel, chosen, dropped)


def others_helped(column: tuple[np.ndarray, np.ndarray], position: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a column (rows, entries) what goes to the other samples of a pool of n: (rows, entries)."""
    rows, entries = column
    counts = (rows < n) & (rows != position) & (entries > 0)
    return rows[counts], entries[counts]


def _sparse(kernel: csr_array, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    from delift_core.selection.loops import find_stand_ins

    if len(dropped) == 1:
        rows, help_given = column_of(kernel, int(dropped[0]))
        starts = np.array([0, len(rows)])
    else:
        turned = kernel[:, dropped].tocsc()
        starts, rows, help_given = turned.indptr, turned.indices, turned.data
    found = np.empty(len(dropped), dtype=np.int64)
    rank = ranks(chosen, kernel.shape[1])
    find_stand_ins((kernel.indptr, kernel.indices, kernel.data), (starts, rows, help_given), dropped, rank, found)
    return (int(chosen[place]) if place >= 0 else None for place in found.tolist())


def _dense(kernel: np.ndarray, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    """Sums are taken in 32 bits first; those that rounding could have put below the largest are taken again in 64."""
    n = kernel.shape[1]
    helpers = np.ascontiguousarray(kernel[:n, chosen].T)
    # Adding n numbers >= 0 in any order is off by at most n roundings, for the largest sum as for the others.
    slack = min(1.0, 2 * n * float(np.finfo(np.float32).eps))
    for position, shared in zip(dropped.tolist(), _shared_help(helpers, kernel, dropped), strict=True):
        help_given = _help_given(kernel, position)
        if not help_given.any():
            yield None
            continue
        close = np.flatnonzero(shared >= shared.max() * np.float32(1 - slack))
        exact = np.minimum(helpers[close], help_given).sum(axis=1, dtype=np.float64)
        yield int(chosen[close[exact.argmax()]]) if exact.max() > 0 else None


def _help_given(kernel: np.ndarray, position: int) -> np.ndarray:
    """What a sample gives to the others of the pool: (n,), 0 for itself."""
    help_given: np.ndarray = kernel[: kernel.shape[1], position].copy()
    help_given[position] = 0
    return help_given


def _shared_help(helpers: np.ndarray, kernel: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Sums over the pool of the smaller of the help of a helper and of a dropped sample: (d, k) float32."""
    k, n = helpers.shape
    shared = np.empty((len(dropped), k), dtype=np.float32)
    step = max(1, _CACHED_ENTRIES // n)
    smaller = np.empty((min(step, k), n), dtype=np.float32)
    ones = np.ones(n, dtype=np.float32)
    # An infinite sum is close to every other, and taken again. Some kernels load what lies behind the end of
    # a row as well, without using it, and so raise the flag of an invalid value.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, k, step):
            part = helpers[start : start + step]
            for index, position in enumerate(dropped.tolist()):
                np.minimum(part, _help_given(kernel, position), out=smaller[: len(part)])
                np.matmul(smaller[: len(part)], ones, out=shared[index, start : start + step])
    return shared
