"""A matrix scored in part: its measured values, estimates of the others, and the accuracy of the estimates.

Measured and estimated values are never in one array. This module knows nothing of objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import ScoringError
from delift_core.models.vectors import InnerProductSearch
from delift_core.scoring.estimation.pair_choice import MatrixPlan, Measured, Round, is_in_sorted, pair_keys
from delift_core.scoring.estimation.run_plan import MatrixName, UniqueSamples
from delift_core.scoring.metrics import Metric, utility
from delift_core.scoring.store import PairStore


def pair_utilities(
    store: PairStore,
    row_names: Sequence[str],
    column_names: Sequence[str],
    rows: np.ndarray,
    columns: np.ndarray,
    metric: Metric,
) -> np.ndarray:
    """The utilities of pairs: (m,) float32, row `rows[k]` helped by column `columns[k]`; NaN where not on disk.

    Args:
        row_names, column_names: content hashes; `rows` and `columns` are (m,) positions in them.
    """
    zero_shot = store.zero_shot(row_names)
    statistics = np.full((len(rows), 2), np.nan, dtype=np.float32)
    by_column = np.argsort(columns, kind="stable")
    edges = np.flatnonzero(np.diff(columns[by_column])) + 1
    for members in np.split(by_column, edges) if len(rows) else ():
        names = [row_names[row] for row in rows[members]]
        statistics[members] = store.pair_statistics(names, column_names[columns[members[0]]])
    tokens = np.maximum(zero_shot.tokens[rows], 1)
    return utility(zero_shot.statistics[rows], statistics, tokens, metric).astype(np.float32)


if TYPE_CHECKING:
    from delift_core.scoring.estimation.completion import Completion

EVERY_ESTIMATE = 4_000_000  # in matrices of up to so many pairs, all are estimated; else the largest of each row
LARGEST_PER_ROW = 64
MIN_TESTED = 10  # held-out pairs for an estimate of accuracy
FOLDS = 4
ENOUGH_TESTED = 50_000  # pairs in a fold, from which one fold is as good as all


@dataclass(frozen=True, slots=True)
class EstimateCheck:
    """The accuracy of estimates on the held-out random pairs."""

    pairs: int  # their number
    r2: float  # 1 - (mean squared error) / (variance of the pairs); 1 is perfect, 0 no better than the mean
    # Mean over the rows of the rank correlation of estimates and measurements in a row; NaN without any.
    spearman: float


@dataclass(frozen=True, slots=True)
class HeldOutErrors:
    """The errors of estimates of measured pairs, each estimated by a fit without it."""

    rows: np.ndarray  # (m,) of the pairs
    errors: np.ndarray  # (m,) measured minus estimated, in units of `Completion.row_scale`
    similarity: np.ndarray  # (m,) inner products of the samples' features


@dataclass(frozen=True, slots=True)
class Fit:
    """The results of a fit that take long to compute, to store."""

    weights: np.ndarray  # (m,) float64 of the fitted pairs, see `Completion`
    held_out_errors: HeldOutErrors  # of the estimates


@dataclass(frozen=True)
class PartialMatrix:
    """One matrix of a budgeted run: (r, c), row i is helped, column j helps."""

    plan: MatrixPlan  # with the samples' features
    rounds: tuple[Round, ...]  # the chosen pairs
    held_out: Measured  # the measured pairs that are held out of the fit, and the others
    fitted: Measured  # the measured pairs that are held out of the fit, and the others
    stored_fit: Fit | None = None  # results of an earlier fit; None to compute them on first use

    @property
    def complete(self) -> bool:
        """Whether every pair was scored."""
        return len(self.fitted.values) + len(self.held_out.values) == self.plan.options

    @cached_property
    def completion(self) -> "Completion":
        """The model fitted to the measured pairs without the held-out ones."""
        return self._fit(self.fitted, None if self.stored_fit is None else self.stored_fit.weights)

    @property
    def fit(self) -> Fit:
        """The results of the fit, to store."""
        return Fit(self.completion.weights, self.held_out_errors)

    def _fit(self, pairs: Measured, weights: np.ndarray | None = None) -> "Completion":
        from delift_core.scoring.estimation.completion import Completion

        features = self.plan.row_features, self.plan.column_features
        return Completion(*features, pairs.rows, pairs.columns, pairs.values, weights=weights)

    def measured(self) -> csr_array:
        """(r, c) float32 with an explicit entry for every scored pair, also where it is 0; sorted."""
        rows = np.concatenate([self.fitted.rows, self.held_out.rows])
        columns = np.concatenate([self.fitted.columns, self.held_out.columns])
        values = np.concatenate([self.fitted.values, self.held_out.values])
        return _sorted_csr(rows, columns, values, self.plan.shape)

    def estimated(self) -> csr_array:
        """(r, c) float32 estimates of the pairs that were not scored: all, or the largest of each row."""
        rows, columns = self.plan.shape
        mean, taken = self.completion.mean(), pair_keys(self.plan, self.rounds)
        if rows * columns <= EVERY_ESTIMATE:
            keys = np.arange(rows * columns)
        else:
            found = InnerProductSearch(mean.right).search(mean.left, LARGEST_PER_ROW)
            keys = (np.arange(rows)[:, None] * columns + found)[found >= 0]
        keys = keys[~is_in_sorted(keys, taken)]
        if self.plan.same:
            keys = keys[keys // columns != keys % columns]
        pairs = keys // columns, keys % columns
        return _sorted_csr(*pairs, mean.at(*pairs), self.plan.shape)

    @cached_property
    def check(self) -> EstimateCheck | None:
        """The accuracy of estimates on the held-out pairs; None if there are too few."""
        values = self.held_out.values
        if len(values) < MIN_TESTED:
            return None
        estimates = self.completion.mean().at(self.held_out.rows, self.held_out.columns).astype(np.float64)
        errors = values - estimates
        variance = float(values.var())
        return EstimateCheck(
            pairs=len(values),
            r2=1 - float((errors**2).mean()) / variance if variance > 0 else 0.0,
            spearman=_spearman_within(self.held_out.rows, values, estimates),
        )

    @cached_property
    def held_out_errors(self) -> HeldOutErrors:
        """The errors of held-out pairs, and of the others by cross-validation; one fold if that has enough pairs."""
        if self.stored_fit is not None:
            return self.stored_fit.held_out_errors
        fold = np.random.default_rng(0).permutation(len(self.fitted.values)) % FOLDS
        tested = [(self.completion, self.held_out)]
        folds = 1 if len(fold) // FOLDS >= ENOUGH_TESTED else FOLDS
        for out in (fold == index for index in range(folds)):
            if out.any() and not out.all():
                tested.append((self._fit(_subset(self.fitted, ~out)), _subset(self.fitted, out)))
        rows, columns = (np.concatenate([getattr(pairs, name) for _, pairs in tested]) for name in ("rows", "columns"))
        errors = np.concatenate([pairs.values - model.mean().at(pairs.rows, pairs.columns) for model, pairs in tested])
        return HeldOutErrors(rows, errors / self.completion.row_scale[rows], self.completion.similarity(rows, columns))


def _subset(pairs: Measured, which: np.ndarray) -> Measured:
    return Measured(pairs.rows[which], pairs.columns[which], pairs.values[which])


def read_matrix(
    store: PairStore,
    samples: UniqueSamples,
    name: MatrixName,
    plan: MatrixPlan,
    rounds: tuple[Round, ...],
    metric: Metric,
) -> PartialMatrix:
    """Reads one matrix of a run from disk.

    Raises:
        ScoringError: chosen pairs are missing on disk.
    """
    pairs = np.concatenate([one.rows for one in rounds]), np.concatenate([one.columns for one in rounds])
    values = pair_utilities(store, samples.rows(name), samples.columns(name), *pairs, metric).astype(np.float64)
    if np.isnan(values).any():
        raise ScoringError(
            f"{int(np.isnan(values).sum()):,} pairs are missing or damaged on disk; "
            "continue the run on the Score page (or call score again), only those are scored"
        )
    kinds = np.repeat([one.kind for one in rounds], [len(one.rows) for one in rounds])
    measured, held_out = Measured(*pairs, values), kinds == "held-out"
    return PartialMatrix(plan, rounds, _subset(measured, held_out), _subset(measured, ~held_out))


def expand_repeats(
    matrix: csr_array, rows: np.ndarray, columns: np.ndarray, diagonal: np.ndarray | None = None
) -> csr_array:
    """Expands a matrix of unique samples (r, c) to one with repeated samples (n, m).

    Args:
        matrix: (r, c).
        rows, columns: (n,) and (m,) the row and column of `matrix` for each position.
        diagonal: (r,) the utility of each sample for itself, and so of its repeats for each other; the result has no
            entries on its diagonal.
    """
    if len(rows) == matrix.shape[0] and len(columns) == matrix.shape[1]:
        return matrix  # positions are in order of first occurrence: without repeats, nothing changes
    entries = matrix.tocoo()
    helped, helping, values = entries.row, entries.col, entries.data
    if diagonal is not None:
        own = np.arange(len(diagonal))
        helped, helping = np.concatenate([helped, own]), np.concatenate([helping, own])
        values = np.concatenate([values, diagonal])
    at_rows, at_columns = _positions_of(rows, matrix.shape[0]), _positions_of(columns, matrix.shape[1])
    expanded = [
        (row, column, value)
        for i, j, value in zip(helped.tolist(), helping.tolist(), values.tolist(), strict=True)
        for row in at_rows[i]
        for column in at_columns[j]
        if diagonal is None or row != column
    ]
    row, column, value = (np.asarray(part) for part in zip(*expanded, strict=True)) if expanded else (np.empty(0),) * 3
    return _sorted_csr(row.astype(np.int64), column.astype(np.int64), value, (len(rows), len(columns)))


def _positions_of(unique: np.ndarray, count: int) -> list[list[int]]:
    """The positions of each of `count` unique samples."""
    found: list[list[int]] = [[] for _ in range(count)]
    for position, index in enumerate(unique.tolist()):
        found[index].append(position)
    return found


def _spearman_within(rows: np.ndarray, values: np.ndarray, estimates: np.ndarray) -> float:
    """The mean over the rows of the rank correlation (Spearman) of values and estimates (m,); NaN without any.

    Rows with fewer than three pairs, or with equal values or estimates, are left out.
    """
    _, row, counts = np.unique(rows, return_inverse=True, return_counts=True)  # of each pair; pairs of each row

    def centred(numbers: np.ndarray) -> np.ndarray:
        """(m,) average ranks within the rows, minus their mean."""
        order = np.lexsort((numbers, row))
        is_new = np.diff(row[order], prepend=-1) != 0
        is_new[1:] |= np.diff(numbers[order]) != 0
        starts = np.flatnonzero(is_new)  # of equal numbers in one row
        sizes = np.diff(starts, append=len(order))
        ranks = np.empty(len(order))
        ranks[order] = np.repeat(starts + (sizes - 1) / 2, sizes)
        return ranks - (np.bincount(row, ranks) / counts)[row]

    first, second = centred(values), centred(estimates)
    spread = np.bincount(row, first**2) * np.bincount(row, second**2)
    usable = (counts >= 3) & (spread > 0)
    found = np.bincount(row, first * second)[usable] / np.sqrt(spread[usable])
    return float(found.mean()) if found.size else float("nan")


def _sorted_csr(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> csr_array:
    matrix = csr_array((values.astype(np.float32), (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix
