"""Which pairs of one utility matrix to score, round by round, so that they change a selection.

What a selection needs of a matrix are its large entries: for every row its best helpers. Rows of short responses have
the larger ones, and are given more pairs. Most pairs are those of the samples that are most alike by their cues; then
the matrix is completed (see `completion`), and each row goes on with the pairs that are likely to help it most, by
estimate and likeness together: a few pairs help far more than any smooth estimate expects, and they are among like
samples. Some random pairs are kept out of the fitting: only they can say how good the estimates are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from delift_core.models.vectors import InnerProductSearch

if TYPE_CHECKING:
    from delift_core.scoring.estimation.completion import Completion, Surface

ALIKE_SHARE = 0.6  # of the budget, scored before anything is estimated
LIKENESS_WEIGHT = 1.5  # beside the estimate's one, both in units of their spread over pairs
GROWTH = 1.4
HELD_OUT_SHARE = 0.05
HELD_OUT_PER_ROW = 10
WIDEST = 256  # helpers that are looked up for a row; a row of a larger budget has four times its share
_BLOCK_ENTRIES = 2_000_000
_COMPARED_PAIRS = 20_000

Kind = Literal["held-out", "alike", "chosen"]


@dataclass(frozen=True, slots=True)
class Round:
    """Pairs that are scored together: (m,) int64 rows and columns of the matrix, none twice in a plan."""

    kind: Kind
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True, slots=True)
class Part:
    """One matrix that is to be scored in part; row i is helped, column j helps.

    Attributes:
        row_cues: (r, d); column_cues: (c, d), see `cues`.
        total: pairs that may be scored.
        effort: (r,) positive: in what proportion rows are given pairs.
        same: rows and columns are the same samples, and no pair of a sample with itself is chosen.
    """

    row_cues: np.ndarray
    column_cues: np.ndarray
    total: int
    effort: np.ndarray
    same: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.row_cues), len(self.column_cues)

    @property
    def options(self) -> int:
        """Pairs that can be chosen at all."""
        rows, columns = self.shape
        return rows * columns - (rows if self.same else 0)


@dataclass(slots=True)
class Measured:
    """Pairs and their utilities, (m,) each; values are finite."""

    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.empty(0))


def row_effort(tokens: np.ndarray) -> np.ndarray:
    """(n,) how many pairs a row should be given, relative to others: a response of T tokens T ** -0.5.

    A utility is a difference of root mean squares over T tokens, and varies the less among helpers the more there are.

    Args:
        tokens: (n,) response tokens.
    """
    effort: np.ndarray = 1 / np.sqrt(np.maximum(tokens, 1))
    return effort


def opening_rounds(part: Part, seed: int) -> tuple[Round, ...]:
    """The rounds that need no estimates: held-out random pairs, and those of the samples most alike."""
    from delift_core.scoring.estimation.completion import Surface

    generator = np.random.default_rng(seed)
    everything = part.total >= part.options
    held = np.empty(0, np.int64) if everything else _held_out(part, generator)
    number = part.options if everything else max(1, round(ALIKE_SHARE * part.total)) - len(held)
    alike = _best_of_each(part, Surface(part.row_cues, part.column_cues), number, held, generator)
    columns = part.shape[1]
    return _round("held-out", held, columns), _round("alike", alike, columns)


def next_round(part: Part, fitted: Measured, taken: np.ndarray, seed: int) -> Round | None:
    """The pairs to score after those that were measured; None when the budget is spent.

    Args:
        fitted: the measured pairs without the held-out ones.
        taken: keys (row * columns + column) of all pairs of the plan so far, held-out ones too, sorted.
        seed: the same input and seed give the same pairs.
    """
    from delift_core.scoring.estimation.completion import Completion

    left = min(part.total, part.options) - len(taken)
    if left <= 0:
        return None
    number = min(left, max(len(part.effort), int(len(taken) * (GROWTH - 1))))
    completion = Completion(part.row_cues, part.column_cues, fitted.rows, fitted.columns, fitted.values)
    generator = np.random.default_rng([seed, len(taken)])
    ranking = _estimate_and_likeness(part, completion, generator)
    return _round("chosen", _best_of_each(part, ranking, number, taken, generator), part.shape[1])


def keys_of(part: Part, rounds: tuple[Round, ...]) -> np.ndarray:
    """Sorted keys of all pairs of the rounds."""
    columns = part.shape[1]
    return np.sort(np.concatenate([one.rows * columns + one.columns for one in rounds] or [np.empty(0, np.int64)]))


def shared_out(effort: np.ndarray, number: int, room: np.ndarray) -> np.ndarray:
    """(s,) int64 whole numbers in proportion to `effort`, none above its `room`, `number` together where there is room.

    As far as `number` goes round, nobody is left without any.
    """
    number = min(number, int(room.sum()))
    first = np.minimum(room, min(1, number // len(effort)))
    rest, room = number - int(first.sum()), room - first
    full = room == 0
    share = np.zeros(len(effort))
    while rest and not full.all():
        share = np.where(full, room, effort * (rest - room[full].sum()) / effort[~full].sum())
        if not (over := ~full & (share > room)).any():
            break
        full |= over
    whole = np.minimum(share.astype(np.int64), room)
    behind = np.where(whole < room, share - whole, -1)
    whole[np.argsort(-behind, kind="stable")[: rest - int(whole.sum())]] += 1
    pairs: np.ndarray = first + whole
    return pairs


def _round(kind: Kind, keys: np.ndarray, columns: int) -> Round:
    return Round(kind, keys // columns, keys % columns)


def _held_out(part: Part, generator: np.random.Generator) -> np.ndarray:
    """Keys of random pairs: a few random rows with some random columns each, so that a row's order can be judged."""
    rows, columns = part.shape
    wanted = min(int(part.total * HELD_OUT_SHARE), part.options // 2)
    each = min(HELD_OUT_PER_ROW, columns - 1 if part.same else columns)
    chosen = generator.permutation(rows)[: wanted // max(1, each)]
    keys = [row * columns + _other_columns(part, row, each, generator) for row in chosen]
    return np.sort(np.concatenate(keys)) if keys else np.empty(0, np.int64)


def _other_columns(part: Part, row: int, number: int, generator: np.random.Generator) -> np.ndarray:
    columns = part.shape[1]
    if not part.same:
        return generator.choice(columns, number, replace=False)
    picked = generator.choice(columns - 1, number, replace=False)
    return picked + (picked >= row)


def _estimate_and_likeness(part: Part, completion: "Completion", generator: np.random.Generator) -> "Surface":
    """What pairs are ranked by: the estimate and the likeness of the samples, in units of their spread over pairs."""
    rows, columns = (generator.integers(0, count, _COMPARED_PAIRS) for count in part.shape)
    estimates = completion.mean().at(rows, columns) / completion.spread[rows]
    likeness = completion.likeness(rows, columns)
    weight = LIKENESS_WEIGHT * float(estimates.std() or 1) / float(likeness.std() or 1)
    return completion.with_likeness(weight, float(likeness.mean()))


def _best_of_each(
    part: Part, ranking: "Surface", number: int, taken: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Sorted keys of `number` pairs that are not taken: of each row, by its effort, those that rank highest."""
    rows, columns = part.shape
    has = np.bincount(taken // columns, minlength=rows) + part.same
    widest = min(columns, max(WIDEST, 4 * -(-part.total // rows)))
    quota = shared_out(part.effort, max(0, number), np.maximum(widest - has, 0))
    found = [np.empty(0, np.int64)]
    search = InnerProductSearch(ranking.right)
    for block in _blocks(rows, widest):
        wanted = quota[block]
        best = search.search(ranking.left[block], int((wanted + has[block]).max()))
        keys = block[:, None] * columns + best
        free = (best >= 0) & ~among(keys, taken)
        if part.same:
            free &= best != block[:, None]
        found.append(keys[free & (np.cumsum(free, axis=1) <= wanted[:, None])])
    keys = np.concatenate(found)
    missing = min(number, part.options - len(taken)) - len(keys)
    if missing > 0:  # cells that hold fewer than were sought, or a budget beyond what is looked up
        keys = np.concatenate([keys, _random_others(part, missing, np.union1d(taken, keys), generator)])
    return np.sort(keys)


def _blocks(seekers: int, width: int) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK_ENTRIES // width)
    for start in range(0, seekers, step):
        yield np.arange(start, min(start + step, seekers))


def _random_others(part: Part, number: int, taken: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keys of random pairs that are not taken."""
    rows, columns = part.shape
    found = np.empty(0, np.int64)
    while len(found) < number:
        row, column = generator.integers(0, rows, 2 * number), generator.integers(0, columns, 2 * number)
        keys = (row * columns + column)[(row != column) if part.same else slice(None)]
        found = np.union1d(found, np.setdiff1d(keys, taken))
    return generator.permutation(found)[:number]


def among(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which of the keys occur in an ordered array."""
    if not len(ordered):
        return np.zeros(keys.shape, dtype=bool)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: np.ndarray = ordered[place] == keys
    return found
