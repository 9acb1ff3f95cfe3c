"""The nouns of selection: what is asked for, and what comes back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from delift_core.selection.methods import Method

if TYPE_CHECKING:
    import numpy as np

Stage = Literal["instruction", "task", "continual"]
Scaling = Literal["clamp", "min-max"]
TargetHelp = Literal["bonus", "coverage"]
BudgetUnit = Literal["rows", "percent", "tokens"]
ChosenBy = Literal["delift", "given", Method]
"""What put the rows in order: the greedy optimiser, another method, or something that is not said ("given")."""


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """Which objective is maximised.

    Attributes:
        stage: "instruction" is Facility Location, "task" its mutual-information form as published (FLMI), "continual"
            its conditional-gain form (FLCG).
        eta: weight of the target term (task only), >= 0.
        nu: how strongly existing rows count as already covered (continual only), >= 0.
        self_coverage: share in [0, 1] of the measured diagonal U_ii with which a chosen sample covers itself;
            0 excludes the diagonal.
        scaling: how utilities become the kernel: "clamp" is s = max(U, 0); "min-max", as the published code has it, is
            s = (U - least) / (greatest - least) over each whole matrix, the pool's with its diagonal.
        target_help: how the target counts (task only): "bonus", as published, each chosen row by its help to the one
            target row that it helps most; "coverage", each target row by its best helper among the chosen.
    """

    stage: Stage
    eta: float = 1.0
    nu: float = 1.0
    self_coverage: float = 0.0
    scaling: Scaling = "clamp"
    target_help: TargetHelp = "bonus"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be chosen: `amount` rows, percent of the pool, or tokens."""

    unit: BudgetUnit
    amount: float


@dataclass(frozen=True, slots=True)
class GreedyOrder:
    """The whole greedy order over a pool of n samples, or the order of another method; every prefix is a selection.

    Attributes:
        order: (n,) int64, positions in the pool, first pick first.
        gains: (n,) float64, marginal gain of each pick at the time it was picked, in units of the metric.
    """

    order: "np.ndarray"
    gains: "np.ndarray"

    @property
    def useful(self) -> int:
        """How many picks add anything; in a greedy order, whatever comes after them only fills a budget."""
        return int((self.gains > 0).sum())


@dataclass(frozen=True, slots=True)
class Certificate:
    """How good a selection certainly is: `value` / `upper_bound` <= 1, whatever the best subset of that size is."""

    value: float
    upper_bound: float

    @property
    def ratio(self) -> float:
        """Guaranteed share of the optimum, in [0, 1]; 1 when nothing can be gained at all."""
        return 1.0 if self.upper_bound <= 0 else min(1.0, self.value / self.upper_bound)


@dataclass(frozen=True, slots=True)
class RandomBaseline:
    """Objective of random subsets of the same size as the selection, one value per draw."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean objective over the draws."""
        import numpy as np

        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        """Sample standard deviation over the draws (0 for a single draw)."""
        import numpy as np

        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Fixed:
    """Positions in the pool that a curator decided before the optimiser ran: in the subset, or out of it."""

    kept: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


NOTHING_FIXED = Fixed()


@dataclass(frozen=True, slots=True)
class Quota:
    """How many rows of one group may be chosen: `least` at least, `most` at most (None: as many as there are)."""

    label: str
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a selection must take of each group of a pool of n samples, see `quotas`.

    Attributes:
        column: what the groups are about ("Source").
        groups: m groups, each once.
        codes: (n,) int64, the place in `groups` of each pool row's own.
    """

    column: str
    groups: tuple[Quota, ...]
    codes: "np.ndarray"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the optimiser chose from a pool of n samples.

    Attributes:
        chosen: (k,) int64, positions in the pool in the order they were picked.
        chosen_gains: (k,) float64, gain of each at the time it was picked.
        greedy: the whole order, from which any other budget can be cut.
        residual_gains: (n,) float64, what each sample would still add to the chosen set (0 for chosen ones).
        fixed: rows that were not the optimiser's to decide; the kept ones come first in `chosen`, and certificate and
            random baseline are about the others.
        quotas: what was to be taken of each group, None if nothing was; certificate and random baseline keep to it.
        engine: what made the greedy order: a `request.Engine`, or one that version 0.1.0 had ("stochastic:0.1").
        method: what put the rows in order; objective, gains and certificate are of the configured objective whatever
            it was.
    """

    config: ObjectiveConfig
    budget: Budget
    chosen: "np.ndarray"
    chosen_gains: "np.ndarray"
    greedy: GreedyOrder
    residual_gains: "np.ndarray"
    certificate: Certificate
    random: RandomBaseline
    fixed: Fixed = NOTHING_FIXED
    quotas: Quotas | None = None
    engine: str = "auto"
    method: ChosenBy = "delift"
