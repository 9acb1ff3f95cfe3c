"""What else could have been chosen: the replacement of a sample that was not, the runner-up to a pick."""

import heapq
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from delift_core.selection.coverage import ranks, residual_gains
from delift_core.selection.kernels import Columns, Kernel, column_of

_CACHED_ENTRIES = 200_000  # float32 numbers that fit into a core's cache


def find_replacements(kernel: Kernel, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    """The replacement of each dropped sample d: the chosen a with the largest sum over the pool of min(s_a, s_d).

    The earlier pick wins a tie; None where all sums are 0.

    Args:
        kernel: (r, n); the first n rows are the pool.
        chosen: (k,) positions in the order picked.
        dropped: (d,) other positions, ascending.
    """
    if isinstance(kernel, np.ndarray):
        return _dense(kernel, chosen, dropped)
    return _sparse(kernel, chosen, dropped)


def others_helped(column: tuple[np.ndarray, np.ndarray], position: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of a column (rows, entries) that helps other samples of a pool of n: (rows, entries)."""
    rows, entries = column
    helped = (rows < n) & (rows != position) & (entries > 0)
    return rows[helped], entries[helped]


def _sparse(kernel: csr_array, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    from delift_core.selection.loops import find_replacement_ranks

    if len(dropped) == 1:
        rows, help_given = column_of(kernel, int(dropped[0]))
        starts = np.array([0, len(rows)])
    else:
        columns = kernel[:, dropped].tocsc()
        starts, rows, help_given = columns.indptr, columns.indices, columns.data
    found = np.empty(len(dropped), dtype=np.int64)
    rank = ranks(chosen, kernel.shape[1])
    find_replacement_ranks(
        (kernel.indptr, kernel.indices, kernel.data), (starts, rows, help_given), dropped, rank, found
    )
    return (int(chosen[index]) if index >= 0 else None for index in found.tolist())


def _dense(kernel: np.ndarray, chosen: np.ndarray, dropped: np.ndarray) -> Iterator[int | None]:
    """Sums in float32 first; those within rounding of the largest again in float64."""
    n = kernel.shape[1]
    helpers = np.ascontiguousarray(kernel[:n, chosen].T)
    # A sum of n numbers >= 0, in any order, has a relative error of at most n roundings.
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
    """How much a sample helps the others of the pool: (n,), 0 for itself."""
    help_given: np.ndarray = kernel[: kernel.shape[1], position].copy()
    help_given[position] = 0
    return help_given


def _shared_help(helpers: np.ndarray, kernel: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Sums over the pool of min(s_a, s_d) for each dropped d and chosen a: (d, k) float32; `helpers` is (k, n)."""
    k, n = helpers.shape
    shared = np.empty((len(dropped), k), dtype=np.float32)
    step = max(1, _CACHED_ENTRIES // n)
    smaller = np.empty((min(step, k), n), dtype=np.float32)
    ones = np.ones(n, dtype=np.float32)
    # Infinite sums count as close to the largest and are computed again. Some BLAS kernels also load, without using
    # it, what lies behind the end of a row, and so set the flag of an invalid value.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, k, step):
            part = helpers[start : start + step]
            for index, position in enumerate(dropped.tolist()):
                np.minimum(part, _help_given(kernel, position), out=smaller[: len(part)])
                np.matmul(smaller[: len(part)], ones, out=shared[index, start : start + step])
    return shared


def find_runner_up(kernel: Kernel, chosen: np.ndarray, index: int, closed: np.ndarray) -> int | None:
    """The sample with the largest gain in place of the pick at `index` (the smaller position wins a tie)."""
    others = residual_gains(kernel, chosen[:index])
    others[chosen[: index + 1]] = 0.0
    others[closed <= index] = 0.0
    return int(others.argmax()) if others.max() > 0 else None


def find_runner_ups(columns: Columns, sums: np.ndarray, chosen: np.ndarray, closed: np.ndarray) -> Iterator[int | None]:
    """`find_runner_up` of every pick in order, by one pass over the picks.

    Gains only shrink, so a gain from an earlier pick is an upper bound, and only the top of the heap is ever recomputed
    (CELF, Leskovec et al. 2007).

    Args:
        columns: of the kernel.
        sums: (n,) of the columns.
        chosen: (k,) positions in the order picked.
        closed: (n,) number of picks after which each was no longer allowed.
    """
    cover = np.zeros(columns.row_count)
    # Entries are (-gain, position, picks when computed): the smallest position wins a tie.
    heap = [(-gain, position, 0) for position, gain in enumerate(sums.tolist())]
    heapq.heapify(heap)
    picked: set[int] = set()
    for index, pick in enumerate(chosen.tolist()):
        picked.add(pick)
        while heap:
            gain, position, computed_at = heap[0]
            if gain == 0 or position in picked or closed[position] <= index:  # none of these can be a runner-up again
                heapq.heappop(heap)
            elif computed_at == index:
                break
            else:
                heapq.heapreplace(heap, (-columns.gain(position, cover), position, index))
        yield heap[0][1] if heap else None
        columns.raise_cover(pick, cover)
