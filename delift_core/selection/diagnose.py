"""Checks on measured utilities before a selection is made from them: are they complete, and do they say anything?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.kernels import Kernel, row_best, row_blocks
from delift_core.selection.types import STAGES, ObjectiveConfig, SecondSet, Stage

Verdict = Literal["useful", "near-zero", "all-zero", "none-positive"]

_NEAR_ZERO = 1e-3
"""Below this, a typical best help is within the error of half-precision scoring."""

_MEDIAN_ENTRIES = 4_000_000

_NONE_CHANGES = "No row changes the model's answer to any other"
_NONE_HELPS = "No row helps the model with any other, each one only distracts it"
_RELATED = "related rows"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Statistics of a pool's utilities, over the measured entries off the diagonal."""

    scored_share: float  # share in [0, 1] of the pairs that were measured
    positive_share: float  # share in [0, 1] of those that are above 0
    median_size: float  # median of |U|, in units of the metric; for very large matrices, of evenly spaced rows
    typical_best: float  # median over the samples of the largest help from any other sample, at least 0
    verdict: Verdict  # "useful", or the reason why selection has little to go by
    sentence: str  # the verdict as text


def diagnose(pool_utility: Kernel) -> Diagnosis:
    """Diagnoses the pool utilities (n, n), row i helped, column j helping.

    Raises:
        SelectionError: not a square matrix with at least one row.
    """
    _ensure_square(pool_utility)
    shape = pool_utility.shape
    tally = _dense_tally(pool_utility) if isinstance(pool_utility, np.ndarray) else _sparse_tally(pool_utility)
    pairs = shape[0] * (shape[0] - 1)
    scored = tally.measured / pairs if pairs else 1.0
    share = tally.positive / tally.measured if tally.measured else 0.0
    typical = float(np.median(tally.best))
    verdict = _verdict(tally.nonzero, tally.positive, typical)
    median = float(np.median(np.abs(tally.sample))) if tally.sample.size else 0.0
    return Diagnosis(scored, share, median, typical, verdict, _sentence(verdict, scored, share, typical))


def second_set_warning(config: ObjectiveConfig, kernel: Kernel) -> str | None:
    """A warning where the target or existing rows make all samples worth the same; else None.

    Args:
        config: of the kernel.
        kernel: (r, n), from `objectives.represented_kernel`.
    """
    if config.needed_set == "target" and config.eta > 0 and not row_best(kernel[kernel.shape[1] :]).any():
        return (
            "No pool row helps the model with any target row, so the target changes nothing here: use a target closer "
            "to the pool, or a larger model."
        )
    if config.needed_set == "existing" and config.nu > 0 and kernel.max() == 0:
        return (
            "The existing rows help every pool row as much as any other pool row does, so nothing is left to gain: use "
            "a smaller nu, or a pool of other data."
        )
    return None


@dataclass(frozen=True, slots=True)
class _Tally:
    """Counts of the measured entries off the diagonal, the best help of each row (n,), and a sample of the entries."""

    measured: int
    positive: int
    nonzero: int
    best: np.ndarray
    sample: np.ndarray


def _dense_tally(pool_utility: np.ndarray) -> _Tally:
    n = len(pool_utility)
    measured = positive = nonzero = 0
    best = np.zeros(n)
    for block in row_blocks(n, n):
        part = _without_diagonal(pool_utility[block], np.arange(block.start, block.stop))
        measured += int(np.isfinite(part).sum())
        positive += int((part > 0).sum())
        nonzero += int((np.isfinite(part) & (part != 0)).sum())
        best[block] = np.fmax(part, 0).max(axis=1)
    rows = np.arange(0, n, max(1, n * n // _MEDIAN_ENTRIES))
    some = _without_diagonal(pool_utility[rows], rows)
    return _Tally(measured, positive, nonzero, best, some[np.isfinite(some)])


def _without_diagonal(part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A float64 copy of some rows, with NaN on the diagonal."""
    copy = part.astype(np.float64)
    copy[np.arange(len(rows)), rows] = np.nan
    return copy


def _sparse_tally(pool_utility: csr_array) -> _Tally:
    rows = np.repeat(np.arange(pool_utility.shape[0]), np.diff(pool_utility.indptr))
    entries = np.where(pool_utility.indices == rows, np.nan, pool_utility.data)
    off_diagonal = csr_array((entries, pool_utility.indices, pool_utility.indptr), shape=pool_utility.shape)
    measured = entries[np.isfinite(entries)]
    some = measured[:: max(1, len(measured) // _MEDIAN_ENTRIES)]
    counts = (len(measured), int((measured > 0).sum()), int((measured != 0).sum()))
    return _Tally(*counts, row_best(off_diagonal), some)


def _verdict(nonzero: int, positive: int, typical_best: float) -> Verdict:
    if not nonzero:
        return "all-zero"
    if not positive:
        return "none-positive"
    return "near-zero" if typical_best < _NEAR_ZERO else "useful"


def _sentence(verdict: Verdict, scored_share: float, positive_share: float, typical_best: float) -> str:
    partial = scored_share < 1
    scored = f"scored pairs ({100 * scored_share:.2g}% of all)"
    advice = "score more pairs, or use" if partial else "use"
    if verdict == "all-zero":
        subject = f"None of the {scored} changes the model's answer" if partial else _NONE_CHANGES
        return f"{subject}, so every selection is worth the same: {advice} another model, or a pool with {_RELATED}."
    if verdict == "none-positive":
        subject = f"None of the {scored} helps the model, each one only distracts it" if partial else _NONE_HELPS
        return f"{subject}, so every selection is worth the same: {advice} another model or prompt template."
    if verdict == "near-zero":
        return (
            f"The rows hardly help each other (typically {typical_best:.2g} at best), so the selection will be "
            f"close to chance: {advice} a larger model, or a pool with {_RELATED}."
        )
    pairs = scored if partial else "pairs"
    return (
        f"In {positive_share:.0%} of the {pairs} the example helps. With its best example, a typical row gains "
        f"{typical_best:.2g}."
    )


def ensure_inputs(
    config: ObjectiveConfig, pool: Kernel, diagonal: np.ndarray | None, target: Kernel | None, existing: Kernel | None
) -> None:
    """Refuses utilities that do not match the stage or each other, and missing or infinite ones; see `objectives`.

    Raises:
        SelectionError: see above.
    """
    _ensure_square(pool)
    n = pool.shape[0]
    _ensure_presence(config.stage, "target", target is not None)
    _ensure_presence(config.stage, "existing", existing is not None)
    _ensure_finite("pool", pool, skip_diagonal=True)
    others = (
        ("target", target, 1, f"(target rows, {n} pool samples): score the target against this pool."),
        ("existing", existing, 0, f"({n} pool samples, existing rows): score this pool against the existing data."),
    )
    for name, matrix, axis, wanted in others:
        if matrix is not None:
            if matrix.ndim != 2 or matrix.shape[axis] != n or 0 in matrix.shape:
                raise SelectionError(f"The {name} utilities have shape {matrix.shape}, not {wanted}")
            _ensure_finite(name, matrix)
    if config.self_coverage > 0 or config.scaling == "min-max":
        if diagonal is None:
            raise SelectionError(
                "self_coverage is above 0, or the scaling is min-max, but the diagonal was not given: pass the "
                "measured U_ii."
            )
        if diagonal.shape != (n,):
            raise SelectionError(f"The diagonal has shape {diagonal.shape}, not ({n},): pass one value per sample.")
        _ensure_finite("diagonal", diagonal[None, :])


def _ensure_square(pool: Kernel) -> None:
    if pool.ndim != 2 or pool.shape[0] != pool.shape[1] or not pool.shape[0]:
        raise SelectionError(f"The pool utilities must be a square matrix, not of shape {pool.shape}: score the pool.")


def _ensure_presence(stage: Stage, name: SecondSet, given: bool) -> None:
    needed = STAGES[stage].needs == name
    if needed and not given:
        raise SelectionError(f"Stage {stage!r} needs the {name} utilities: score the {name} data and pass them.")
    if given and not needed:
        needs_it = next(other for other, entry in STAGES.items() if entry.needs == name)
        raise SelectionError(
            f"Stage {stage!r} does not use {name} utilities: choose stage {needs_it!r}, or leave the {name} data out."
        )


def _ensure_finite(name: str, matrix: Kernel, *, skip_diagonal: bool = False) -> None:
    if not isinstance(matrix, np.ndarray):
        _ensure_stored_finite(name, matrix, skip_diagonal)
        return
    for block in row_blocks(*matrix.shape):
        good = np.isfinite(matrix[block])
        if skip_diagonal:
            local = np.arange(block.stop - block.start)
            good[local, local + block.start] = True
        if not good.all():
            row, column = (int(index) for index in np.argwhere(~good)[0])
            raise _not_finite(name, block.start + row, column, matrix[block.start + row, column])


def _ensure_stored_finite(name: str, matrix: csr_array, skip_diagonal: bool) -> None:
    for at in np.flatnonzero(~np.isfinite(matrix.data)).tolist():
        row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
        column = int(matrix.indices[at])
        if not (skip_diagonal and row == column):
            raise _not_finite(name, row, column, matrix.data[at])


def _not_finite(name: str, row: int, column: int, entry: float) -> SelectionError:
    what = "missing (NaN)" if np.isnan(entry) else f"{entry}"
    return SelectionError(
        f"The {name} utility at row {row}, column {column} is {what}: score that pair again, or leave the sample out."
    )
