"""How far a selection from some of the pairs can be trusted.

What it would be worth, and what the greedy selection from all pairs would be worth, if every pair were scored, is not
known; it is imagined. Each unscored pair is given its estimate plus an error, drawn from those of measured pairs, about
as alike, that were estimated without knowing them (a bootstrap of residuals); a number of times over. An error counts
for as many unscored pairs as there are in its row, so that rows of many scored pairs do not speak for all. Measured
pairs keep what was measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from delift_core.scoring.estimation.partial_matrix import EstimateCheck, Misses, PartialMatrix
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel

IMAGINED = 8
ENOUGH = 0.97
"""Share of what all pairs would allow, from which a selection passes as good."""

_ODDS_FOR_LESS = 2.0  # half the loss for 2 ** 2 times the odds, see benchmarks/README
_WHOLE_ROWS = 1_500  # rows up to which the whole matrix is imagined
_SAMPLED_ROWS = 500
_DRAWN_AT_ONCE = 4_000_000  # pairs
_QUANTILES = 4096
_KINDS, _KIND_PAIRS = 5, 30  # of tested pairs by likeness, and the fewest of each
_TAIL = (
    0.01  # of the errors at either end, which count as the next smaller: else one would be dealt to hundreds of pairs
)


@dataclass(frozen=True, slots=True)
class ErrorBar:
    """What a selection from some of the pairs is worth, of what the greedy selection from all of them would be.

    Attributes:
        pairs: scored pairs; `share` of all, without those of a sample with itself.
        check: the estimates on random pairs.
        ratio: estimate of f(A) / f(A_exact), the mean over the imagined matrices.
        low, high: smallest and largest of them.
        bound: the ratio is to what no selection can exceed, and so too low rather than too high (large pools).
    """

    pairs: int
    share: float
    check: EstimateCheck
    ratio: float
    low: float
    high: float
    bound: bool

    @property
    def enough(self) -> bool:
        """Whether the budget of pairs was large enough."""
        return self.ratio >= ENOUGH

    @property
    def share_needed(self) -> float:
        """Share of the pairs that should be enough: what is lost, at most as far as is imagined, is taken to halve for
        four times the scored pairs to each that is not scored.

        On the matrices of benchmarks/retention the share asked for was enough in 32 of 37 plans; in all of those that
        had scored 7.5 % or more. Smaller ones may take themselves to be better than they are, and ask again.
        """
        if self.enough:
            return self.share
        odds: float = self.share / (1 - self.share) * ((1 - self.low) / (1 - ENOUGH)) ** _ODDS_FOR_LESS
        return odds / (1 + odds)

    @property
    def sentence(self) -> str:
        """The same for the curator."""
        check = self.check
        order = "" if np.isnan(check.spearman) else f", order within a row (Spearman) {check.spearman:.2f}"
        least = "at least " if self.bound else ""
        found = (
            f"Based on {_percent(self.share)} of the pairs. Likely {least}{self.ratio:.0%} ({self.low:.0%} to "
            f"{self.high:.0%}) as good as scoring every pair. The estimates were checked on {check.pairs:,} random "
            f"pairs that they had not seen: R² {check.r2:.2f}{order}."
        )
        if self.enough:
            return found
        most = "at most " if self.bound else ""
        return f"{found} For a better selection, score {most}about {_percent(self.share_needed)} of the pairs."


def _percent(share: float) -> str:
    """Two significant digits: of a large pool far less than a hundredth of the pairs is scored."""
    return f"{100 * share:.2g}%" if share < 0.1 else f"{share:.0%}"


def error_bar(
    matrix: PartialMatrix, kernel: Kernel, places: np.ndarray, chosen: np.ndarray, *, seed: int = 0
) -> ErrorBar | None:
    """The error bar of a selection; None where every pair was scored, or too few were held out to say anything.

    Args:
        matrix: the pool's, of its samples without repeats, in the metric of the kernel.
        kernel: (r, n) represented kernel of the measured pairs, pool rows first.
        places: (n,) row of `matrix` that each pool position stands for.
        chosen: (k,) positions in the pool.
        seed: the same input and seed give the same answer.
    """
    check = matrix.check
    if matrix.complete or check is None:
        return None
    generator = np.random.default_rng(seed)
    imagination = _Imagination(matrix, kernel, places)
    whole = len(places) <= _WHOLE_ROWS
    ratios = imagination.of_all(chosen, generator) if whole else imagination.of_some(chosen, generator)
    scored = len(matrix.held.values) + len(matrix.fitted.values)
    share = scored / matrix.part.options
    return ErrorBar(scored, share, check, float(np.mean(ratios)), min(ratios), max(ratios), bound=not whole)


class _Imagination:
    """What the unscored pairs may be worth.

    Errors are dealt from a table of as many quantiles for each kind of pair: of millions of them it is small enough to
    stay near the processor.
    """

    def __init__(self, matrix: PartialMatrix, kernel: Kernel, places: np.ndarray) -> None:
        misses, self._measured = matrix.misses, csr_array(kernel)
        self._at = places
        self._completion, self._mean, self._edges = matrix.completion, matrix.completion.mean(), _edges(misses)
        self._scored = matrix.measured()
        self._scored.data = np.ones(len(self._scored.data), dtype=bool)
        kinds, weights = np.digitize(misses.likeness, self._edges), _unscored_for_each(matrix, misses)
        errors = _without_tails(misses.errors)
        of_kind = [np.flatnonzero(kinds == kind) for kind in range(len(self._edges) + 1)]
        everything = np.arange(len(errors))  # for a kind of which none was tested
        tables = [_quantiles(errors[one], weights[one]) for one in (one if len(one) else everything for one in of_kind)]
        self._errors = np.concatenate(tables)

    def of_all(self, chosen: np.ndarray, generator: np.random.Generator) -> list[float]:
        """What is reached in each imagined matrix of all rows, of what greedy reaches there with as many."""
        n = len(self._at)
        beyond = self._measured[n:].toarray()  # rows of the kernel that stand for no sample
        ratios = []
        for drawn in self._draws(np.arange(n), generator):
            imagined = np.concatenate([drawn, beyond])
            ratios.append(_ratio(imagined[:, chosen].max(axis=1).sum(), _best(imagined, len(chosen))))
        return ratios

    def of_some(self, chosen: np.ndarray, generator: np.random.Generator) -> list[float]:
        """The same of some random rows, of what all samples together reach there."""
        rows = np.sort(generator.permutation(len(self._at))[:_SAMPLED_ROWS])
        reached, best = np.zeros(IMAGINED), np.zeros(IMAGINED)
        for some in np.array_split(rows, -(-len(rows) * len(self._at) // _DRAWN_AT_ONCE)):
            for number, imagined in enumerate(self._draws(some, generator)):
                reached[number] += imagined[:, chosen].max(axis=1).sum()
                best[number] += imagined.max(axis=1).sum()
        return [_ratio(one, most) for one, most in zip(reached, best, strict=True)]

    def _draws(self, rows: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Complete kernels of some pool rows: (m, n) float32 each."""
        at = self._at[rows]
        known = self._measured[rows].toarray()
        scored = self._of_pool(self._scored[at].toarray()) | (known > 0)
        scored[np.arange(len(rows)), rows] = True
        estimate = self._of_pool(self._mean.block(at))
        spread = self._completion.spread[at, None].astype(np.float32)
        kind = np.digitize(self._of_pool(self._completion.likeness_block(at)), self._edges)
        first = kind.astype(np.int32) * _QUANTILES
        for _ in range(IMAGINED):
            error = self._errors[first + generator.integers(0, _QUANTILES, first.shape, dtype=np.int32)]
            yield np.where(scored, known, np.maximum(estimate + spread * error, 0))

    def _of_pool(self, columns: np.ndarray) -> np.ndarray:
        """Columns of samples without repeats as those of the pool."""
        return columns if columns.shape[1] == len(self._at) else columns[:, self._at]


def _quantiles(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(_QUANTILES,) float32 of weighted errors, evenly spaced."""
    order = np.argsort(errors)
    up_to = np.cumsum(weights[order])
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES * up_to[-1]
    found: np.ndarray = errors[order][np.searchsorted(up_to, middles)].astype(np.float32)
    return found


def _ratio(reached: float, best: float) -> float:
    return min(1.0, float(reached / best)) if best > 0 else 1.0


def _edges(misses: Misses) -> np.ndarray:
    """Degrees of likeness that part the tested pairs evenly: like pairs err more than unlike ones."""
    kinds = max(1, min(_KINDS, len(misses.errors) // _KIND_PAIRS))
    edges = np.unique(np.quantile(misses.likeness, np.arange(1, kinds) / kinds))
    above: np.ndarray = edges[edges > misses.likeness.min()]
    return above


def _unscored_for_each(matrix: PartialMatrix, misses: Misses) -> np.ndarray:
    """(m,) how many unscored pairs of its row each tested pair stands for; a little where the row has none left."""
    rows, columns = matrix.part.shape
    tested = np.bincount(misses.rows, minlength=rows)
    scored = np.bincount(np.concatenate([matrix.fitted.rows, matrix.held.rows]), minlength=rows)
    for_each: np.ndarray = np.maximum(columns - matrix.part.same - scored, 1)[misses.rows] / tested[misses.rows]
    return for_each


def _without_tails(errors: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(errors, *np.quantile(errors, (_TAIL, 1 - _TAIL)))
    return clipped


def _best(kernel: np.ndarray, count: int) -> float:
    return float(greedy_order(kernel).gains[:count].sum())
