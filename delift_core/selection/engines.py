"""Choosing an engine by its name, making its order, and saying what it promises.

    auto, dense, sparse, torch, submodlib     greedy
    stochastic[:EPSILON]                      greedy by random samples, epsilon 0.1 unless said
    partitioned[:PARTS]                       two rounds over random parts of the pool, 4 unless said

Whatever the engine, the selection is the beginning of a whole order, with its certificate over the whole pool.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from delift_core.baselines.catalogue import method_title
from delift_core.errors import SelectionError
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.partitioned import MapParts, choose_in_parts
from delift_core.selection.pickers import Engine
from delift_core.selection.types import Budget, GreedyOrder, Selection

EngineName = Literal[Engine, "partitioned"]
EPSILON, PARTS = 0.1, 4
_MOST_PARTS = 10_000
_GREEDY = 1 - 1 / math.e
_FORMS = f"use one of {', '.join(get_args(Engine))}, stochastic:0.05, partitioned or partitioned:8"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and its setting: `epsilon` of "stochastic", `parts` of "partitioned"; the others have none."""

    name: EngineName = "auto"
    epsilon: float = EPSILON
    parts: int = PARTS


AUTO = EngineChoice()


def parse_engine(text: str) -> EngineChoice:
    """Reads "sparse", "stochastic:0.05" or "partitioned:8".

    Raises:
        SelectionError: an unknown engine, a setting where there is none, or one out of range.
    """
    name, colon, setting = text.strip().partition(":")
    known = (*get_args(Engine), "partitioned")
    if name not in known or (colon and name not in ("stochastic", "partitioned")):
        raise SelectionError(f"Engine {text!r} is not known: {_FORMS}.")
    chosen = cast(EngineName, name)
    if not colon:
        return EngineChoice(chosen)
    if name == "partitioned":
        if not (setting.isascii() and setting.isdecimal() and 1 <= int(setting[:6]) <= _MOST_PARTS):
            raise SelectionError(f"Engine {text!r}: give a number of parts from 1 to {_MOST_PARTS:,}.")
        return EngineChoice(chosen, parts=int(setting))
    try:
        epsilon = float(setting)
    except ValueError:
        epsilon = math.nan
    if not 0 < epsilon < 1:
        raise SelectionError(f"Engine {text!r}: give an epsilon between 0 and 1.")
    return EngineChoice(chosen, epsilon=epsilon)


def format_engine(choice: EngineChoice) -> str:
    """Writes a choice in the form that `parse_engine` reads back to an equal one."""
    if choice.name == "stochastic":
        return f"stochastic:{choice.epsilon!r}"
    return f"partitioned:{choice.parts}" if choice.name == "partitioned" else choice.name


def guarantee(selection: Selection) -> str:
    """What was promised of a selection before anything was chosen, in words; its certificate says more."""
    if selection.method != "delift":
        return f"no share of the best selection is promised of {method_title(selection.method)}; its certificate holds"
    choice, k = parse_engine(selection.engine), len(selection.chosen)
    best = "the best selection"
    if selection.fixed.kept or selection.fixed.dropped:
        best += " around the rows kept and dropped by hand (of what it adds to the kept)"
    if selection.quotas is not None:
        return f"at least 50.0% of {best} within the quotas (1/2)"
    if selection.budget.unit == "tokens":
        if choice.name == "stochastic":
            return "nothing is promised of random samples within a budget in tokens"
        return f"at least {_GREEDY / 2:.1%} of {best} ((1 - 1/e) / 2)"
    if choice.name == "stochastic":
        promised = max(0.0, _GREEDY - choice.epsilon)
        return f"at least {promised:.1%} of {best} in expectation (1 - 1/e - epsilon)"
    if choice.name == "partitioned" and choice.parts > 1:
        picks = picks_per_part(k, choice.parts)
        if picks == k:
            return f"at least {_GREEDY / 2:.1%} of {best} in expectation ((1 - 1/e) / 2)"
        share = (1 - math.exp(-picks / k)) / choice.parts
        return f"at least {share:.1%} of {best} ((1 - exp(-q / k)) / m, {picks:,} picks in each part)"
    return f"at least {_GREEDY:.1%} of {best} (1 - 1/e)"


def picks_per_part(k: int, parts: int) -> int:
    """Picks of each part in the first round: twice its share of the k rows that are wanted, and at most k."""
    return min(k, math.ceil(2 * k / parts))


def order_by(
    choice: EngineChoice, kernel: Kernel, budget: Budget, *, seed: int = 0, map_parts: MapParts = map
) -> GreedyOrder:
    """A whole order by the chosen engine.

    By parts it is for one budget: it begins with what the two rounds chose, greedily among themselves, and goes on
    greedily.

    Args:
        kernel: (r, n), from `objectives.represented_kernel`.
        budget: in rows or percent for "partitioned"; not read otherwise.
        seed: of what is left to chance.
        map_parts: where parts are worked on, see `partitioned.choose_in_parts`.

    Raises:
        SelectionError: the engine cannot serve the budget, or there is too little memory.
    """
    if choice.name != "partitioned":
        return greedy_order(kernel, engine=choice.name, epsilon=choice.epsilon, seed=seed)
    if budget.unit == "tokens":
        raise SelectionError("The partitioned engine counts rows and the budget counts tokens: give rows or percent.")
    n = kernel.shape[1]
    k, parts = rows_of_budget(budget, n), min(choice.parts, n)
    found = choose_in_parts(
        _Columns(kernel), n, k, parts=parts, per_part=picks_per_part(k, parts), seed=seed, map_parts=map_parts
    )
    return greedy_order(kernel, phases=(np.sort(found.chosen), np.setdiff1d(np.arange(n), found.chosen)))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Reads columns of a kernel; picklable, for other processes."""

    kernel: Kernel

    def __call__(self, positions: np.ndarray) -> Kernel:
        columns: Kernel = self.kernel[:, positions]
        return columns
