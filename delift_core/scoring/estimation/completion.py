"""Estimates of pairs that were not scored, from those that were: a Gaussian process over the utility matrix.

The utility of row i helped by column j, in units of the row's standard deviation, is modelled as

    U_ij / scale_i = mean + row_i + column_j + a r_i' c_j + r_i' W c_j + p_i' c_j + noise_ij

with the features r_i and c_j of the samples (see `run_plan`), a weight a of their similarity r_i' c_j, a matrix W
common to all rows and a slope p_i of each row, all Gaussian. Similar pairs are noisier, since the few pairs that help
far more than a smooth model predicts are among them. This is the product-kernel process for pairs of Bonilla et al.
(2007, "Kernel multi-task learning using task-specific features") in its weight-space form: the posterior mean is a sum
over the measured pairs, so no (rows, columns) array is needed, and it has low rank, so its largest entries are found by
a search for the largest inner products.

This module knows nothing of where pairs come from.
"""

import logging
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from delift_core.selection.loops import compiled

_DIRECTIONS = 16  # of the features, in the preconditioner
_BLOCK = 65_536  # pairs
_ITERATIONS = 100  # 20 to 40 suffice
_TOLERANCE = 1e-6
_PRIOR_PAIRS = 5.0  # weight of the common variance beside a row's own pairs
_log = logging.getLogger(__name__)


class Preconditioner:
    """Preconditioner of the covariance: (noise + row effects + F F')^-1 by the Woodbury identity.

    F (m, q + 1) holds the leading terms that all pairs share: the q products of leading directions, and the similarity.
    """

    def __init__(
        self,
        features: tuple[np.ndarray, np.ndarray],
        pairs: tuple[np.ndarray, np.ndarray],
        similarity: np.ndarray,
        noise: np.ndarray,
        variances: tuple[float, float, float],
    ) -> None:
        """Args:
        features: of rows (r, d) and of columns (c, d), float32.
        pairs: (m,) rows and columns.
        similarity, noise: (m,) of the pairs; noise is a variance, above 0.
        variances: of row effects, of the similarity's weight, and of each entry of W.
        """
        self._left, self._right = (_along_leading_directions(one) for one in features)
        self._rows, self._columns = pairs
        row_variance, similarity_variance, self._common = variances
        self._similarity, self._noise = np.sqrt(similarity_variance) * similarity, noise
        precision = np.bincount(self._rows, 1 / noise, minlength=len(self._left))  # (r,)
        self._shrunk = row_variance / (1 + row_variance * precision)
        inner = self._products()
        self._factor = cho_factor(inner + np.eye(len(inner)))

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """(m,) the inverse times a vector (m,)."""
        first = self._row_inverse(vector)
        shape = self._left.shape[1], self._right.shape[1]
        sums = weighted_sums(len(self._left), self._rows, self._columns, first, self._right)  # (r, 16)
        common = np.sqrt(self._common) * (self._left.T @ sums)
        weights = cho_solve(self._factor, np.append(common.ravel(), first @ self._similarity))
        left = self._left @ (np.sqrt(self._common) * weights[:-1].reshape(shape)).astype(np.float32)
        shared = inner_products(self._rows, self._columns, left, self._right) + weights[-1] * self._similarity
        inverse: np.ndarray = first - self._row_inverse(shared)
        return inverse

    def _row_inverse(self, vector: np.ndarray) -> np.ndarray:
        """(noise + row effects)^-1 times a vector (m,): diagonal plus one rank per row."""
        scaled = vector / self._noise
        row_parts = self._shrunk * np.bincount(self._rows, scaled, minlength=len(self._shrunk))  # (r,)
        result: np.ndarray = scaled - row_parts[self._rows] / self._noise
        return result

    def _products(self) -> np.ndarray:
        """(q + 1, q + 1) float64: F' (noise + row effects)^-1 F."""
        total = np.zeros((self._left.shape[1] * self._right.shape[1] + 1,) * 2)
        for start in range(0, len(self._rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            right = self._right[self._columns[block]]
            features = self._features(self._left[self._rows[block]], right, self._similarity[block])
            features /= np.sqrt(self._noise[block, None])
            total += features.T @ features
        sums = weighted_sums(len(self._left), self._rows, self._columns, 1 / self._noise, self._right)
        similarity = np.bincount(self._rows, self._similarity / self._noise, minlength=len(self._left))
        for start in range(0, len(self._left), _BLOCK):
            some = slice(start, start + _BLOCK)
            features = self._features(self._left[some], sums[some], similarity[some]) * np.sqrt(
                self._shrunk[some, None]
            )
            total -= features.T @ features
        return total

    def _features(self, left: np.ndarray, right: np.ndarray, similarity: np.ndarray) -> np.ndarray:
        """(b, q + 1) float32: the products of each row's with each column's directions, and the similarity."""
        products = (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
        features: np.ndarray = np.column_stack([np.sqrt(self._common) * products, similarity]).astype(np.float32)
        return features


def _along_leading_directions(features: np.ndarray) -> np.ndarray:
    """(n, 16 or fewer) float32: features (n, d) along their leading directions."""
    _, directions = np.linalg.eigh((features.T @ features).astype(np.float64))
    leading: np.ndarray = np.ascontiguousarray(features @ directions[:, ::-1][:, :_DIRECTIONS].astype(np.float32))
    return leading


# Reordered and fused sums are accurate enough here, and several times faster.
_compiled = partial(compiled, fastmath={"reassoc", "contract", "nsz"})


@_compiled
def weighted_sums(
    count: int, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """(count, d) float32: for each row, the sum over its pairs of weight (m,) times column vector (c, d)."""
    width = vectors.shape[1]
    sums = np.zeros((count, width), dtype=np.float32)
    for pair in range(len(rows)):
        row, column, weight = rows[pair], columns[pair], np.float32(weights[pair])
        for part in range(width):
            sums[row, part] += weight * vectors[column, part]
    return sums


@_compiled
def inner_products(rows: np.ndarray, columns: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m,) float32: left_i . right_j of each pair in `rows` and `columns`; left (r, d), right (c, d) float32."""
    width = left.shape[1]
    products = np.empty(len(rows), dtype=np.float32)
    for pair in range(len(rows)):
        row, column, total = rows[pair], columns[pair], np.float32(0)
        for part in range(width):
            total += left[row, part] * right[column, part]
        products[pair] = total
    return products


@dataclass(frozen=True, slots=True)
class Variances:
    """Prior variances of the terms, tuned for error and retention on the data of benchmarks/retention."""

    row: float = 0.35
    similarity: float = 1.0
    column: float = 0.02
    common: float = 0.5
    row_slope: float = 0.2
    noise: float = 0.15
    noise_similarity: float = 3.0  # slope of the log noise variance over similarity


@dataclass(frozen=True, slots=True)
class LowRankMatrix:
    """A matrix (r, c) in factors: entry ij is left_i . right_j; (r, d) and (c, d) float32."""

    left: np.ndarray
    right: np.ndarray

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The entries at row and column indices, whose shapes broadcast: float32 of that shape."""
        rows, columns = np.broadcast_arrays(rows, columns)
        flat = inner_products(rows.ravel(), columns.ravel(), self.left, self.right)
        entries: np.ndarray = flat.reshape(rows.shape)
        return entries

    def block(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, c) float32, the entries of b rows."""
        entries: np.ndarray = self.left[rows] @ self.right.T
        return entries


class Completion:
    """A Gaussian process fitted to the measured pairs of a matrix; `mean` gives its estimates. Deterministic."""

    def __init__(
        self,
        row_features: np.ndarray,
        column_features: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        variances: Variances | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        """Args:
        row_features: (r, d); column_features: (c, d); their inner products are at most 1.
        rows, columns: (m,) positions of the measured pairs, each pair once.
        values: (m,) their utilities, finite.
        weights: (m,) float64 `weights` of an earlier fit to the same pairs.
        """
        self._row_features = np.ascontiguousarray(row_features, dtype=np.float32)
        self._column_features = np.ascontiguousarray(column_features, dtype=np.float32)
        self._rows, self._columns = rows, columns
        self._variances = variances or Variances()
        self.row_scale = row_scales(len(row_features), rows, values)
        scaled = values / self.row_scale[rows]
        self._mean = float(scaled.mean())
        self._unit = max(float(scaled.std()), float(np.finfo(np.float32).tiny))
        self._data = (scaled - self._mean) / self._unit
        self._similarity = self.similarity(rows, columns)
        self._noise = self._variances.noise * np.exp(self._variances.noise_similarity * self._similarity)
        self.weights = self._solve(self._data) if weights is None else weights

    def similarity(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(m,) inner products of the features of pairs."""
        similarity: np.ndarray = inner_products(rows, columns, self._row_features, self._column_features)
        return similarity

    def similarity_block(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, c) inner products of the features of b rows and all columns."""
        similarity: np.ndarray = self._row_features[rows] @ self._column_features.T
        return similarity

    def mean(self) -> LowRankMatrix:
        """The posterior mean, (r, c)."""
        return self._as_matrix(*self._covariance_times(self.weights))

    def add_similarity(self, weight: float, centre: float) -> LowRankMatrix:
        """The posterior mean plus `weight` * (similarity - `centre`), the latter in units of the row's scale."""
        mean, scale = self.mean(), (weight * self.row_scale).astype(np.float32)
        width = self._row_features.shape[1]
        mean.left[:, :width] += scale[:, None] * self._row_features  # times the columns' features
        mean.left[:, width] -= centre * scale  # times the columns' ones
        return mean

    def _as_matrix(self, row: np.ndarray, column: np.ndarray, left: np.ndarray) -> LowRankMatrix:
        """scale_i * (mean + row_i + column_j + left_i . c_j) as a single inner product."""
        rows = np.column_stack([self._unit * left, self._mean + self._unit * row, np.full(len(row), self._unit)])
        columns = np.column_stack([self._column_features, np.ones(len(column)), column])
        return LowRankMatrix((self.row_scale[:, None] * rows).astype(np.float32), columns.astype(np.float32))

    def _covariance_times(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The covariance of all pairs with the measured ones, times `weights` (m,): as (r,), (c,) and (r, d) parts."""
        v, counts = self._variances, (len(self._row_features), len(self._column_features))
        slopes = weighted_sums(counts[0], self._rows, self._columns, weights, self._column_features)
        left = v.common * (self._row_features @ (self._row_features.T @ slopes)) + v.row_slope * slopes
        left += np.float32(v.similarity * float(weights @ self._similarity)) * self._row_features
        row_sums = np.bincount(self._rows, weights, minlength=counts[0])
        return v.row * row_sums, v.column * np.bincount(self._columns, weights, minlength=counts[1]), left

    def _at_pairs(self, row: np.ndarray, column: np.ndarray, left: np.ndarray) -> np.ndarray:
        """(m,) the parts of `_covariance_times` at the measured pairs."""
        inner = inner_products(self._rows, self._columns, left, self._column_features)
        total: np.ndarray = row[self._rows] + column[self._columns] + inner
        return total

    def _solve(self, target: np.ndarray) -> np.ndarray:
        """Solves (covariance of the measured pairs + noise) x = target (m,) by preconditioned conjugate gradients.

        Not by scipy, whose `cg` stops by the plain norm of the residual and not by its preconditioned one: with
        rtol=1e-3, 0.7 % of the pairs that a pool of 3,000 rows scores next would be others, and `rerun` would score
        other pairs than the run of an earlier manifest did.
        """
        v = self._variances
        precondition = Preconditioner(
            (self._row_features, self._column_features),
            (self._rows, self._columns),
            self._similarity,
            self._noise,
            (v.row, v.similarity, v.common),
        )
        solution, residual = np.zeros_like(target), target.copy()
        direction = preconditioned = precondition(residual)
        size = float(residual @ preconditioned)
        limit = _TOLERANCE * size
        for _ in range(_ITERATIONS):
            if size <= limit:
                break
            image = self._at_pairs(*self._covariance_times(direction)) + self._noise * direction
            step = size / float(direction @ image)
            solution += step * direction
            residual -= step * image
            preconditioned = precondition(residual)
            size, before = float(residual @ preconditioned), size
            direction = preconditioned + size / before * direction
        else:
            _log.warning("estimates of %s pairs have not converged after %s steps", len(target), _ITERATIONS)
        return solution


def row_scales(count: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(count,) float64 standard deviation of each row's measured values, shrunk towards the common one.

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
    scale: np.ndarray = np.sqrt((about_mean + _PRIOR_PAIRS * common) / (freedom + _PRIOR_PAIRS))
    return scale
