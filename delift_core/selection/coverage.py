"""Facility Location on a represented kernel: coverage, value and gains, exactly.

f(A) = sum_i max_{j in A} s_ij over a kernel (see `kernels`), and f of the empty set is 0. Sums are float64 whatever the
kernel's dtype.
"""

from collections.abc import Sequence

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, SparseColumns, by_columns, row_blocks


def as_positions(positions: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """Positions in a pool of n samples as (k,) int64, refused when out of range or repeated.

    Raises:
        SelectionError: a position is not in 0..n-1 or occurs twice.
    """
    array = np.asarray(positions)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise SelectionError(f"Positions must be a list of whole numbers, not {array.dtype} of shape {array.shape}.")
    if array.min() < 0 or array.max() >= n:
        wrong = int(array[(array < 0) | (array >= n)][0])
        raise SelectionError(f"Position {wrong} is not in the pool of {n} samples: use 0 to {n - 1}.")
    if np.unique(array).size != array.size:
        raise SelectionError("A subset names the same position twice: name each sample once.")
    return array.astype(np.int64)


def best_chosen(kernel: Kernel, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which chosen column covers each row best (the earlier in `chosen` wins a tie), and how much it gives.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        chosen: (k,) positions, at least one.

    Returns:
        (index, cover): (r,) int64 indices into `chosen`, 0 where nothing covers the row, and (r,) float64.
    """
    index, cover = np.zeros(kernel.shape[0], dtype=np.int64), np.zeros(kernel.shape[0])
    if isinstance(kernel, np.ndarray):
        for block in row_blocks(kernel.shape[0], len(chosen)):
            part = kernel[block][:, chosen]
            index[block], cover[block] = part.argmax(axis=1), part.max(axis=1)
        return index, cover
    from delift_core.selection.loops import best_of_rows

    rank = ranks(chosen, kernel.shape[1])
    best_of_rows(kernel.indptr, kernel.indices, kernel.data, rank, index, cover)
    return index, cover


def ranks(chosen: np.ndarray, n: int) -> np.ndarray:
    """Where in `chosen` each of n positions stands, -1 where it does not: (n,) int64."""
    rank = np.full(n, -1, dtype=np.int64)
    rank[chosen] = np.arange(len(chosen))
    return rank


def covered(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """How well each represented row is covered: (r,) float64, max over chosen columns, 0 when nothing is chosen."""
    if not len(chosen):
        return np.zeros(kernel.shape[0])
    if not isinstance(kernel, np.ndarray):
        return best_chosen(kernel, chosen)[1]
    cover = np.zeros(kernel.shape[0])
    for block in row_blocks(kernel.shape[0], len(chosen)):
        cover[block] = kernel[block][:, chosen].max(axis=1)
    return cover


def value(kernel: Kernel, chosen: np.ndarray) -> float:
    """The objective f(chosen) = sum of `covered`."""
    return float(covered(kernel, chosen).sum())


def gains_along(kernel: Kernel, order: np.ndarray) -> np.ndarray:
    """What each sample adds to those before it in `order`: (k,) float64; the first m gains sum to f(order[:m])."""
    gains = np.zeros(len(order))
    if not len(order):
        return gains
    if isinstance(kernel, np.ndarray):
        for block in row_blocks(kernel.shape[0], len(order)):
            best_so_far = np.maximum.accumulate(kernel[block][:, order].astype(np.float64), axis=1)
            gains += np.diff(best_so_far, axis=1, prepend=0.0).sum(axis=0)
        return gains
    from delift_core.selection.loops import walk

    columns = by_columns(kernel)
    assert isinstance(columns, SparseColumns)
    walk(columns.starts, columns.rows, columns.entries, order, np.zeros(kernel.shape[0]), gains)
    return gains


def residual_gains(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """What each sample would still add to the chosen set: (n,) float64, 0 for the chosen ones.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        chosen: (k,) positions, any order.
    """
    return gains_above(kernel, covered(kernel, chosen))


def gains_above(kernel: Kernel, cover: np.ndarray) -> np.ndarray:
    """What each sample would add where the rows are covered by `cover` (r,) already: (n,) float64."""
    gains = np.zeros(kernel.shape[1])
    if isinstance(kernel, np.ndarray):
        for block in row_blocks(*kernel.shape):
            gains += np.maximum(kernel[block] - cover[block, None], 0).sum(axis=0)
        return gains
    from delift_core.selection.loops import add_gains

    add_gains(kernel.indptr, kernel.indices, kernel.data, cover, gains)
    return gains
