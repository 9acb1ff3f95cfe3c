"""How far a selection from some of the pairs can be trusted: a bootstrap of residuals.

The value of the selection, relative to the greedy selection from all pairs, is simulated on complete matrices. Scored
pairs keep their value; an unscored pair gets its estimate plus an error, drawn from the errors of held-out pairs of
about the same similarity. An error is weighted by the number of unscored pairs in its row, because rows with many
scored pairs have more held-out pairs.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from delift_core.scoring.estimation.partial_matrix import HeldOutErrors, PartialMatrix
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.types import ENOUGH, ErrorBar

SIMULATIONS = 8
_ODDS_EXPONENT = 2.0  # half the loss takes 2 ** 2 times the odds, see benchmarks/README
_WHOLE_ROWS = 1_500  # largest pool whose whole matrix is simulated
_SAMPLED_ROWS = 500  # simulated rows of a larger pool
_PAIRS_AT_ONCE = 4_000_000
_QUANTILES = 4096
_BINS, _PAIRS_PER_BIN = 5, 30  # of held-out pairs by similarity: most bins, fewest pairs in each
_TAIL = (
    0.01  # of the errors at either end, which count as the next smaller: else one would be dealt to hundreds of pairs
)


def error_bar(
    matrix: PartialMatrix, kernel: Kernel, matrix_rows: np.ndarray, chosen: np.ndarray, *, seed: int = 0
) -> ErrorBar | None:
    """The error bar of a selection; None if every pair was scored, or too few were held out.

    Args:
        matrix: of the m unique pool samples, in the metric of the kernel.
        kernel: (r, n) represented kernel of the scored pairs, pool rows first.
        matrix_rows: (n,) row of `matrix` for each pool position.
        chosen: (k,) positions in the pool.
        seed: of the simulation.
    """
    check = matrix.check
    if matrix.complete or check is None:
        return None
    generator = np.random.default_rng(seed)
    simulation = _SimulatedMatrix(matrix, kernel, matrix_rows)
    whole = len(matrix_rows) <= _WHOLE_ROWS
    ratios = simulation.ratios(chosen, generator) if whole else simulation.lower_bounds(chosen, generator)
    scored = len(matrix.held_out.values) + len(matrix.fitted.values)
    share = scored / matrix.plan.options
    ratio, low = float(np.mean(ratios)), min(ratios)
    return ErrorBar(
        pairs=scored,
        share=share,
        ratio=ratio,
        low=low,
        high=max(ratios),
        bound=not whole,
        tested_pairs=check.pairs,
        r2=check.r2,
        spearman=None if np.isnan(check.spearman) else check.spearman,
        share_needed=share_needed(share, ratio, low),
    )


def share_needed(share: float, ratio: float, low: float) -> float:
    """The share of the pairs that should be enough, by the mean and the smallest ratio in the simulations of a share.

    The largest loss is assumed to halve when the odds of a pair being scored are four times as high. On the matrices of
    benchmarks/retention the share was enough in 32 of 37 plans, and in all plans that had scored 7.5 % or more. Plans
    with fewer pairs may underestimate the loss, and ask for more pairs again later.
    """
    if ratio >= ENOUGH:
        return share
    odds: float = share / (1 - share) * ((1 - low) / (1 - ENOUGH)) ** _ODDS_EXPONENT
    return odds / (1 + odds)


class _SimulatedMatrix:
    """Draws complete kernels.

    Errors are drawn from a table of `_QUANTILES` quantiles for each bin of similarity, which fits the CPU cache.
    """

    def __init__(self, matrix: PartialMatrix, kernel: Kernel, matrix_rows: np.ndarray) -> None:
        held_out, self._measured = matrix.held_out_errors, csr_array(kernel)
        self._at = matrix_rows
        self._completion, self._mean, self._edges = matrix.completion, matrix.completion.mean(), _edges(held_out)
        self._scored = matrix.measured()
        self._scored.data = np.ones(len(self._scored.data), dtype=bool)
        bins, weights = np.digitize(held_out.similarity, self._edges), _unscored_for_each(matrix, held_out)
        errors = _without_tails(held_out.errors)
        in_bin = [np.flatnonzero(bins == number) for number in range(len(self._edges) + 1)]
        everything = np.arange(len(errors))  # for a bin without held-out pairs
        tables = [_quantiles(errors[one], weights[one]) for one in (one if len(one) else everything for one in in_bin)]
        self._errors = np.concatenate(tables)  # (bins * _QUANTILES,)

    def ratios(self, chosen: np.ndarray, generator: np.random.Generator) -> list[float]:
        """For each simulation of all rows: f(chosen) / f(greedy selection of as many rows)."""
        n = len(self._at)
        beyond = self._measured[n:].toarray()  # (r - n, n), kernel rows of the target
        ratios = []
        for drawn in self._draws(np.arange(n), generator):
            kernel = np.concatenate([drawn, beyond])  # (r, n)
            ratios.append(_ratio(kernel[:, chosen].max(axis=1).sum(), _best(kernel, len(chosen))))
        return ratios

    def lower_bounds(self, chosen: np.ndarray, generator: np.random.Generator) -> list[float]:
        """For each simulation of some random rows: f(chosen) / f(all samples)."""
        rows = np.sort(generator.permutation(len(self._at))[:_SAMPLED_ROWS])
        reached, best = np.zeros(SIMULATIONS), np.zeros(SIMULATIONS)
        for some in np.array_split(rows, -(-len(rows) * len(self._at) // _PAIRS_AT_ONCE)):
            for number, kernel in enumerate(self._draws(some, generator)):
                reached[number] += kernel[:, chosen].max(axis=1).sum()
                best[number] += kernel.max(axis=1).sum()
        return [_ratio(one, most) for one, most in zip(reached, best, strict=True)]

    def _draws(self, rows: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yields simulated kernels of some pool rows, (b, n) float32 each."""
        at = self._at[rows]  # (b,) rows of the matrix of unique samples
        known = self._measured[rows].toarray()  # (b, n)
        scored = self._of_pool(self._scored[at].toarray()) | (known > 0)
        scored[np.arange(len(rows)), rows] = True
        estimate = self._of_pool(self._mean.block(at))  # (b, n)
        spread = self._completion.row_scale[at, None].astype(np.float32)  # (b, 1)
        bins = np.digitize(self._of_pool(self._completion.similarity_block(at)), self._edges)
        first = bins.astype(np.int32) * _QUANTILES
        for _ in range(SIMULATIONS):
            error = self._errors[first + generator.integers(0, _QUANTILES, first.shape, dtype=np.int32)]
            yield np.where(scored, known, np.maximum(estimate + spread * error, 0))

    def _of_pool(self, columns: np.ndarray) -> np.ndarray:
        """Columns of unique samples (b, m), repeated as in the pool: (b, n)."""
        return columns if columns.shape[1] == len(self._at) else columns[:, self._at]


def _quantiles(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(_QUANTILES,) float32, evenly spaced quantiles of the weighted errors (k,)."""
    order = np.argsort(errors)
    up_to = np.cumsum(weights[order])
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES * up_to[-1]
    found: np.ndarray = errors[order][np.searchsorted(up_to, middles)].astype(np.float32)
    return found


def _ratio(reached: float, best: float) -> float:
    return min(1.0, float(reached / best)) if best > 0 else 1.0


def _edges(held_out: HeldOutErrors) -> np.ndarray:
    """Limits of similarity that divide the held-out pairs evenly: similar pairs have larger errors."""
    bins = max(1, min(_BINS, len(held_out.errors) // _PAIRS_PER_BIN))
    edges = np.unique(np.quantile(held_out.similarity, np.arange(1, bins) / bins))
    above: np.ndarray = edges[edges > held_out.similarity.min()]
    return above


def _unscored_for_each(matrix: PartialMatrix, held_out: HeldOutErrors) -> np.ndarray:
    """(k,) number of unscored pairs in its row that each held-out pair represents; above 0 in complete rows too."""
    rows, columns = matrix.plan.shape
    tested = np.bincount(held_out.rows, minlength=rows)
    scored = np.bincount(np.concatenate([matrix.fitted.rows, matrix.held_out.rows]), minlength=rows)
    for_each: np.ndarray = np.maximum(columns - matrix.plan.same - scored, 1)[held_out.rows] / tested[held_out.rows]
    return for_each


def _without_tails(errors: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(errors, *np.quantile(errors, (_TAIL, 1 - _TAIL)))
    return clipped


def _best(kernel: np.ndarray, count: int) -> float:
    return float(greedy_order(kernel).gains[:count].sum())
