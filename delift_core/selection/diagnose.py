"""Whether measured utilities say enough to select by, before anything is selected. Knows nothing of objectives."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.coverage import row_blocks

Verdict = Literal["useful", "near-zero", "all-zero", "none-positive"]

_NEAR_ZERO = 1e-3
"""A typical best help below this is no more than what half-precision scoring gets wrong."""

_MEDIAN_ENTRIES = 4_000_000


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a pool's utilities look like, off the diagonal and without entries that were not measured.

    Attributes:
        positive_share: share in [0, 1] of entries above 0.
        median_size: median of |U|, in units of the metric; of very large matrices, over evenly spaced rows.
        typical_best: median over the samples of the most that any other sample helps them, 0 at least; the scale of
            what coverage adds up.
        verdict: "useful", or why the utilities say little.
        sentence: the same for the curator.
    """

    positive_share: float
    median_size: float
    typical_best: float
    verdict: Verdict
    sentence: str


def diagnose(pool_utility: np.ndarray) -> Diagnosis:
    """Looks at (n, n) pool utilities (row i is helped, column j helps) before a selection is made from them.

    Raises:
        SelectionError: not a square matrix with at least one row.
    """
    shape = pool_utility.shape
    if pool_utility.ndim != 2 or shape[0] != shape[1] or not len(pool_utility):
        raise SelectionError(f"The pool utilities must be a square matrix, not of shape {shape}: score the pool.")
    n = len(pool_utility)
    measured = positive = nonzero = 0
    best = np.zeros(n)
    for block in row_blocks(n, n):
        part = _without_diagonal(pool_utility, block)
        measured += int(np.isfinite(part).sum())
        positive += int((part > 0).sum())
        nonzero += int((np.isfinite(part) & (part != 0)).sum())
        best[block] = np.fmax(part, 0).max(axis=1)
    share = positive / measured if measured else 0.0
    typical = float(np.median(best))
    verdict = _verdict(nonzero, positive, typical)
    return Diagnosis(share, _median_size(pool_utility), typical, verdict, _sentence(verdict, share, typical))


def _without_diagonal(pool_utility: np.ndarray, block: slice) -> np.ndarray:
    """A copy of some rows as float64, with the diagonal as not measured."""
    part = pool_utility[block].astype(np.float64)
    local = np.arange(block.stop - block.start)
    part[local, local + block.start] = np.nan
    return part


def _median_size(pool_utility: np.ndarray) -> float:
    n = len(pool_utility)
    step = max(1, n * n // _MEDIAN_ENTRIES)
    part = pool_utility[::step].astype(np.float64)
    rows = np.arange(len(part))
    part[rows, rows * step] = np.nan
    sizes = np.abs(part[np.isfinite(part)])
    return float(np.median(sizes)) if sizes.size else 0.0


def _verdict(nonzero: int, positive: int, typical_best: float) -> Verdict:
    if not nonzero:
        return "all-zero"
    if not positive:
        return "none-positive"
    return "near-zero" if typical_best < _NEAR_ZERO else "useful"


def _sentence(verdict: Verdict, positive_share: float, typical_best: float) -> str:
    if verdict == "all-zero":
        return (
            "No sample changes the model's answer to any other, so every selection is worth the same: use another "
            "model, or a pool with related samples."
        )
    if verdict == "none-positive":
        return (
            "No sample helps the model with any other, each one only distracts it, so every selection is worth the "
            "same: use another model or prompt template."
        )
    if verdict == "near-zero":
        return (
            f"The samples hardly help each other (typically {typical_best:.2g} at best), so the selection will be "
            f"close to chance: use a larger model, or a pool with related samples."
        )
    return (
        f"{positive_share:.0%} of the pairs help, and a typical sample gains {typical_best:.2g} from its best helper."
    )
