"""Dense and sparse kernels, with operations that work on either form.

A kernel is (r, n): row i is a represented row (helped), column j a selectable sample (helping), and s_ij >= 0 is in
units of the metric. Which objective the rows express is the business of `objectives`. A dense kernel is a numpy array;
a sparse one is a scipy csr_array, in which an absent entry is 0. Large dense kernels are processed in blocks of rows,
so that no temporary copy of a whole kernel is made.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array, get_index_dtype

from delift_core.errors import SelectionError
from delift_core.system.memory import ensure_fits

Kernel: TypeAlias = np.ndarray | csr_array

_BLOCK_ENTRIES = 4_000_000
_DENSE_COPY_BYTES = 4
_SPARSE_COPY_BYTES = 16  # an entry, its row index, and scipy's buffers to sort them


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` rows of `columns` entries each, a few million entries per slice."""
    step = max(1, _BLOCK_ENTRIES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def as_kernel(kernel: Kernel) -> Kernel:
    """The kernel as C-contiguous float32, or as a csr_array of float32 in canonical form; copied only if it is neither.

    Every kernel passes through here, since submodlib ignores strides: it would read a transposed view as if it had not
    been transposed.

    Raises:
        SelectionError: not a matrix with at least one row and column, or entries that are negative, NaN or infinite.
    """
    if kernel.ndim != 2 or 0 in kernel.shape:
        raise SelectionError(f"A kernel must be a matrix with rows and columns, not of shape {kernel.shape}.")
    if isinstance(kernel, np.ndarray):
        form: Kernel = np.ascontiguousarray(kernel, dtype=np.float32)
        entries = form
    else:
        form = as_canonical(kernel)
        entries = form.data
    # All comparisons with NaN are false, so this form refuses NaN too.
    if entries.size and not (entries.min() >= 0 and entries.max() < np.inf):
        raise SelectionError("A kernel must hold finite numbers >= 0: pass utilities through represented_kernel first.")
    return form


def as_canonical(matrix: Any) -> csr_array:
    """A sparse matrix as a csr_array of float32 with sorted, unique columns and the smallest index type; copied only if
    it is not that already."""
    form = csr_array(matrix, dtype=np.float32)
    small = get_index_dtype(maxval=max(*form.shape, form.nnz))
    if form.indices.dtype != small or form.indptr.dtype != small:  # memory traffic bounds the loops over them
        form = csr_array((form.data, form.indices.astype(small), form.indptr.astype(small)), shape=form.shape)
    if not form.has_canonical_format:
        form = form.copy()  # the arrays may belong to the caller
        form.sum_duplicates()
    return form


def row_best(kernel: Kernel) -> np.ndarray:
    """The largest entry of each row, at least 0: (r,) float64. NaN counts as 0."""
    return _best(kernel, axis=1)


def column_best(kernel: Kernel) -> np.ndarray:
    """The largest entry of each column, at least 0: (n,) float64. NaN counts as 0."""
    return _best(kernel, axis=0)


def _best(kernel: Kernel, *, axis: int) -> np.ndarray:
    if isinstance(kernel, np.ndarray):
        dense: np.ndarray = np.fmax(np.fmax.reduce(kernel, axis=axis), 0).astype(np.float64)
        return dense
    sparse: np.ndarray = np.fmax(kernel.nanmax(axis=axis).toarray().astype(np.float64).ravel(), 0)
    return sparse


def column_sums(kernel: Kernel) -> np.ndarray:
    """The sum of each column: (n,) float64."""
    if isinstance(kernel, np.ndarray):
        sums: np.ndarray = kernel.sum(axis=0, dtype=np.float64)
        return sums
    return np.bincount(kernel.indices, weights=kernel.data, minlength=kernel.shape[1])


def column_of(kernel: Kernel, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The nonzero rows of a column, ascending, and its entries there: (m,) each. For many columns use `by_columns`."""
    if isinstance(kernel, np.ndarray):
        rows = np.flatnonzero(kernel[:, position])
        return rows, kernel[rows, position]
    at = np.flatnonzero(kernel.indices == position)
    return np.searchsorted(kernel.indptr, at, side="right") - 1, kernel.data[at]


@dataclass(frozen=True, slots=True)
class DenseColumns:
    """A dense kernel stored by columns: `entries` is (n, r) float32."""

    entries: np.ndarray

    @property
    def row_count(self) -> int:
        """r, the number of rows."""
        return int(self.entries.shape[1])

    def column(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """The nonzero rows of a column, ascending, and its entries there: (m,) each."""
        entries = self.entries[position]
        rows = np.flatnonzero(entries)
        return rows, entries[rows]

    def gain(self, position: int, cover: np.ndarray) -> float:
        """The gain of a column over the coverage `cover` (r,)."""
        return float(np.maximum(self.entries[position] - cover, 0).sum(dtype=np.float64))

    def raise_cover(self, position: int, cover: np.ndarray) -> None:
        """Raises `cover` (r,) in place to at least the column's entries."""
        np.maximum(cover, self.entries[position], out=cover)


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """A sparse kernel of `row_count` rows stored by columns, as the three arrays of a csc_array."""

    row_count: int
    starts: np.ndarray
    rows: np.ndarray
    entries: np.ndarray

    def column(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """The nonzero rows of a column, ascending, and its entries there: (m,) each."""
        part = slice(self.starts[position], self.starts[position + 1])
        return self.rows[part], self.entries[part]

    def gain(self, position: int, cover: np.ndarray) -> float:
        """The gain of a column over the coverage `cover` (r,)."""
        rows, entries = self.column(position)
        return float(np.maximum(entries - cover[rows], 0).sum(dtype=np.float64))

    def raise_cover(self, position: int, cover: np.ndarray) -> None:
        """Raises `cover` (r,) in place to at least the column's entries."""
        rows, entries = self.column(position)
        cover[rows] = np.maximum(cover[rows], entries)


Columns = DenseColumns | SparseColumns


def by_columns(kernel: Kernel) -> Columns:
    """A copy of a kernel stored by columns, for fast access to them.

    Raises:
        SelectionError: the copy does not fit into memory.
    """
    if isinstance(kernel, np.ndarray):
        ensure_fits(kernel.shape[0], kernel.shape[1], _DENSE_COPY_BYTES)
        return DenseColumns(np.ascontiguousarray(kernel.T))
    ensure_fits(kernel.shape[0], kernel.shape[1], _SPARSE_COPY_BYTES, entries=kernel.nnz)
    columns = kernel.tocsc()
    return SparseColumns(columns.shape[0], columns.indptr, columns.indices, columns.data)


def rounding_constant(kernel: Kernel) -> float:
    """The m with which (s + m) - m rounds every entry s of a kernel to a grid (Knuth, TAOCP 2, 4.2.2).

    The grid spacing is about 2**-51 of the largest objective value, which bounds every gain. So all gains are below
    2**53 grid units, and float64 sums and differences of them are exact, in any order and on any device: every engine
    breaks the same ties the same way. The rounding error is that of a single float64 sum of that size.
    """
    total = float(row_best(kernel).sum())
    if total == 0:
        return 0.0
    return 1.5 * 2.0 ** (math.ceil(math.log2(total)) + 1)
