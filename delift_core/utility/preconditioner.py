"""An approximate inverse of the covariance that `completion` solves with: without it conjugate gradients need the more
steps the more pairs there are, and do not get there from hundreds of thousands on.

What every pair shares makes the large eigenvalues, which grow with the number of pairs: likeness, and the matrix W
between the leading directions of both sides' cues. These and each row's own effect are inverted exactly (Woodbury); the
rest is left to the iterations.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from delift_core.utility.pair_loops import inner_products, weighted_sums

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
