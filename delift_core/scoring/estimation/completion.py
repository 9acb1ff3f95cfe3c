"""Estimates of pairs that were not scored, from those that were: a Gaussian process over the utility matrix.

The utility of row i helped by column j is modelled, in units of the row's own spread, as

    U_ij / spread_i = mean + row_i + column_j + a r_i' c_j + r_i' W c_j + p_i' c_j + noise_ij

with the samples' cues r_i and c_j (see `cues`), a likeness r_i' c_j that counts by itself, W a matrix common to all
rows and p_i a row's own taste for helpers, all Gaussian. Pairs that are alike are noisier: among them are the few that
help far more than any smooth model expects. This is the product-kernel process for pairs of Bonilla et al. (2007,
"Kernel multi-task learning using task-specific features"), in its weight-space form: the posterior mean needs sums over
the measured pairs only, so that nothing of rows x columns is ever held. It is itself such a sum, so that its largest
entries are a search for largest inner products.

Knows nothing of where pairs come from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
from scipy.linalg import cho_factor, cho_solve

_DIRECTIONS = 16
_BLOCK = 65_536  # pairs


class SharedTerms:
    """(noise + row effects + F F')^-1 for the features F (m, q + 1) of what pairs share."""

    def __init__(
        self,
        cues: tuple[np.ndarray, np.ndarray],
        pairs: tuple[np.ndarray, np.ndarray],
        likeness: np.ndarray,
        noise: np.ndarray,
        variances: tuple[float, float, float],
    ) -> None:
        """Args:
        cues: of rows (r, d) and of columns (c, d), float32.
        pairs: (m,) rows and columns.
        likeness, noise: (m,) of the pairs; noise is its variance, above 0.
        variances: of a row's effect, of the likeness's weight, and of each entry of W.
        """
        self._left, self._right = (_leading(one) for one in cues)
        self._rows, self._columns = pairs
        of_row, of_likeness, self._common = variances
        self._likeness, self._noise = np.sqrt(of_likeness) * likeness, noise
        self._shrunk = of_row / (1 + of_row * np.bincount(self._rows, 1 / noise, minlength=len(self._left)))
        inner = self._products()
        self._factor = cho_factor(inner + np.eye(len(inner)))

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """(m,) the approximate inverse times a vector (m,)."""
        first = self._without_shared(vector)
        shape = self._left.shape[1], self._right.shape[1]
        sums = weighted_sums(len(self._left), self._rows, self._columns, first, self._right)
        common = np.sqrt(self._common) * (self._left.T @ sums)
        weights = cho_solve(self._factor, np.append(common.ravel(), first @ self._likeness))
        left = self._left @ (np.sqrt(self._common) * weights[:-1].reshape(shape)).astype(np.float32)
        shared = inner_products(self._rows, self._columns, left, self._right) + weights[-1] * self._likeness
        inverse: np.ndarray = first - self._without_shared(shared)
        return inverse

    def _without_shared(self, vector: np.ndarray) -> np.ndarray:
        """(noise + row effects)^-1 times a vector."""
        scaled = vector / self._noise
        of_rows = self._shrunk * np.bincount(self._rows, scaled, minlength=len(self._shrunk))
        result: np.ndarray = scaled - of_rows[self._rows] / self._noise
        return result

    def _products(self) -> np.ndarray:
        """(q + 1, q + 1) float64: F' (noise + row effects)^-1 F."""
        total = np.zeros((self._left.shape[1] * self._right.shape[1] + 1,) * 2)
        for start in range(0, len(self._rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            right = self._right[self._columns[block]]
            features = self._features(self._left[self._rows[block]], right, self._likeness[block])
            features /= np.sqrt(self._noise[block, None])
            total += features.T @ features
        sums = weighted_sums(len(self._left), self._rows, self._columns, 1 / self._noise, self._right)
        alike = np.bincount(self._rows, self._likeness / self._noise, minlength=len(self._left))
        for start in range(0, len(self._left), _BLOCK):
            some = slice(start, start + _BLOCK)
            features = self._features(self._left[some], sums[some], alike[some]) * np.sqrt(self._shrunk[some, None])
            total -= features.T @ features
        return total

    def _features(self, left: np.ndarray, right: np.ndarray, likeness: np.ndarray) -> np.ndarray:
        """(b, q + 1) float32: every product of a row's and a column's directions, and the likeness."""
        each = (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
        features: np.ndarray = np.column_stack([np.sqrt(self._common) * each, likeness]).astype(np.float32)
        return features


def _leading(cues: np.ndarray) -> np.ndarray:
    """(n, 16 or fewer) float32: cues along their leading directions."""
    _, directions = np.linalg.eigh((cues.T @ cues).astype(np.float64))
    leading: np.ndarray = np.ascontiguousarray(cues @ directions[:, ::-1][:, :_DIRECTIONS].astype(np.float32))
    return leading


_Loop = TypeVar("_Loop", bound=Callable[..., object])
_ANY_ORDER = {"reassoc", "contract", "nsz"}


def _compiled(loop: _Loop) -> _Loop:
    quick: Any
    try:
        quick = numba.njit(nogil=True, cache=True, fastmath=_ANY_ORDER)(loop)
    except RuntimeError:  # no folder can be written at all: compiled anew in each process
        quick = numba.njit(nogil=True, fastmath=_ANY_ORDER)(loop)
    compiled: _Loop = quick
    return compiled


@_compiled
def weighted_sums(
    count: int, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """(count, d) float32: for each row the sum of its pairs' weights (m,) times the vectors (c, d) of their columns."""
    width = vectors.shape[1]
    sums = np.zeros((count, width), dtype=np.float32)
    for pair in range(len(rows)):
        row, column, weight = rows[pair], columns[pair], np.float32(weights[pair])
        for part in range(width):
            sums[row, part] += weight * vectors[column, part]
    return sums


@_compiled
def inner_products(rows: np.ndarray, columns: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m,) float32 left_i . right_j of each pair (m,); left (r, d) and right (c, d) are float32."""
    width = left.shape[1]
    products = np.empty(len(rows), dtype=np.float32)
    for pair in range(len(rows)):
        row, column, total = rows[pair], columns[pair], np.float32(0)
        for part in range(width):
            total += left[row, part] * right[column, part]
        products[pair] = total
    return products


_ITERATIONS = 100  # far more than it takes: 20 to 40
_TOLERANCE = 1e-6
_PRIOR_ROWS = 5.0  # pairs that the common spread counts as, beside a row's own


@dataclass(frozen=True, slots=True)
class Variances:
    """Shares of each term's variance, set where error and retention were best on the rows of benchmarks/retention."""

    row: float = 0.35
    likeness: float = 1.0
    column: float = 0.02
    common: float = 0.5
    taste: float = 0.2
    noise: float = 0.15
    noise_likeness: float = 3.0  # by how much the logarithm of the noise variance grows with likeness


@dataclass(frozen=True, slots=True)
class Surface:
    """A matrix in parts: entry ij is left_i . right_j; (r, d) and (c, d) float32."""

    left: np.ndarray
    right: np.ndarray

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Entries at positions of any one shape (or shapes that broadcast), float32."""
        rows, columns = np.broadcast_arrays(rows, columns)
        flat = inner_products(rows.ravel(), columns.ravel(), self.left, self.right)
        entries: np.ndarray = flat.reshape(rows.shape)
        return entries

    def block(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, c) float32: all entries of some rows."""
        entries: np.ndarray = self.left[rows] @ self.right.T
        return entries


class Completion:
    """A fitted model of one matrix, the same for the same input; `mean` gives its estimates."""

    def __init__(
        self,
        row_cues: np.ndarray,
        column_cues: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        variances: Variances | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        """Args:
        row_cues: (r, d); column_cues: (c, d): cues of both sides, inner products of at most 1.
        rows, columns: (m,) positions of the measured pairs, each pair once.
        values: (m,) their utilities, finite.
        weights: (m,) float64 `weights` of a fit to the same, where there was one.
        """
        self._row_cues = np.ascontiguousarray(row_cues, dtype=np.float32)
        self._column_cues = np.ascontiguousarray(column_cues, dtype=np.float32)
        self._rows, self._columns = rows, columns
        self._variances = variances or Variances()
        self.spread = row_spreads(len(row_cues), rows, values)
        scaled = values / self.spread[rows]
        self._mean = float(scaled.mean())
        self._unit = max(float(scaled.std()), float(np.finfo(np.float32).tiny))
        self._data = (scaled - self._mean) / self._unit
        self._likeness = self.likeness(rows, columns)
        self._noise = self._variances.noise * np.exp(self._variances.noise_likeness * self._likeness)
        self.weights = self._solve(self._data) if weights is None else weights

    def likeness(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(m,) inner products of the cues of pairs."""
        alike: np.ndarray = inner_products(rows, columns, self._row_cues, self._column_cues)
        return alike

    def likeness_block(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, c) the same for all pairs of some rows."""
        alike: np.ndarray = self._row_cues[rows] @ self._column_cues.T
        return alike

    def mean(self) -> Surface:
        """The posterior mean."""
        return self._surface(*self._explained(self.weights))

    def with_likeness(self, weight: float, about: float) -> Surface:
        """The posterior mean plus `weight` times (likeness - `about`), the latter in units of the row's spread."""
        mean, by_likeness = self.mean(), (weight * self.spread).astype(np.float32)
        width = self._row_cues.shape[1]
        mean.left[:, :width] += by_likeness[:, None] * self._row_cues  # where the columns' cues and ones are
        mean.left[:, width] -= about * by_likeness
        return mean

    def _surface(self, row: np.ndarray, column: np.ndarray, left: np.ndarray) -> Surface:
        """spread_i * (mean + row_i + column_j + left_i . cue_j), as one inner product."""
        rows = np.column_stack([self._unit * left, self._mean + self._unit * row, np.full(len(row), self._unit)])
        columns = np.column_stack([self._column_cues, np.ones(len(column)), column])
        return Surface((self.spread[:, None] * rows).astype(np.float32), columns.astype(np.float32))

    def _explained(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The covariance with every pair, times the weights of the measured ones: row, column and left parts."""
        v, counts = self._variances, (len(self._row_cues), len(self._column_cues))
        tastes = weighted_sums(counts[0], self._rows, self._columns, weights, self._column_cues)
        left = v.common * (self._row_cues @ (self._row_cues.T @ tastes)) + v.taste * tastes
        left += np.float32(v.likeness * float(weights @ self._likeness)) * self._row_cues
        of_rows = np.bincount(self._rows, weights, minlength=counts[0])
        return v.row * of_rows, v.column * np.bincount(self._columns, weights, minlength=counts[1]), left

    def _at(self, row: np.ndarray, column: np.ndarray, left: np.ndarray) -> np.ndarray:
        inner = inner_products(self._rows, self._columns, left, self._column_cues)
        total: np.ndarray = row[self._rows] + column[self._columns] + inner
        return total

    def _solve(self, target: np.ndarray) -> np.ndarray:
        """Conjugate gradients for (covariance of the measured pairs + noise) x = target."""
        v = self._variances
        approximate = SharedTerms(
            (self._row_cues, self._column_cues),
            (self._rows, self._columns),
            self._likeness,
            self._noise,
            (v.row, v.likeness, v.common),
        )
        solution, residual = np.zeros_like(target), target.copy()
        direction = close = approximate(residual)
        size = float(residual @ close)
        limit = _TOLERANCE * size
        for _ in range(_ITERATIONS):
            if size <= limit:
                break
            image = self._at(*self._explained(direction)) + self._noise * direction
            step = size / float(direction @ image)
            solution += step * direction
            residual -= step * image
            close = approximate(residual)
            size, before = float(residual @ close), size
            direction = close + size / before * direction
        return solution


def row_spreads(count: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(count,) float64 standard deviation of each row's measured values about their mean, drawn towards the common one.

    Args:
        rows: (m,) row of each value.
        values: (m,) utilities.
    """
    number = np.bincount(rows, minlength=count)
    total = np.bincount(rows, values, minlength=count)
    squares = np.bincount(rows, values * values, minlength=count)
    about_mean = np.maximum(squares - total**2 / np.maximum(number, 1), 0)
    freedom = np.maximum(number - 1, 0)
    common = about_mean.sum() / max(1, int(freedom.sum()))
    if common <= 0:
        return np.ones(count)
    spread: np.ndarray = np.sqrt((about_mean + _PRIOR_ROWS * common) / (freedom + _PRIOR_ROWS))
    return spread
