"""Which pairs of one utility matrix to score, round by round, so that they change a selection.

What a selection needs of a matrix are its large entries: for every row its best helpers. The first round is a balanced
random one; after each round the matrix is completed (see `completion`) and the next pairs are those that are likely to
help more than what their row has already, averaged over posterior draws (expected improvement, Jones et al. 1998). Some
random pairs are kept out of the fitting: only they can say how good the estimates are.

Rounds grow by a fixed factor whatever the budget, so that a larger budget begins with the pairs of a smaller one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import ndtr

from delift_core.utility.completion import Completion, Surface
from delift_core.utility.nearest import ProductSearch

FIRST_PER_ROW = 2  # random pairs of each row before anything is estimated
ALIKE_PER_ROW = 3  # pairs of each row with the samples most like it, scored with those
GROWTH = 1.5
HELD_OUT_SHARE = 0.05
HELD_OUT_PER_ROW = 10
DRAWS = 8
ALL_OPTIONS = 2_048  # columns up to which every pair is considered; above, the likeliest of each row
LIKELIEST = 256
_BLOCK_ENTRIES = 2_000_000
_GATHERED = 16  # an entry that is picked out takes the room of a whole vector
_HURDLE = 0.5  # of a row's best measured help, which a pair has to exceed to be of use

Kind = Literal["random", "alike", "chosen", "held-out"]


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
        per_column: the largest entry is sought for each column instead of each row (a target, see `objectives`).
        same: rows and columns are the same samples, and no pair of a sample with itself is chosen.
    """

    row_cues: np.ndarray
    column_cues: np.ndarray
    total: int
    per_column: bool = False
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


def opening_rounds(part: Part, seed: int) -> tuple[Round, ...]:
    """The rounds that need no estimates: held-out random pairs, a balanced random start, and pairs of like samples."""
    generator = np.random.default_rng(seed)
    everything = part.total >= part.options
    held = np.empty(0, np.int64) if everything else _held_out(part, generator)
    rows, columns = part.shape
    seekers, _ = (columns, rows) if part.per_column else (rows, columns)
    number = part.options if everything else min(part.total - len(held), FIRST_PER_ROW * seekers)
    first = np.setdiff1d(_balanced(part, number, generator), held)
    alike = _alike(part, min(part.total - len(held) - len(first), ALIKE_PER_ROW * seekers), np.union1d(held, first))
    kinds: tuple[tuple[Kind, np.ndarray], ...] = (("held-out", held), ("random", first), ("alike", alike))
    return tuple(_round(kind, keys, columns) for kind, keys in kinds)


def next_round(part: Part, fitted: Measured, taken: np.ndarray, seed: int) -> Round | None:
    """The pairs to score after those that were measured; None when the budget is spent.

    Args:
        fitted: the measured pairs without the held-out ones.
        taken: keys (row * columns + column) of all pairs of the plan so far, held-out ones too, sorted.
        seed: the same input and seed give the same pairs.
    """
    left = min(part.total, part.options) - len(taken)
    if left <= 0:
        return None
    rows, columns = part.shape
    seekers = columns if part.per_column else rows
    number = min(left, max(seekers, int(len(taken) * (GROWTH - 1))))
    completion = Completion(part.row_cues, part.column_cues, fitted.rows, fitted.columns, fitted.values)
    generator = np.random.default_rng([seed, len(taken)])
    draws = [completion.draw(generator) for _ in range(DRAWS)]
    best = np.zeros(seekers)
    np.maximum.at(best, fitted.columns if part.per_column else fitted.rows, fitted.values)
    keys = _promising(part, completion, draws, best, taken, number)
    if len(keys) < number:  # fewer candidates than budget: the rest at random
        keys = np.concatenate([keys, _random_others(part, number - len(keys), np.union1d(taken, keys), generator)])
    return _round("chosen", np.sort(keys), columns)


def keys_of(part: Part, rounds: tuple[Round, ...]) -> np.ndarray:
    """Sorted keys of all pairs of the rounds."""
    columns = part.shape[1]
    return np.sort(np.concatenate([one.rows * columns + one.columns for one in rounds] or [np.empty(0, np.int64)]))


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


def _balanced(part: Part, number: int, generator: np.random.Generator) -> np.ndarray:
    """Keys of random pairs, as even over rows and over columns as their number allows.

    Rows and columns are put into random order, and row r is given column r + s for random shifts s.
    """
    rows, columns = part.shape
    row_order = generator.permutation(rows)
    column_order = row_order if part.same else generator.permutation(columns)
    shifts = generator.permutation(np.arange(1 if part.same else 0, columns))
    laps = -(-number // rows)
    place = np.arange(rows)
    keys = [row_order * columns + column_order[(place + shift) % columns] for shift in shifts[:laps]]
    return np.concatenate(keys)[:number] if keys else np.empty(0, np.int64)


def _alike(part: Part, number: int, taken: np.ndarray) -> np.ndarray:
    """Keys of the pairs of each seeker with the samples whose cues are most like its own, at most `number`."""
    if number <= 0:
        return np.empty(0, np.int64)
    columns = part.shape[1]
    seekers, options = (part.column_cues, part.row_cues) if part.per_column else (part.row_cues, part.column_cues)
    found = ProductSearch(options).largest(seekers, min(len(options), 2 * ALIKE_PER_ROW + FIRST_PER_ROW + 1))
    place = np.broadcast_to(np.arange(len(seekers))[:, None], found.shape)
    keys = np.where(found < 0, -1, found * columns + place if part.per_column else place * columns + found)
    free = (keys >= 0) & ~among(keys, taken)
    if part.same:
        free &= found != place
    free &= np.cumsum(free, axis=1) <= ALIKE_PER_ROW
    return np.sort(keys[free][:number])


def _random_others(part: Part, number: int, taken: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keys of random pairs that are not taken."""
    rows, columns = part.shape
    found = np.empty(0, np.int64)
    while len(found) < number:
        row, column = generator.integers(0, rows, 2 * number), generator.integers(0, columns, 2 * number)
        keys = (row * columns + column)[(row != column) if part.same else slice(None)]
        found = np.union1d(found, np.setdiff1d(keys, taken))
    return generator.permutation(found)[:number]


def _promising(
    part: Part, completion: Completion, draws: list[Surface], best: np.ndarray, taken: np.ndarray, number: int
) -> np.ndarray:
    """Keys of the pairs of the largest expected improvement."""
    columns = part.shape[1]
    turned = [draw.turned for draw in draws] if part.per_column else draws
    mean = completion.mean().turned if part.per_column else completion.mean()
    kept_keys, kept_scores = np.empty(0, np.int64), np.empty(0)
    for seekers, options in _candidates(mean):
        scores: np.ndarray = np.zeros(options.shape)
        if part.per_column:
            noise = completion.noise(options, seekers[:, None])
        elif _all_are_options(mean):
            noise = completion.noise_block(seekers)
        else:
            noise = completion.noise(seekers[:, None], options)
        hurdle = _HURDLE * best[seekers, None]
        for draw in turned:
            entries = draw.block(seekers) if _all_are_options(mean) else draw.at(seekers[:, None], options)
            scores += _improvement(entries - hurdle, noise)
        keys = (options * columns + seekers[:, None]) if part.per_column else (seekers[:, None] * columns + options)
        keys, scores = keys.ravel(), scores.ravel()
        allowed = (options.ravel() >= 0) & ~among(keys, taken)
        if part.same:
            allowed &= keys // columns != keys % columns
        kept_keys = np.concatenate([kept_keys, keys[allowed]])
        kept_scores = np.concatenate([kept_scores, scores[allowed]])
        if len(kept_keys) > number:
            top = np.argsort(-kept_scores, kind="stable")[:number]
            kept_keys, kept_scores = kept_keys[top], kept_scores[top]
    return kept_keys


def _all_are_options(mean: Surface) -> bool:
    return len(mean.right) <= ALL_OPTIONS


def _candidates(mean: Surface) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of seekers (b,) with the options (b, m) that are considered for them; -1 stands for none."""
    seekers, options = len(mean.left), len(mean.right)
    width = options if _all_are_options(mean) else LIKELIEST
    step = max(1, _BLOCK_ENTRIES // (width if _all_are_options(mean) else _GATHERED * width))
    search = None if _all_are_options(mean) else ProductSearch(mean.right)
    for start in range(0, seekers, step):
        block = np.arange(start, min(start + step, seekers))
        if search is None:
            yield block, np.broadcast_to(np.arange(options), (len(block), options))
        else:
            yield block, search.largest(mean.left[block], LIKELIEST)


def _improvement(above: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """E max(above + noise * z, 0) for a standard normal z."""
    ratio = above / noise
    expected: np.ndarray = above * ndtr(ratio) + noise * np.exp(-(ratio**2) / 2) / np.sqrt(2 * np.pi)
    return expected


def among(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which of the keys occur in an ordered array."""
    if not len(ordered):
        return np.zeros(keys.shape, dtype=bool)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: np.ndarray = ordered[place] == keys
    return found
