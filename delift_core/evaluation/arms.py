"""The arms of an evaluation: which pool rows each run trains on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from delift_core.evaluation.evaluation_request import SUBSET, UNTOUCHED, EvaluationRequest
from delift_core.selection.budget import fill_budget

OrderOf = Callable[[str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run: positions of its rows in the pool, and the seed that shuffles them."""

    rows: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm with its runs; the untouched model has one run without rows."""

    name: str
    runs: tuple[Run, ...]


def plan_arms(
    request: EvaluationRequest, subset: tuple[int, ...], tokens: Mapping[int, int], order_of: OrderOf
) -> tuple[Arm, ...]:
    """Plans the untouched model, the subset, and the requested arms, over the rows that can be trained on.

    Args:
        subset: positions of the subset that can be trained on, at least one.
        tokens: number of response tokens of every position that can be trained on.
        order_of: returns the pool positions in a method's order, (n,) int64.
    """
    positions, k = np.array(sorted(tokens)), len(subset)
    counts = np.array([tokens[position] for position in positions.tolist()])
    limit = sum(tokens[position] for position in subset)
    seeds = range(request.first_seed, request.first_seed + request.seeds)
    method_seeds = range(request.first_seed, request.first_seed + request.method_runs)
    others = {other.name: other.positions for other in request.others}

    def random_rows(seed: int) -> tuple[int, ...]:
        return tuple(np.random.default_rng((seed, k)).choice(positions, size=k, replace=False).tolist())

    def random_rows_by_tokens(seed: int) -> tuple[int, ...]:
        order = np.random.default_rng((seed, k, limit)).permutation(len(positions))
        return tuple(positions[fill_budget(order, counts, float(limit))].tolist())

    def arm(name: str) -> Arm:
        if name == "random":
            return Arm(name, tuple(Run(random_rows(seed), seed) for seed in seeds))
        if name == "random-tokens":
            return Arm(name, tuple(Run(random_rows_by_tokens(seed), seed) for seed in seeds))
        if name == "full":
            return Arm(name, (Run(tuple(positions.tolist()), request.first_seed),))
        order = others[name] if name in others else tuple(order_of(name).tolist())
        rows = tuple(position for position in order if position in tokens)[:k]
        return Arm(name, tuple(Run(rows, seed) for seed in method_seeds))

    names = dict.fromkeys((*request.against, *others))
    return (
        Arm(UNTOUCHED, (Run((), request.first_seed),)),
        Arm(SUBSET, tuple(Run(subset, seed) for seed in seeds)),
        *(arm(name) for name in names),
    )
