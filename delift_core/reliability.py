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

from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.utility.partial import EstimateCheck, Misses, PartialMatrix

IMAGINED = 8
ENOUGH = 0.97
"""Share of what all pairs would allow, from which a selection passes as good."""

_ODDS_FOR_LESS = 2.0  # half the loss for 2 ** 2 times the odds, see benchmarks/README
_WHOLE_ROWS = 1_500  # rows up to which the whole matrix is imagined
_SAMPLED_ROWS = 500
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
        """Share of the pairs that should be enough: what is lost is taken to halve for four times the scored pairs, to
        each that is not scored.

        On the matrices of benchmarks/retention the share asked for was enough in 24 of 35 plans; in 21 of 22 that had
        scored 7.5 % or more. Smaller ones take themselves to be better than they are, and may ask again.
        """
        if self.enough:
            return self.share
        odds: float = self.share / (1 - self.share) * ((1 - self.ratio) / (1 - ENOUGH)) ** _ODDS_FOR_LESS
        return odds / (1 + odds)

    @property
    def sentence(self) -> str:
        """The same for the curator."""
        check = self.check
        order = "" if np.isnan(check.spearman) else f", order within a row (Spearman) {check.spearman:.2f}"
        least = " at least" if self.bound else ""
        found = (
            f"{_percent(self.share)} of the pairs are scored. The selection reaches an estimated {self.ratio:.0%}"
            f"{least} ({self.low:.0%} to {self.high:.0%}) of what scoring every pair would. Estimates of pairs, "
            f"checked on {check.pairs:,} random ones that they did not know: R² {check.r2:.2f}{order}."
        )
        if self.enough:
            return found
        most = " at most" if self.bound else ""
        return f"{found} More pairs would help: score{most} about {_percent(self.share_needed)} of them."


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
    whole = len(places) <= _WHOLE_ROWS
    rows = np.arange(len(places)) if whole else np.sort(generator.permutation(len(places))[:_SAMPLED_ROWS])
    ratios = []
    for imagined in _imagined(matrix, kernel, places, rows, generator):
        reached = float(imagined[:, chosen].max(axis=1).sum())
        best = _best(imagined, len(chosen)) if whole else float(imagined.max(axis=1).sum())
        ratios.append(min(1.0, reached / best) if best > 0 else 1.0)
    scored = len(matrix.held.values) + len(matrix.fitted.values)
    share = scored / matrix.part.options
    return ErrorBar(scored, share, check, float(np.mean(ratios)), min(ratios), max(ratios), bound=not whole)


def _imagined(
    matrix: PartialMatrix,
    kernel: Kernel,
    places: np.ndarray,
    rows: np.ndarray,
    generator: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Complete kernels of some pool rows, and of any rows beyond the pool's: (m, n) float32 each."""
    n = len(places)
    measured = csr_array(kernel)
    known = measured[rows].toarray()
    rest = measured[n:].toarray() if measured.shape[0] > n and len(rows) == n else np.empty((0, n), dtype=np.float32)
    scored = matrix.measured()[places[rows]][:, places].toarray() != 0
    scored |= known > 0
    scored[np.arange(len(rows)), rows] = True
    mean, completion = matrix.completion.mean(), matrix.completion
    estimate = mean.block(places[rows])[:, places]
    spread = completion.spread[places[rows], None]
    misses = matrix.misses
    edges, weights = _edges(misses), _unscored_for_each(matrix, misses)
    kind = np.digitize(completion.likeness_block(places[rows])[:, places], edges)
    tested, errors = np.digitize(misses.likeness, edges), _without_tails(misses.errors)
    for _ in range(IMAGINED):
        error = np.empty(estimate.shape)
        for one in range(len(edges) + 1):
            here, of_kind = kind == one, tested == one
            share = weights[of_kind] / weights[of_kind].sum()
            error[here] = generator.choice(errors[of_kind], int(here.sum()), p=share)
        drawn = np.maximum(estimate + spread * error, 0)
        yield np.concatenate([np.where(scored, known, drawn).astype(np.float32), rest])


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
