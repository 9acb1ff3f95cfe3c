"""The two forms of a kernel, dense and sparse, and how both are read; what is above does not know which it has.

A kernel is (r, n): row i is a represented row (what is to be helped), column j a selectable sample (what helps), entry
s_ij >= 0 in units of the metric. It does not know which objective the rows express; see `objectives`. Dense is a numpy
array; sparse is a scipy csr_array, in which an absent entry is 0: no help. Large dense kernels are walked in blocks of
rows, so that no working copy of a whole kernel is made.
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
_RESIDUAL_COPY_BYTES = 8  # the residual kernel, and the optimiser's copy of it
_SPARSE_COPY_BYTES = 16  # an entry and its row, and room for scipy to sort them


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that walk `rows` rows of `columns` entries a few million entries at a time."""
    step = max(1, _BLOCK_ENTRIES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def as_kernel(kernel: Kernel) -> Kernel:
    """The kernel as C-contiguous float32 or as a csr_array of float32 in canonical form, copied only when it is not
    that already.

    submodlib reads the buffer of an array as C-contiguous whatever its strides are, so a transposed view would be
    answered as if it had not been transposed: every kernel passes through here first.

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
    # Written so that NaN, which compares false with everything, is refused as well.
    if entries.size and not (entries.min() >= 0 and entries.max() < np.inf):
        raise SelectionError("A kernel must hold finite numbers >= 0: pass utilities through represented_kernel first.")
    return form


def as_canonical(matrix: Any) -> csr_array:
    """A sparse matrix as a csr_array of float32 with sorted columns, each entry once, and indices as small as may be;
    the same one if it is that."""
    form = csr_array(matrix, dtype=np.float32)
    small = get_index_dtype(maxval=max(*form.shape, form.nnz))
    if form.indices.dtype != small or form.indptr.dtype != small:  # loops over them take as long as the memory does
        form = csr_array((form.data, form.indices.astype(small), form.indptr.astype(small)), shape=form.shape)
    if not form.has_canonical_format:
        form = form.copy()  # its arrays may be the caller's
        form.sum_duplicates()
    return form


def row_best(kernel: Kernel) -> np.ndarray:
    """The largest entry of each row, 0 where it has none above: (r,) float64. NaN counts as no help."""
    return _best(kernel, axis=1)


def column_best(kernel: Kernel) -> np.ndarray:
    """The largest entry of each column, 0 where it has none above: (n,) float64. NaN counts as no help."""
    return _best(kernel, axis=0)


def _best(kernel: Kernel, *, axis: int) -> np.ndarray:
    if isinstance(kernel, np.ndarray):
        dense: np.ndarray = np.fmax(np.fmax.reduce(kernel, axis=axis), 0).astype(np.float64)
        return dense
    sparse: np.ndarray = np.fmax(kernel.nanmax(axis=axis).toarray().astype(np.float64).ravel(), 0)
    return sparse


def column_sums(kernel: Kernel) -> np.ndarray:
    """What each column holds together: (n,) float64."""
    if isinstance(kernel, np.ndarray):
        sums: np.ndarray = kernel.sum(axis=0, dtype=np.float64)
        return sums
    return np.bincount(kernel.indices, weights=kernel.data, minlength=kernel.shape[1])


def column_of(kernel: Kernel, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows in which a column has something, ascending, and how much. For many columns see `by_columns`."""
    if isinstance(kernel, np.ndarray):
        rows = np.flatnonzero(kernel[:, position])
        return rows, kernel[rows, position]
    at = np.flatnonzero(kernel.indices == position)
    return np.searchsorted(kernel.indptr, at, side="right") - 1, kernel.data[at]


@dataclass(frozen=True, slots=True)
class DenseColumns:
    """A dense kernel by columns: `entries` is (n, r), one line a column."""

    entries: np.ndarray

    @property
    def height(self) -> int:
        """r, the number of rows."""
        return int(self.entries.shape[1])

    def column(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows in which a column has something, ascending, and how much."""
        entries = self.entries[position]
        rows = np.flatnonzero(entries)
        return rows, entries[rows]

    def gain(self, position: int, cover: np.ndarray) -> float:
        """What a column has above `cover` (r,)."""
        return float(np.maximum(self.entries[position] - cover, 0).sum(dtype=np.float64))

    def lift(self, position: int, cover: np.ndarray) -> None:
        """Raises `cover` by a column."""
        np.maximum(cover, self.entries[position], out=cover)


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """A sparse kernel of `height` rows by columns, as the arrays of a csc_array."""

    height: int
    starts: np.ndarray
    rows: np.ndarray
    entries: np.ndarray

    def column(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows in which a column has something, ascending, and how much."""
        within = slice(self.starts[position], self.starts[position + 1])
        return self.rows[within], self.entries[within]

    def gain(self, position: int, cover: np.ndarray) -> float:
        """What a column has above `cover` (r,)."""
        rows, entries = self.column(position)
        return float(np.maximum(entries - cover[rows], 0).sum(dtype=np.float64))

    def lift(self, position: int, cover: np.ndarray) -> None:
        """Raises `cover` by a column."""
        rows, entries = self.column(position)
        cover[rows] = np.maximum(cover[rows], entries)


Columns = DenseColumns | SparseColumns


def by_columns(kernel: Kernel) -> Columns:
    """A kernel turned so that its columns are quick to read: a copy as large as the kernel.

    Raises:
        SelectionError: the copy does not fit into memory.
    """
    if isinstance(kernel, np.ndarray):
        ensure_fits(kernel.shape[0], kernel.shape[1], _DENSE_COPY_BYTES)
        return DenseColumns(np.ascontiguousarray(kernel.T))
    ensure_fits(kernel.shape[0], kernel.shape[1], _SPARSE_COPY_BYTES, entries=kernel.nnz)
    turned = kernel.tocsc()
    return SparseColumns(turned.shape[0], turned.indptr, turned.indices, turned.data)


def above(kernel: Kernel, columns: np.ndarray, cover: np.ndarray) -> Kernel:
    """What some columns have above `cover` (r,), as a kernel of its own: (r, len(columns)).

    Raises:
        SelectionError: it does not fit into memory.
    """
    if isinstance(kernel, np.ndarray):
        ensure_fits(kernel.shape[0], len(columns), _RESIDUAL_COPY_BYTES)
        part: np.ndarray = kernel[:, columns] - cover[:, None].astype(kernel.dtype)
        return np.maximum(part, 0, out=part)
    ensure_fits(kernel.shape[0], kernel.shape[1], _SPARSE_COPY_BYTES, entries=kernel.nnz)
    some = kernel[:, columns]
    some.data = np.maximum(some.data - np.repeat(cover, np.diff(some.indptr)).astype(some.dtype), 0)
    some.eliminate_zeros()
    return some


def magic_number(kernel: Kernel) -> float:
    """The m with which (s + m) - m rounds every entry s of the kernel to its grid (Knuth, TAOCP 2, 4.2.2)."""
    total = float(row_best(kernel).sum())
    if total == 0:
        return 0.0
    return 1.5 * 2.0 ** (math.ceil(math.log2(total)) + 1)
