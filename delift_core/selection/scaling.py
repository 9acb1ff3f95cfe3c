"""How utilities become a kernel: by a clamp at 0, or scaled between their extremes as the published code has it.

    clamp      s = max(U, 0)
    min-max    s = (U - least) / (greatest - least)

Least and greatest are over the whole matrix; over the pool's with its diagonal U_ii in, where the greatest mostly is.
Each matrix has its own extremes, as published: of min-max kernels, those of pool, target and existing rows are in
different units, and eta and nu weigh something else than of clamped ones. With the whole diagonal in, greedy Facility
Location on a min-max kernel is, after its first pick, greedy on U unclamped: the scaling is one affine map of all rows.
"""

from dataclasses import dataclass

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, row_blocks


@dataclass(frozen=True, slots=True)
class Scale:
    """s = max((U - low) / span, 0); a `span` of 0 (all utilities are the same) makes everything 0."""

    low: float
    span: float

    def apply(self, utility: np.ndarray) -> np.ndarray:
        """A new array of the same shape and dtype; NaN (not measured, or the diagonal) counts as no help."""
        if self == CLAMP:
            kernel: np.ndarray = np.fmax(utility, 0)
            return kernel
        if self.span == 0:
            return np.zeros_like(utility)
        scaled = (utility.astype(np.float64) - self.low) / self.span
        return np.fmax(scaled, 0).astype(utility.dtype)

    def of(self, matrix: Kernel) -> np.ndarray:
        """`apply`, of a dense matrix.

        Raises:
            SelectionError: it is sparse.
        """
        return self.apply(_dense(matrix))


CLAMP = Scale(0.0, 1.0)


def min_max(matrix: Kernel, diagonal: np.ndarray | None = None) -> Scale:
    """The published scaling of a matrix; where its diagonal (n,) is given, that stands for what the matrix has there.

    Raises:
        SelectionError: not every pair was scored.
    """
    dense = _dense(matrix)
    least, greatest = np.inf, -np.inf
    for block in row_blocks(*dense.shape):
        part = dense[block]
        if diagonal is not None:
            part, local = part.copy(), np.arange(block.stop - block.start)
            part[local, local + block.start] = diagonal[block]
        least, greatest = min(least, float(np.nanmin(part))), max(greatest, float(np.nanmax(part)))
    return Scale(least, greatest - least)


def _dense(matrix: Kernel) -> np.ndarray:
    if not isinstance(matrix, np.ndarray):
        raise SelectionError(
            "Min-max scaling is between the least and the greatest utility of all pairs, and not all were scored: use "
            "the default settings, or score every pair."
        )
    return matrix
