"""A matrix that was scored in part: what was measured, what the rest is estimated to be, and how good that is.

Measured and estimated values are never in one array. Knows nothing of objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import ScoringError
from delift_core.models.vectors import InnerProductSearch
from delift_core.scoring.estimation.pair_choice import Measured, Part, Round, among, keys_of
from delift_core.scoring.estimation.plan_file import PartName, UniqueSamples
from delift_core.scoring.metrics import Metric, utility
from delift_core.scoring.store import PairStore


def chosen_utilities(
    store: PairStore,
    row_names: Sequence[str],
    column_names: Sequence[str],
    rows: np.ndarray,
    columns: np.ndarray,
    metric: Metric,
) -> np.ndarray:
    """(m,) float32 utilities of row `rows[k]` helped by column `columns[k]`; NaN where the pair is not on disk.

    Args:
        row_names, column_names: content hashes; `rows` and `columns` are (m,) positions in them.
    """
    alone = store.zero_shot(row_names)
    statistics = np.full((len(rows), 2), np.nan, dtype=np.float32)
    by_column = np.argsort(columns, kind="stable")
    edges = np.flatnonzero(np.diff(columns[by_column])) + 1
    for members in np.split(by_column, edges) if len(rows) else ():
        names = [row_names[row] for row in rows[members]]
        statistics[members] = store.pair_statistics(names, column_names[columns[members[0]]])
    # One row per pair, each with the one column that it was measured with.
    tokens = np.maximum(alone.tokens[rows], 1)
    return utility(alone.statistics[rows], statistics, tokens, metric).astype(np.float32)


if TYPE_CHECKING:
    from delift_core.scoring.estimation.completion import Completion

EVERY_ESTIMATE = 4_000_000  # pairs up to which all that were not scored are estimated; above, the largest of each row
LARGEST_OF_ROW = 64
FEWEST_TESTED = 10
FOLDS = 4
ENOUGH_TESTED = 50_000  # pairs, from which one fold says what all would


@dataclass(frozen=True, slots=True)
class EstimateCheck:
    """How good estimates are on the random pairs that were measured, but held out of all fitting.

    Attributes:
        pairs: how many.
        r2: 1 - (mean squared error) / (that of the pairs' mean); 1 is perfect, 0 no better than the mean.
        spearman: mean rank correlation of estimate and measurement within a row, over the rows of held-out pairs; NaN
            where there is none.
    """

    pairs: int
    r2: float
    spearman: float


@dataclass(frozen=True, slots=True)
class Misses:
    """By how much estimates miss measured pairs, each of them estimated by a fit that did not know it.

    Attributes:
        rows: (m,) of the pairs.
        errors: (m,) measured less estimated, in units of the row's spread (`Completion.spread`).
        likeness: (m,) inner products of the samples' cues.
    """

    rows: np.ndarray
    errors: np.ndarray
    likeness: np.ndarray


@dataclass(frozen=True, slots=True)
class Fit:
    """What takes long to compute of a matrix, and can be kept.

    Attributes:
        weights: (m,) float64 of the fitted pairs, see `Completion`.
        misses: of the estimates.
    """

    weights: np.ndarray
    misses: Misses


@dataclass(frozen=True)
class PartialMatrix:
    """One matrix of a run on a budget: (r, c), row i is helped, column j helps.

    Attributes:
        part: what was planned, with the samples' cues.
        rounds: the pairs that were chosen.
        held, fitted: the measured pairs, those held out of the fitting and all others.
        kept: what was computed of this matrix before; None: compute it when it is asked for.
    """

    part: Part
    rounds: tuple[Round, ...]
    held: Measured
    fitted: Measured
    kept: Fit | None = None

    @property
    def complete(self) -> bool:
        """Whether no pair is missing."""
        return len(self.fitted.values) + len(self.held.values) == self.part.options

    @cached_property
    def completion(self) -> "Completion":
        """The model that was fitted to the measured pairs, without the held-out ones."""
        return self._fit(self.fitted, None if self.kept is None else self.kept.weights)

    @property
    def fit(self) -> Fit:
        """What to keep of this matrix."""
        return Fit(self.completion.weights, self.misses)

    def _fit(self, pairs: Measured, weights: np.ndarray | None = None) -> "Completion":
        from delift_core.scoring.estimation.completion import Completion

        cues = self.part.row_cues, self.part.column_cues
        return Completion(*cues, pairs.rows, pairs.columns, pairs.values, weights=weights)

    def measured(self) -> csr_array:
        """(r, c) float32: an entry for every scored pair, also where it is 0; sorted."""
        rows = np.concatenate([self.fitted.rows, self.held.rows])
        columns = np.concatenate([self.fitted.columns, self.held.columns])
        values = np.concatenate([self.fitted.values, self.held.values])
        return _sorted_csr(rows, columns, values, self.part.shape)

    def estimated(self) -> csr_array:
        """(r, c) float32 estimates of pairs that were not scored: all of them, or the largest of each row."""
        rows, columns = self.part.shape
        mean, taken = self.completion.mean(), keys_of(self.part, self.rounds)
        if rows * columns <= EVERY_ESTIMATE:
            keys = np.arange(rows * columns)
        else:
            found = InnerProductSearch(mean.right).search(mean.left, LARGEST_OF_ROW)
            keys = (np.arange(rows)[:, None] * columns + found)[found >= 0]
        keys = keys[~among(keys, taken)]
        if self.part.same:
            keys = keys[keys // columns != keys % columns]
        at = keys // columns, keys % columns
        return _sorted_csr(*at, mean.at(*at), self.part.shape)

    @cached_property
    def check(self) -> EstimateCheck | None:
        """Random pairs against their estimates; None where there are too few to say anything."""
        values = self.held.values
        if len(values) < FEWEST_TESTED:
            return None
        estimates = self.completion.mean().at(self.held.rows, self.held.columns).astype(np.float64)
        errors = values - estimates
        variance = float(values.var())
        return EstimateCheck(
            pairs=len(values),
            r2=1 - float((errors**2).mean()) / variance if variance > 0 else 0.0,
            spearman=_spearman_within(self.held.rows, values, estimates),
        )

    @cached_property
    def misses(self) -> Misses:
        """Those of the held-out pairs, and of all others, a fold at a time; of one fold where that is plenty."""
        if self.kept is not None:
            return self.kept.misses
        fold = np.random.default_rng(0).permutation(len(self.fitted.values)) % FOLDS
        tested = [(self.completion, self.held)]
        folds = 1 if len(fold) // FOLDS >= ENOUGH_TESTED else FOLDS
        for out in (fold == one for one in range(folds)):
            if out.any() and not out.all():
                tested.append((self._fit(_some(self.fitted, ~out)), _some(self.fitted, out)))
        rows, columns = (np.concatenate([getattr(pairs, name) for _, pairs in tested]) for name in ("rows", "columns"))
        errors = np.concatenate([pairs.values - model.mean().at(pairs.rows, pairs.columns) for model, pairs in tested])
        return Misses(rows, errors / self.completion.spread[rows], self.completion.likeness(rows, columns))


def _some(pairs: Measured, which: np.ndarray) -> Measured:
    return Measured(pairs.rows[which], pairs.columns[which], pairs.values[which])


def read_partial(
    store: PairStore, samples: UniqueSamples, name: PartName, part: Part, rounds: tuple[Round, ...], metric: Metric
) -> PartialMatrix:
    """One matrix of a run as it lies on disk.

    Raises:
        ScoringError: chosen pairs are missing on disk.
    """
    everything = np.concatenate([one.rows for one in rounds]), np.concatenate([one.columns for one in rounds])
    values = chosen_utilities(store, samples.rows(name), samples.columns(name), *everything, metric).astype(np.float64)
    if np.isnan(values).any():
        raise ScoringError(
            f"{int(np.isnan(values).sum()):,} pairs are missing or damaged on disk; "
            "continue the run on the Score page (or call score again), only those are scored"
        )
    kinds = np.repeat([one.kind for one in rounds], [len(one.rows) for one in rounds])
    measured, held = Measured(*everything, values), kinds == "held-out"
    return PartialMatrix(part, rounds, _some(measured, held), _some(measured, ~held))


def spread_out(
    matrix: csr_array, rows: np.ndarray, columns: np.ndarray, diagonal: np.ndarray | None = None
) -> csr_array:
    """A matrix of samples without repeats as one with them.

    Args:
        matrix: (r, c).
        rows, columns: (n,) and (m,) row and column of `matrix` that each position stands for.
        diagonal: (r,) what a sample does for itself, which is what repeats of it do for each other; the diagonal of
            the result stays without an entry.
    """
    if len(rows) == matrix.shape[0] and len(columns) == matrix.shape[1]:
        return matrix  # positions are in the order of first occurrence, so that without repeats nothing moves
    entries = matrix.tocoo()
    helped, helping, values = entries.row, entries.col, entries.data
    if diagonal is not None:
        own = np.arange(len(diagonal))
        helped, helping = np.concatenate([helped, own]), np.concatenate([helping, own])
        values = np.concatenate([values, diagonal])
    at_rows, at_columns = _positions_of(rows, matrix.shape[0]), _positions_of(columns, matrix.shape[1])
    spread = [
        (row, column, value)
        for i, j, value in zip(helped.tolist(), helping.tolist(), values.tolist(), strict=True)
        for row in at_rows[i]
        for column in at_columns[j]
        if diagonal is None or row != column
    ]
    row, column, value = (np.asarray(part) for part in zip(*spread, strict=True)) if spread else (np.empty(0),) * 3
    return _sorted_csr(row.astype(np.int64), column.astype(np.int64), value, (len(rows), len(columns)))


def _positions_of(places: np.ndarray, count: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for position, place in enumerate(places.tolist()):
        found[place].append(position)
    return found


def _spearman_within(rows: np.ndarray, values: np.ndarray, estimates: np.ndarray) -> float:
    from scipy.stats import spearmanr

    found = []
    for row in np.unique(rows):
        here = rows == row
        if here.sum() >= 3 and np.ptp(values[here]) > 0 and np.ptp(estimates[here]) > 0:
            found.append(float(spearmanr(values[here], estimates[here]).statistic))
    return float(np.mean(found)) if found else float("nan")


def _sorted_csr(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> csr_array:
    matrix = csr_array((values.astype(np.float32), (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix
