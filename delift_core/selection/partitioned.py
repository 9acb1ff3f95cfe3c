"""Two-round greedy over parts of the pool, for a kernel that does not fit into memory at once.

Round one picks in each part alone, round two among what the parts picked; the better of that and the best part's own
picks is the answer (GreeDi, Mirzasoleiman et al. 2013, "Distributed submodular maximization"). Never more is held than
the columns of one part, or of all that was picked. Parts are drawn at random. With k samples wanted, m parts and q
picked in each, the answer reaches of the optimum

    (1 - 1/e) / 2           in expectation, if q = k (Barbosa et al. 2015, "The power of randomization")
    (1 - exp(-q / k)) / m   at least, for any q <= k: the best part holds 1/m of the optimum

and far more in practice: the certificate says how much. For k much smaller than n / m take q = k; for a large share of
the pool only q below n / m leaves anything out in round one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.certificate import bound
from delift_core.selection.coverage import covered, gains_above, gains_along
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.types import NOTHING_FIXED, Certificate

_Result = TypeVar("_Result")

ReadColumns = Callable[[np.ndarray], Kernel]
"""Gives the (r, c) columns of a represented kernel at c positions; for other processes it has to be picklable."""


class MapParts(Protocol):
    """Does one thing with every part, here or elsewhere; results in the order of the parts. `map` is one."""

    def __call__(self, work: Callable[[np.ndarray], _Result], parts: Iterable[np.ndarray], /) -> Iterable[_Result]: ...


@dataclass(frozen=True, slots=True)
class PartitionedChoice:
    """What two rounds chose.

    Attributes:
        chosen: (k,) int64 positions in the order picked.
        gains: (k,) float64 gain of each when it was picked.
        certificate: valid for the whole pool, also for what no round ever held together.
    """

    chosen: np.ndarray
    gains: np.ndarray
    certificate: Certificate


def choose_in_parts(
    read: ReadColumns,
    n: int,
    k: int,
    *,
    parts: int,
    per_part: int | None = None,
    seed: int = 0,
    map_parts: MapParts = map,
) -> PartitionedChoice:
    """Chooses k of n samples of whose kernel only parts are read at a time.

    Args:
        read: the kernel's columns at given positions.
        n: samples in the pool.
        k: how many to choose, 1 to n.
        parts: number of parts m, 1 to n.
        per_part: picks q of each part in round one; None is k. A part with fewer samples gives all.
        seed: of the division into parts.
        map_parts: where parts are worked on: `map` here and one by one, `jobs.ray_map.RayMap` on a Ray cluster.

    Raises:
        SelectionError: k, parts or per_part out of range, or too few picks in round one to choose k from.
    """
    picks = k if per_part is None else per_part
    if not (1 <= k <= n and 1 <= parts <= n and 1 <= picks <= k):
        raise SelectionError(
            f"Cannot choose {k} of {n} samples from {parts} parts with {picks} picks each: "
            f"use at most {n} samples and parts, and from 1 to {k} picks."
        )
    divided = [np.sort(part) for part in np.array_split(np.random.default_rng(seed).permutation(n), parts)]
    if sum(min(picks, len(part)) for part in divided) < k:
        raise SelectionError(
            f"{parts} parts with {picks} picks each are fewer than {k} samples: pick more in each part."
        )
    first = list(map_parts(partial(_first_round, read, picks), divided))
    union = np.sort(np.concatenate([chosen for chosen, _ in first]))
    second = greedy_order(read(union))
    chosen = union[second.order[:k]]
    best, reached = max(first, key=lambda one: one[1])
    if reached > second.gains[:k].sum():
        others = chosen[~np.isin(chosen, best)]
        chosen = np.concatenate([best, others[: k - len(best)]])
    held = read(chosen)
    every = np.arange(k)
    cover = covered(held, every)
    residual = np.zeros(n)
    for part, gains in zip(divided, map_parts(partial(_residual, read, cover), divided), strict=True):
        residual[part] = gains
    certificate = bound(float(cover.sum()), residual, k, None, None, NOTHING_FIXED)
    return PartitionedChoice(chosen, gains_along(held, every), certificate)


def _first_round(read: ReadColumns, picks: int, part: np.ndarray) -> tuple[np.ndarray, float]:
    """A part's own greedy picks, and the objective that they reach."""
    greedy = greedy_order(read(part))
    return part[greedy.order[:picks]], float(greedy.gains[:picks].sum())


def _residual(read: ReadColumns, cover: np.ndarray, part: np.ndarray) -> np.ndarray:
    return gains_above(read(part), cover)
