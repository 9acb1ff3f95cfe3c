"""Sums over pairs of vectors, compiled by numba: what `completion` does most, without picking the vectors out.

Quickest where pairs of one row stand side by side. Sums are taken in any order, so that last digits differ by machine.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

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
