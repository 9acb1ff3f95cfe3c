"""The data types of selection: requests and results."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Metric = Literal["euclidean", "pmi", "pmi-per-token"]
Stage = Literal["instruction", "task", "continual"]
SecondSet = Literal["target", "existing"]
Scaling = Literal["clamp", "min-max"]
TargetHelp = Literal["bonus", "coverage"]
BudgetUnit = Literal["rows", "percent", "tokens"]
ChosenBy = str
"""What ordered the rows: the greedy optimiser ("delift"), a method of `methods.METHODS`, or someone else ("given")."""


@dataclass(frozen=True, slots=True)
class StageEntry:
    """A stage as shown to a curator.

    Attributes:
        title: its name.
        summary: one sentence on what it optimises.
        needs: the set that it needs besides the pool, if any.
    """

    title: str
    summary: str
    needs: SecondSet | None = None


STAGES: dict[Stage, StageEntry] = {
    "instruction": StageEntry("Instruction tuning", "Rows that together help with as much of the pool as possible."),
    "task": StageEntry("Target task", "The same, and also covers your target task.", "target"),
    "continual": StageEntry(
        "Continual fine-tuning", "Adds what your existing training data does not already teach.", "existing"
    ),
}


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """The objective to maximise."""

    # "instruction" is Facility Location (FL), "task" its mutual information as published (FLMI), "continual" its
    # conditional gain (FLCG).
    stage: Stage
    eta: float = 1.0  # weight of the target term (task only), >= 0
    nu: float = 1.0  # weight of the coverage by existing rows (continual only), >= 0
    # Share in [0, 1] of the measured diagonal U_ii by which a chosen sample covers itself; 0 excludes the diagonal.
    self_coverage: float = 0.0
    # From utilities U to the kernel s: "clamp" is max(U, 0); "min-max", as in the published code, is (U - min) / (max -
    # min) over each whole matrix, with the diagonal for the pool's.
    scaling: Scaling = "clamp"
    # The target term (task only): "bonus", as published, adds for each chosen row its largest help to any target row;
    # "coverage" adds for each target row the largest help from any chosen row.
    target_help: TargetHelp = "bonus"

    @property
    def needed_set(self) -> SecondSet | None:
        """The set that the stage needs besides the pool."""
        return STAGES[self.stage].needs


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of a selection: `amount` rows, percent of the pool, or tokens."""

    unit: BudgetUnit
    amount: float


@dataclass(frozen=True, slots=True)
class GreedyOrder:
    """The order of a whole pool of n samples, greedy or by another method; every prefix is a selection."""

    order: "np.ndarray"  # (n,) int64 positions in the pool in the order picked
    gains: "np.ndarray"  # (n,) float64, marginal gain of each pick when it was picked, in units of the metric

    @property
    def useful(self) -> int:
        """Number of picks with a gain; in a greedy order, the picks after them only fill a budget."""
        return int((self.gains > 0).sum())


@dataclass(frozen=True, slots=True)
class Certificate:
    """A lower bound on the quality of a selection: its value, and an upper bound on that of any allowed subset."""

    value: float
    upper_bound: float

    @property
    def ratio(self) -> float:
        """Guaranteed share of the optimum, in [0, 1]; 1 if the optimum is 0."""
        return 1.0 if self.upper_bound <= 0 else min(1.0, self.value / self.upper_bound)


@dataclass(frozen=True, slots=True)
class RandomBaseline:
    """Objective values of random subsets of the selection's size, one per draw."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        import numpy as np

        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        """Sample standard deviation over the draws (0 for a single draw)."""
        import numpy as np

        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


ENOUGH = 0.97
"""Share of the value with all pairs at which a budget of pairs counts as large enough."""


@dataclass(frozen=True, slots=True)
class ErrorBar:
    """The value of a selection A from some of the pairs, relative to the greedy selection from all pairs.

    Attributes:
        pairs, share: number of scored pairs, without those of a sample with itself, and their share of all.
        ratio: estimate of f(A) / f(A from all pairs), the mean over the simulations; `low` and `high` are their range.
        bound: whether the ratio is a lower bound, to a value that no selection exceeds (large pools).
        tested_pairs, r2, spearman: the estimates against held-out pairs; `spearman`, the rank correlation within a row,
            is None if it is undefined.
        share_needed: share of the pairs that should be enough, see `reliability.share_needed`.
    """

    pairs: int
    share: float
    ratio: float
    low: float
    high: float
    bound: bool
    tested_pairs: int
    r2: float
    spearman: float | None
    share_needed: float

    @property
    def enough(self) -> bool:
        """Whether the budget of pairs was large enough."""
        return self.ratio >= ENOUGH

    @property
    def sentence(self) -> str:
        """The error bar as text for the curator."""
        order = "" if self.spearman is None else f", order within a row (Spearman) {self.spearman:.2f}"
        least, most = ("at least ", "at most ") if self.bound else ("", "")
        found = (
            f"Based on {_percent(self.share)} of the pairs. Likely {least}{self.ratio:.0%} ({self.low:.0%} to "
            f"{self.high:.0%}) as good as scoring every pair. The estimates were checked on {self.tested_pairs:,} "
            f"random pairs that they had not seen: R² {self.r2:.2f}{order}."
        )
        if self.enough:
            return found
        return f"{found} For a better selection, score {most}about {_percent(self.share_needed)} of the pairs."


def _percent(share: float) -> str:
    """With two significant digits, because a large pool has far less than 1 % of its pairs scored."""
    return f"{100 * share:.2g}%" if share < 0.1 else f"{share:.0%}"


@dataclass(frozen=True, slots=True)
class FixedRows:
    """Pool positions that a curator kept or dropped before the optimiser ran."""

    kept: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


NO_FIXED_ROWS = FixedRows()


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds on the number of chosen rows of one group; `most` None is no upper bound."""

    label: str
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Quotas:
    """Quotas for all groups of a pool of n samples, see `quotas`."""

    column: str  # what the rows are grouped by ("Source")
    groups: tuple[Quota, ...]  # m quotas, one per group
    codes: "np.ndarray"  # (n,) int64, the index in `groups` of each row's group


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection from a pool of n samples."""

    config: ObjectiveConfig
    budget: Budget
    chosen: "np.ndarray"  # (k,) int64 positions in the order picked
    chosen_gains: "np.ndarray"  # (k,) float64, gain of each row when it was picked
    greedy: GreedyOrder  # the order of the whole pool, from which any other budget can be cut
    residual_gains: "np.ndarray"  # (n,) float64, gain of adding each sample to the chosen set; 0 for chosen samples
    certificate: Certificate
    random: RandomBaseline
    # Rows that a curator decided; kept rows come first in `chosen`, and certificate and random baseline are about the
    # other rows.
    fixed: FixedRows = NO_FIXED_ROWS
    quotas: Quotas | None = None  # of the groups, if any; certificate and random baseline respect them
    engine: str = "auto"  # of the greedy order: a `request.Engine`, or one of version 0.1.0 ("stochastic:0.1")
    # What ordered the rows; objective, gains and certificate are of the configured objective in any case.
    method: ChosenBy = "delift"
