"""Two subsets of one pool side by side: what both hold, what only one holds, how much they agree.

Pure: positions in, positions out; what the subsets are worth is the callers' to say, since each may follow an
objective of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["both", "only-first", "only-second", "neither"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Positions in a pool of n samples, int64, ascending."""

    n: int
    both: np.ndarray
    only_first: np.ndarray
    only_second: np.ndarray

    @property
    def overlap(self) -> float:
        """Jaccard index of the two subsets, in [0, 1]; 1 for two empty ones."""
        union = len(self.both) + len(self.only_first) + len(self.only_second)
        return len(self.both) / union if union else 1.0

    @property
    def expected_overlap(self) -> float:
        """The Jaccard index to expect of two random subsets of these sizes: that of the expected intersection."""
        first, second = len(self.both) + len(self.only_first), len(self.both) + len(self.only_second)
        common = first * second / self.n if self.n else 0.0
        return common / (first + second - common) if first + second else 1.0

    @property
    def sides(self) -> tuple[Side, ...]:
        """(n,) where each sample of the pool stands."""
        sides: list[Side] = ["neither"] * self.n
        parts: Sequence[tuple[Side, np.ndarray]] = (
            ("both", self.both),
            ("only-first", self.only_first),
            ("only-second", self.only_second),
        )
        for side, positions in parts:
            for position in positions.tolist():
                sides[position] = side
        return tuple(sides)


def compare(n: int, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compares two subsets of a pool.

    Args:
        n: size of the pool.
        first, second: positions, each named once, in any order.
    """
    return Comparison(
        n,
        both=np.intersect1d(first, second).astype(np.int64),
        only_first=np.setdiff1d(first, second).astype(np.int64),
        only_second=np.setdiff1d(second, first).astype(np.int64),
    )
