"""Parts of a utility matrix to draw: an order of its rows, a window in full, or blocks of a large matrix.

Row i is helped, column j helps. A matrix is dense, with NaN for unscored pairs, or a csr_array whose stored entries,
including stored zeros, are the scored ones.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import DeliftError

Matrix: TypeAlias = np.ndarray | csr_array
RowOrder = Literal["file", "gain", "similarity", "mean"]

_CLUSTER_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in some order, cut into blocks.

    Attributes:
        mean: (p, q) float64, mean of the scored cells of each block; NaN where none is scored.
        max: (p, q) float64, largest scored cell of each block; NaN where none is scored.
        scored: (p, q) int64, how many cells of each block are scored.
        row_edges: (p + 1,) int64; block a holds places row_edges[a] to row_edges[a + 1] - 1 of the order.
        col_edges: (q + 1,) int64, the same for columns.
    """

    mean: np.ndarray
    max: np.ndarray
    scored: np.ndarray
    row_edges: np.ndarray
    col_edges: np.ndarray


def scored_values(utility: Matrix) -> np.ndarray:
    """(m,) the scored entries, row by row."""
    values: np.ndarray = utility.data if isinstance(utility, csr_array) else utility
    scored: np.ndarray = values[np.isfinite(values)]
    return scored


def harming_share(utility: Matrix) -> float:
    """Share in [0, 1] of the scored entries that are below 0; 0 where nothing is scored."""
    values = scored_values(utility)
    return float(np.mean(values < 0)) if values.size else 0.0


def pair_value(utility: Matrix, row: int, column: int) -> float:
    """One entry; NaN where it is not scored."""
    return float(window(utility, np.array([row]), np.array([column]))[0, 0])


def best_pair(utility: Matrix) -> tuple[int, int]:
    """Row and column of the largest scored entry, the first of equals; (0, 0) where nothing is scored."""
    if isinstance(utility, csr_array):
        if not utility.nnz:
            return 0, 0
        best = int(np.argmax(utility.data))
        return int(np.searchsorted(utility.indptr, best, side="right") - 1), int(utility.indices[best])
    if not np.isfinite(utility).any():
        return 0, 0
    row, column = divmod(int(np.nanargmax(utility)), utility.shape[1])
    return row, column


def window(utility: Matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(r, c) float32, the entries at some rows and columns, in their order; NaN = not scored.

    Args:
        rows: (r,) int64, each at most once.
        columns: (c,) int64, each at most once.
    """
    if not isinstance(utility, csr_array):
        return np.asarray(utility[np.ix_(rows, columns)], dtype=np.float32)
    part = np.full((rows.size, columns.size), np.nan, dtype=np.float32)
    at_row, at_column, values = _entries(utility, rows, columns)
    part[at_row, at_column] = values
    return part


def blocks(utility: Matrix, rows: np.ndarray, columns: np.ndarray, size: int) -> Blocks:
    """Cuts rows and columns, in their order, into at most `size` by `size` blocks of nearly equal sides.

    Args:
        utility: (n, m); a dense one may be memory-mapped and is read one band of rows at a time.
        rows: (r,) int64, each at most once.
        columns: (c,) int64, each at most once.
        size: largest number of blocks per side, >= 1.

    Raises:
        DeliftError: `size` is out of range or there are no rows or columns.
    """
    if size < 1:
        raise DeliftError(f"block count {size} is below 1; choose a larger one")
    if not rows.size or not columns.size:
        raise DeliftError(f"a matrix of shape {(rows.size, columns.size)} has no blocks; score some pairs first")
    row_edges, col_edges = _edges(rows.size, size), _edges(columns.size, size)
    if isinstance(utility, csr_array):
        return _sparse_blocks(utility, rows, columns, row_edges, col_edges)
    shape = (row_edges.size - 1, col_edges.size - 1)
    mean, largest = np.full(shape, np.nan), np.full(shape, np.nan)
    counts = np.zeros(shape, dtype=np.int64)
    for band in range(shape[0]):
        cells = np.asarray(utility[rows[row_edges[band] : row_edges[band + 1]]][:, columns], dtype=np.float64)
        scored = ~np.isnan(cells)
        counts[band] = np.add.reduceat(scored.sum(axis=0), col_edges[:-1])
        sums = np.add.reduceat(np.where(scored, cells, 0.0).sum(axis=0), col_edges[:-1])
        tops = np.maximum.reduceat(np.where(scored, cells, -np.inf).max(axis=0), col_edges[:-1])
        filled = counts[band] > 0
        mean[band, filled] = sums[filled] / counts[band, filled]
        largest[band, filled] = tops[filled]
    return Blocks(mean, largest, counts, row_edges, col_edges)


def mean_by_row(utility: Matrix) -> np.ndarray:
    """(n,) float64 mean of the scored entries of each row: how much it is helped; NaN where none is scored."""
    return _means(utility, axis=1)


def mean_by_column(utility: Matrix) -> np.ndarray:
    """(m,) float64 mean of the scored entries of each column: how much it helps; NaN where none is scored."""
    return _means(utility, axis=0)


def order_rows(utility: Matrix, by: RowOrder, gains: np.ndarray | None = None) -> np.ndarray:
    """Orders the rows of a matrix for display; in a square matrix, the columns can follow the same order.

    Args:
        utility: (n, c).
        by: "file" keeps the order, "gain" puts the largest gain first, "mean" the most-helped row first. "similarity"
            puts similar rows side by side: up to 2,000 rows the leaf order of average-linkage clustering over rows (and
            columns, when the matrix is square); beyond, the order along the first principal component of a dense
            matrix, and of a sparse one the reverse Cuthill-McKee order of its scored pairs, which brings rows that
            share pairs together.
        gains: (n,) float, needed by "gain"; NaN comes last.

    Returns:
        (n,) int64, a permutation of 0 to n - 1; equal inputs give equal orders, ties keep file order.

    Raises:
        DeliftError: `by` is "gain" and `gains` is missing or has another length.
    """
    count = int(utility.shape[0])
    if by == "gain":
        if gains is None or gains.shape != (count,):
            needed = f"ordering {count:,} rows by gain needs {count:,} gains"
            raise DeliftError(f"{needed}; make a selection on this run first")
        return _descending(gains)
    if by == "mean":
        return _descending(mean_by_row(utility))
    if by == "similarity" and count > 2:
        return _by_similarity(utility)
    return np.arange(count, dtype=np.int64)


def order_by_label(codes: np.ndarray) -> np.ndarray:
    """(n,) int64: rows of one label side by side, labels in the order of their codes, file order within."""
    return np.argsort(codes, kind="stable").astype(np.int64)


def _by_similarity(utility: Matrix) -> np.ndarray:
    count = int(utility.shape[0])
    if count <= _CLUSTER_LIMIT:
        every = np.arange(count), np.arange(utility.shape[1])
        return _leaf_order(window(utility, *every) if isinstance(utility, csr_array) else utility)
    if isinstance(utility, csr_array):
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        if utility.shape[0] != utility.shape[1]:
            return np.arange(count, dtype=np.int64)
        pattern = csr_array((np.ones(utility.nnz, dtype=np.int8), utility.indices, utility.indptr), utility.shape)
        return np.asarray(reverse_cuthill_mckee((pattern + pattern.T).tocsr(), symmetric_mode=True), dtype=np.int64)
    return _principal_order(utility)


def _entries(utility: csr_array, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stored entries at some rows and columns: places in `rows`, places in `columns`, values."""
    lengths = np.diff(utility.indptr)[rows]
    starts = np.repeat(utility.indptr[rows] - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
    at = starts + np.arange(int(lengths.sum()))
    place = np.full(utility.shape[1], -1, dtype=np.int64)
    place[columns] = np.arange(columns.size)
    at_column = place[utility.indices[at]]
    inside = at_column >= 0
    at_row = np.repeat(np.arange(rows.size), lengths)
    return at_row[inside], at_column[inside], utility.data[at][inside]


def _sparse_blocks(
    utility: csr_array, rows: np.ndarray, columns: np.ndarray, row_edges: np.ndarray, col_edges: np.ndarray
) -> Blocks:
    shape = (row_edges.size - 1, col_edges.size - 1)
    row_block = _blocks_of(rows, row_edges, utility.shape[0])
    column_block = _blocks_of(columns, col_edges, utility.shape[1])
    values, at_column = utility.data, column_block[utility.indices]
    block = np.repeat(row_block * shape[1], np.diff(utility.indptr)) + at_column
    if min(row_block.min(), column_block.min()) < 0:  # only part of the matrix
        inside = np.repeat(row_block >= 0, np.diff(utility.indptr)) & (at_column >= 0)
        values, block = values[inside], block[inside]
    counts = np.bincount(block, minlength=shape[0] * shape[1])
    sums = np.bincount(block, weights=values, minlength=shape[0] * shape[1])
    tops = np.full(shape[0] * shape[1], -np.inf, dtype=values.dtype)  # of one type, ten times faster
    np.maximum.at(tops, block, values)
    filled = counts > 0
    mean = np.where(filled, sums / np.maximum(counts, 1), np.nan)
    largest = np.where(filled, tops, np.nan).astype(np.float64)
    return Blocks(mean.reshape(shape), largest.reshape(shape), counts.reshape(shape), row_edges, col_edges)


def _blocks_of(places: np.ndarray, edges: np.ndarray, count: int) -> np.ndarray:
    """(count,) int32, the block of each row (or column) of the matrix; -1 if it is not shown."""
    block = np.full(count, -1, dtype=np.int32)
    block[places] = np.repeat(np.arange(edges.size - 1, dtype=np.int32), np.diff(edges))
    return block


def _edges(side: int, size: int) -> np.ndarray:
    return np.asarray(np.linspace(0, side, min(side, size) + 1).round(), dtype=np.int64)


def _means(utility: Matrix, axis: int) -> np.ndarray:
    if isinstance(utility, csr_array):
        lengths = np.diff(utility.indptr)
        at = np.repeat(np.arange(utility.shape[0]), lengths) if axis else utility.indices
        counts = np.bincount(at, minlength=utility.shape[1 - axis])
        sums = np.bincount(at, weights=utility.data, minlength=utility.shape[1 - axis])
    else:
        scored = ~np.isnan(utility)
        counts = scored.sum(axis=axis)
        sums = np.where(scored, utility, 0.0).sum(axis=axis, dtype=np.float64)
    means: np.ndarray = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means


def _descending(values: np.ndarray) -> np.ndarray:
    return np.argsort(-np.nan_to_num(values.astype(np.float64), nan=-np.inf), kind="stable").astype(np.int64)


def _profiles(utility: np.ndarray, most: int | None = None) -> np.ndarray:
    """Features of rows for their similarity: how they are helped and, in a square matrix, how they help; unscored pairs
    count as 0."""
    rows, columns = utility.shape
    take = np.arange(columns) if most is None or columns <= most else np.linspace(0, columns - 1, most).astype(int)
    parts = [utility[:, take], utility[take].T] if rows == columns else [utility[:, take]]
    return np.nan_to_num(np.concatenate(parts, axis=1).astype(np.float64))


def _leaf_order(utility: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    profiles = _profiles(utility)
    norms = np.einsum("ij,ij->i", profiles, profiles)
    squared = norms[:, None] + norms[None, :] - 2 * profiles @ profiles.T
    distances = np.sqrt(np.maximum(squared, 0.0))
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), method="average")
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _principal_order(utility: np.ndarray, columns: int = 256, rounds: int = 30) -> np.ndarray:
    profiles = _profiles(utility, columns)
    profiles = profiles - profiles.mean(axis=0)
    axis = np.ones(profiles.shape[1]) + np.linspace(0, 1, profiles.shape[1])
    for _ in range(rounds):
        axis = profiles.T @ (profiles @ axis)
        length = float(np.linalg.norm(axis))
        if length == 0.0:
            break
        axis = axis / length
    return np.argsort(profiles @ axis, kind="stable").astype(np.int64)
