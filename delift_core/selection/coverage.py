"""Facility Location on a represented kernel: coverage, value and gains, exactly.

A kernel here is (r, n): row i is a represented row (what is to be helped), column j a selectable sample (what helps),
entry s_ij >= 0 in units of the metric. f(A) = sum_i max_{j in A} s_ij, and f of the empty set is 0. This module does
not know which objective the rows express; see `objectives`. Sums are float64 whatever the kernel's dtype, and large
kernels are walked in blocks of rows, so that no working copy of a whole kernel is made.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from delift_core.errors import SelectionError

_BLOCK_ENTRIES = 4_000_000


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that walk `rows` rows of `columns` entries a few million entries at a time."""
    step = max(1, _BLOCK_ENTRIES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def as_kernel(kernel: np.ndarray) -> np.ndarray:
    """The kernel as C-contiguous float32, copied only when it is not that already.

    submodlib reads the buffer of an array as C-contiguous whatever its strides are, so a transposed view would be
    answered as if it had not been transposed: every kernel passes through here first.

    Raises:
        SelectionError: not a matrix with at least one row and column, or entries that are negative, NaN or infinite.
    """
    if kernel.ndim != 2 or 0 in kernel.shape:
        raise SelectionError(f"A kernel must be a matrix with rows and columns, not of shape {kernel.shape}.")
    dense = np.ascontiguousarray(kernel, dtype=np.float32)
    # Written so that NaN, which compares false with everything, is refused as well.
    if not (dense.min() >= 0 and dense.max() < np.inf):
        raise SelectionError("A kernel must hold finite numbers >= 0: pass utilities through represented_kernel first.")
    return dense


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


def covered(kernel: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How well each represented row is covered: (r,) float64, max over chosen columns, 0 when nothing is chosen."""
    cover = np.zeros(kernel.shape[0])
    if len(chosen):
        for block in row_blocks(kernel.shape[0], len(chosen)):
            cover[block] = kernel[block][:, chosen].max(axis=1)
    return cover


def value(kernel: np.ndarray, chosen: np.ndarray) -> float:
    """The objective f(chosen) = sum of `covered`."""
    return float(covered(kernel, chosen).sum())


def gains_along(kernel: np.ndarray, order: np.ndarray) -> np.ndarray:
    """What each sample adds to those before it in `order`: (k,) float64; the first m gains sum to f(order[:m])."""
    gains = np.zeros(len(order))
    if len(order):
        for block in row_blocks(kernel.shape[0], len(order)):
            best_so_far = np.maximum.accumulate(kernel[block][:, order].astype(np.float64), axis=1)
            gains += np.diff(best_so_far, axis=1, prepend=0.0).sum(axis=0)
    return gains
