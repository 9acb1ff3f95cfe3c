"""Choosing an engine by its name, making its order, and saying what it promises.

    auto, dense, sparse, torch, submodlib     greedy
    stochastic[:EPSILON]                      greedy by random samples, epsilon 0.1 unless said
    partitioned[:PARTS]                       two rounds over random parts of the pool, 4 unless said

Whatever the engine, the selection is the beginning of a whole order, with its certificate over the whole pool.
"""

import math
from dataclasses import dataclass

import numpy as np

from delift_core.baselines.catalogue import method_title
from delift_core.errors import SelectionError
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.partitioned import MapParts, choose_in_parts
from delift_core.selection.request import EngineChoice, parse_engine
from delift_core.selection.types import Budget, GreedyOrder, Selection

_GREEDY = 1 - 1 / math.e


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
