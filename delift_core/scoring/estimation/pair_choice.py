"""The choice of pairs to score in one utility matrix, in rounds: those that matter for a selection.

Selection needs the large entries of a matrix: the best helpers of every row. Rows with short responses have larger
entries and get more pairs. Most of the budget goes to pairs of samples with the most similar features. Then the matrix
is estimated (`completion`), and each row continues with the pairs of the highest rank by estimate and similarity
together: a few pairs help far more than any smooth estimate predicts, and they are among similar samples. Some random
pairs are held out of the fit, to measure the accuracy of the estimates.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from delift_core.models.vectors import InnerProductSearch

if TYPE_CHECKING:
    from delift_core.scoring.estimation.completion import Completion, LowRankMatrix

SIMILAR_SHARE = 0.6  # of the budget, for the most similar samples, before the first estimate
SIMILARITY_WEIGHT = 1.5  # relative to the estimate, both in units of their standard deviation over pairs
GROWTH = 1.4  # of the number of scored pairs in a round
HELD_OUT_SHARE = 0.05
HELD_OUT_PER_ROW = 10
MAX_SEARCHED = 256  # helpers to search for a row, or four times the mean budget of a row if that is more
_BLOCK_ENTRIES = 2_000_000
_COMPARED_PAIRS = 20_000

Kind = Literal["held-out", "alike", "chosen"]


@dataclass(frozen=True, slots=True)
class Round:
    """The pairs of one round: (m,) int64 rows and columns of the matrix; a plan has no pair twice."""

    kind: Kind
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """A matrix (r, c) to score in part; row i is helped, column j helps."""

    row_features: np.ndarray  # (r, d); column_features: (c, d), see `run_plan`
    column_features: np.ndarray
    budget: int  # number of pairs to score
    priority: np.ndarray  # (r,) positive; rows get pairs in proportion to it
    # Whether rows and columns are the same samples; pairs of a sample with itself are then not chosen.
    same: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return len(self.row_features), len(self.column_features)

    @property
    def options(self) -> int:
        """The number of pairs to choose from."""
        rows, columns = self.shape
        return rows * columns - (rows if self.same else 0)


@dataclass(slots=True)
class Measured:
    """Measured pairs: rows, columns and utilities, (m,) each; values are finite."""

    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.empty(0))


def row_priority(tokens: np.ndarray) -> np.ndarray:
    """(n,) relative number of pairs for each row: T ** -0.5 for a response of T tokens.

    A utility is a difference of root mean squares over T tokens, so its variance among helpers falls with T.

    Args:
        tokens: (n,) response tokens.
    """
    priority: np.ndarray = 1 / np.sqrt(np.maximum(tokens, 1))
    return priority


def opening_rounds(plan: MatrixPlan, seed: int) -> tuple[Round, ...]:
    """The rounds without estimates: held-out random pairs, and the pairs of the most similar samples."""
    from delift_core.scoring.estimation.completion import LowRankMatrix

    generator = np.random.default_rng(seed)
    everything = plan.budget >= plan.options
    held_out = np.empty(0, np.int64) if everything else _held_out(plan, generator)
    number = plan.options if everything else max(1, round(SIMILAR_SHARE * plan.budget)) - len(held_out)
    similar = _top_pairs(plan, LowRankMatrix(plan.row_features, plan.column_features), number, held_out, generator)
    columns = plan.shape[1]
    return _round("held-out", held_out, columns), _round("alike", similar, columns)


def next_round(plan: MatrixPlan, fitted: Measured, taken: np.ndarray, seed: int) -> Round | None:
    """The next pairs to score, given the measured ones; None when the budget is spent.

    Args:
        fitted: the measured pairs without the held-out ones.
        taken: sorted keys (row * columns + column) of all pairs chosen so far, including held-out ones.
        seed: equal input and seeds give equal pairs.
    """
    from delift_core.scoring.estimation.completion import Completion

    left = min(plan.budget, plan.options) - len(taken)
    if left <= 0:
        return None
    number = min(left, max(len(plan.priority), int(len(taken) * (GROWTH - 1))))
    completion = Completion(plan.row_features, plan.column_features, fitted.rows, fitted.columns, fitted.values)
    generator = np.random.default_rng([seed, len(taken)])
    ranking = _estimate_and_similarity(plan, completion, generator)
    return _round("chosen", _top_pairs(plan, ranking, number, taken, generator), plan.shape[1])


def pair_keys(plan: MatrixPlan, rounds: tuple[Round, ...]) -> np.ndarray:
    """The sorted keys (row * columns + column) of all pairs of the rounds."""
    columns = plan.shape[1]
    return np.sort(np.concatenate([one.rows * columns + one.columns for one in rounds] or [np.empty(0, np.int64)]))


def split_budget(priority: np.ndarray, number: int, room: np.ndarray) -> np.ndarray:
    """Distributes `number` pairs to rows in proportion to `priority`, at most `room` each: (r,) int64.

    Every row with room gets at least one, if `number` suffices for that.

    Args:
        priority, room: (r,).
    """
    number = min(number, int(room.sum()))
    first = np.minimum(room, min(1, number // len(priority)))
    rest, room = number - int(first.sum()), room - first
    full = room == 0
    share = np.zeros(len(priority))
    while rest and not full.all():
        share = np.where(full, room, priority * (rest - room[full].sum()) / priority[~full].sum())
        if not (over := ~full & (share > room)).any():
            break
        full |= over
    whole = np.minimum(share.astype(np.int64), room)
    remainder = np.where(whole < room, share - whole, -1)
    whole[np.argsort(-remainder, kind="stable")[: rest - int(whole.sum())]] += 1
    pairs: np.ndarray = first + whole
    return pairs


def _round(kind: Kind, keys: np.ndarray, columns: int) -> Round:
    return Round(kind, keys // columns, keys % columns)


def _held_out(plan: MatrixPlan, generator: np.random.Generator) -> np.ndarray:
    """Keys of random pairs: random rows with several random columns each, to measure rank correlation in a row."""
    rows, columns = plan.shape
    wanted = min(int(plan.budget * HELD_OUT_SHARE), plan.options // 2)
    each = min(HELD_OUT_PER_ROW, columns - 1 if plan.same else columns)
    chosen = generator.permutation(rows)[: wanted // max(1, each)]
    keys = [row * columns + _other_columns(plan, row, each, generator) for row in chosen]
    return np.sort(np.concatenate(keys)) if keys else np.empty(0, np.int64)


def _other_columns(plan: MatrixPlan, row: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """Random columns, without the row's own sample."""
    columns = plan.shape[1]
    if not plan.same:
        return generator.choice(columns, number, replace=False)
    picked = generator.choice(columns - 1, number, replace=False)
    return picked + (picked >= row)


def _estimate_and_similarity(
    plan: MatrixPlan, completion: "Completion", generator: np.random.Generator
) -> "LowRankMatrix":
    """The rank of pairs: estimate plus similarity, in units of their standard deviations over random pairs."""
    rows, columns = (generator.integers(0, count, _COMPARED_PAIRS) for count in plan.shape)
    estimates = completion.mean().at(rows, columns) / completion.row_scale[rows]
    similarity = completion.similarity(rows, columns)
    weight = SIMILARITY_WEIGHT * float(estimates.std() or 1) / float(similarity.std() or 1)
    return completion.add_similarity(weight, float(similarity.mean()))


def _top_pairs(
    plan: MatrixPlan, ranking: "LowRankMatrix", number: int, taken: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Sorted keys of `number` free pairs: of each row, according to its priority, those of the highest rank."""
    rows, columns = plan.shape
    has = np.bincount(taken // columns, minlength=rows) + plan.same
    searched = min(columns, max(MAX_SEARCHED, 4 * -(-plan.budget // rows)))
    quota = split_budget(plan.priority, max(0, number), np.maximum(searched - has, 0))
    found = [np.empty(0, np.int64)]
    search = InnerProductSearch(ranking.right)
    for block in _blocks(rows, searched):
        wanted = quota[block]
        best = search.search(ranking.left[block], int((wanted + has[block]).max()))
        keys = block[:, None] * columns + best
        free = (best >= 0) & ~is_in_sorted(keys, taken)
        if plan.same:
            free &= best != block[:, None]
        found.append(keys[free & (np.cumsum(free, axis=1) <= wanted[:, None])])
    keys = np.concatenate(found)
    missing = min(number, plan.options - len(taken)) - len(keys)
    if missing > 0:  # the search found fewer, or the budget exceeds the number of searched helpers
        keys = np.concatenate([keys, _random_others(plan, missing, np.union1d(taken, keys), generator)])
    return np.sort(keys)


def _blocks(rows: int, width: int) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK_ENTRIES // width)
    for start in range(0, rows, step):
        yield np.arange(start, min(start + step, rows))


def _random_others(plan: MatrixPlan, number: int, taken: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keys of random free pairs."""
    rows, columns = plan.shape
    found = np.empty(0, np.int64)
    while len(found) < number:
        row, column = generator.integers(0, rows, 2 * number), generator.integers(0, columns, 2 * number)
        keys = (row * columns + column)[(row != column) if plan.same else slice(None)]
        found = np.union1d(found, np.setdiff1d(keys, taken))
    return generator.permutation(found)[:number]


def is_in_sorted(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Whether each key is in a sorted array (m,): bool of the shape of `keys`."""
    if not len(ordered):
        return np.zeros(keys.shape, dtype=bool)
    index = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: np.ndarray = ordered[index] == keys
    return found
