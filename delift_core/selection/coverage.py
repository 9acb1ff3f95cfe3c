"""Facility Location on a represented kernel: coverage, value, gains, and the comparison of two subsets.

f(A) = sum_i max_{j in A} s_ij over a kernel (r, n), see `kernels`; f of the empty set is 0. Sums are in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, SparseColumns, by_columns


def as_positions(positions: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """Validates positions in a pool of n samples: (k,) int64.

    Raises:
        SelectionError: a position is not in 0..n-1, or occurs twice.
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
    """The chosen column that covers each row best, and its entry there; the earlier in `chosen` wins a tie.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        chosen: (k,) int64 positions.

    Returns:
        (index, cover): (r,) int64 indices into `chosen`, 0 for uncovered rows; and (r,) float64.
    """
    from delift_core.selection.loops import best_of_dense, best_of_sparse

    chosen = np.asarray(chosen, dtype=np.int64)
    index, cover = np.zeros(kernel.shape[0], dtype=np.int64), np.zeros(kernel.shape[0])
    if isinstance(kernel, np.ndarray):
        best_of_dense(np.ascontiguousarray(kernel), chosen, index, cover)
    else:
        best_of_sparse(kernel.indptr, kernel.indices, kernel.data, ranks(chosen, kernel.shape[1]), index, cover)
    return index, cover


def ranks(chosen: np.ndarray, n: int) -> np.ndarray:
    """The index in `chosen` of each of n positions, -1 for those not chosen: (n,) int64."""
    rank = np.full(n, -1, dtype=np.int64)
    rank[chosen] = np.arange(len(chosen))
    return rank


def covered(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """The coverage of each represented row: (r,) float64, its largest entry in the chosen columns, at least 0."""
    from delift_core.selection.loops import cover_sparse

    if isinstance(kernel, np.ndarray):
        return best_chosen(kernel, chosen)[1]
    is_chosen, cover = np.zeros(kernel.shape[1], dtype=bool), np.zeros(kernel.shape[0])
    is_chosen[np.asarray(chosen, dtype=np.int64)] = True
    cover_sparse(kernel.indptr, kernel.indices, kernel.data, is_chosen, cover)
    return cover


def value(kernel: Kernel, chosen: np.ndarray) -> float:
    """The objective f(chosen) = sum of `covered`."""
    return float(covered(kernel, chosen).sum())


def gains_along(kernel: Kernel, order: np.ndarray) -> np.ndarray:
    """The gain of each sample over those before it in `order`: (k,) float64; the first m sum to f(order[:m])."""
    along: np.ndarray = gains_along_each(kernel, np.asarray(order, dtype=np.int64)[None, :])[0]
    return along


def gains_along_each(kernel: Kernel, orders: np.ndarray) -> np.ndarray:
    """As `gains_along` for each of d orders (d, k) int64: (d, k) float64."""
    from delift_core.selection.loops import add_gains_along_dense, add_gains_along_sparse

    gains = np.zeros(orders.shape)
    if isinstance(kernel, np.ndarray):
        add_gains_along_dense(np.ascontiguousarray(kernel), orders, gains)
        return gains
    columns = by_columns(kernel)
    assert isinstance(columns, SparseColumns)
    for order, along in zip(orders, gains, strict=True):
        add_gains_along_sparse(columns.starts, columns.rows, columns.entries, order, np.zeros(kernel.shape[0]), along)
    return gains


def values(kernel: Kernel, subsets: Sequence[np.ndarray]) -> np.ndarray:
    """The objectives of several subsets in one pass over the kernel: (len(subsets),) float64."""
    from delift_core.selection.loops import values_dense, values_sparse

    members = np.zeros((kernel.shape[1], len(subsets)), dtype=np.float32)
    for draw, subset in enumerate(subsets):
        members[subset, draw] = 1
    totals = np.zeros(len(subsets))
    if isinstance(kernel, np.ndarray):
        values_dense(np.ascontiguousarray(kernel), members, totals)
    else:
        values_sparse(kernel.indptr, kernel.indices, kernel.data, members, totals)
    return totals


def residual_gains(kernel: Kernel, chosen: np.ndarray) -> np.ndarray:
    """The gain of adding each sample to the chosen set: (n,) float64, 0 for chosen samples.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        chosen: (k,) positions, any order.
    """
    return gains_above(kernel, covered(kernel, chosen))


def gains_above(kernel: Kernel, cover: np.ndarray) -> np.ndarray:
    """The gain of each sample over a coverage `cover` (r,) of the rows: (n,) float64."""
    from delift_core.selection.loops import add_gains_dense, add_gains_sparse

    gains = np.zeros(kernel.shape[1])
    if isinstance(kernel, np.ndarray):
        add_gains_dense(np.ascontiguousarray(kernel), cover, gains)
    else:
        add_gains_sparse(kernel.indptr, kernel.indices, kernel.data, cover, gains)
    return gains


def knee(gains: np.ndarray) -> int:
    """The number of rows at which the cumulative gain is furthest above the chord from its start to its end.

    Both axes are scaled to [0, 1], as in Satopaa et al. 2011, "Finding a Kneedle in a Haystack", without smoothing. If
    gains never rise, as in a greedy order, these are the rows that gain more than the mean.

    Args:
        gains: (n,) float, marginal gains in the order of picking, >= 0.

    Returns:
        0 to n; 0 if the curve is nowhere above the chord.
    """
    objective = np.concatenate([[0.0], np.cumsum(gains, dtype=np.float64)])
    if gains.size == 0 or objective[-1] <= 0:
        return 0
    above = objective / objective[-1] - np.arange(objective.size) / gains.size
    best = int(np.argmax(above))
    return best if above[best] > 1e-9 else 0


Side = Literal["both", "only-first", "only-second", "neither"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two subsets of a pool of n samples: positions in both and in one only, int64, ascending."""

    n: int
    both: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray

    @property
    def overlap(self) -> float:
        """Jaccard index of the two subsets, in [0, 1]; 1 for two empty ones."""
        union = len(self.both) + len(self.only_first) + len(self.only_second)
        return len(self.both) / union if union else 1.0

    @property
    def expected_overlap(self) -> float:
        """The Jaccard index of two random subsets of these sizes, at their expected intersection."""
        first, second = len(self.both) + len(self.only_first), len(self.both) + len(self.only_second)
        common = first * second / self.n if self.n else 0.0
        return common / (first + second - common) if first + second else 1.0

    @property
    def sides(self) -> tuple[Side, ...]:
        """(n,) which of the subsets each sample is in."""
        sides: list[Side] = ["neither"] * self.n
        parts: Sequence[tuple[Side, np.ndarray]] = (
            ("both", self.both),
            ("only-first", self.only_first),
            ("only-second", self.only_second),
        )
        for side, positions in parts:
            for position in positions.tolist():
                sides[position] = side
        return tuple(sides)


def compare(n: int, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compares two subsets of a pool.

    Args:
        n: size of the pool.
        first, second: positions, each named once, in any order.
    """
    return Comparison(
        n,
        both=np.intersect1d(first, second).astype(np.int64),
        only_first=np.setdiff1d(first, second).astype(np.int64),
        only_second=np.setdiff1d(second, first).astype(np.int64),
    )
