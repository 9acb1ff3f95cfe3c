"""What to evaluate, and how: the pool, the subset, the held-out rows, the model, and the arms to compare.

Knows nothing of files, manifests or tensors, so that reading a request costs nothing.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from delift_core.errors import DataError, ScoringError
from delift_core.models import BUNDLED, DeviceName
from delift_core.prompts import TemplateChoice
from delift_core.samples import Sample

Baseline = Literal["random", "full", "longest"]
ArmName = Literal["untouched", "subset", "random", "full", "longest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


class EvaluationStopped(ScoringError):
    """Someone asked for the evaluation to stop before it was complete."""


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How to fine-tune.

    Attributes:
        epochs: passes over the rows.
        learning_rate: of the first step; it falls linearly to 0.
        rows_per_step: rows behind one step of the optimiser, so that as many rows make as many steps.
        batch_tokens: most tokens in one forward and backward pass; a limit on memory that changes no result.

    Raises:
        ScoringError: one of them is not above 0.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    rows_per_step: int = 8
    batch_tokens: int = 1024

    def __post_init__(self) -> None:
        if min(self.epochs, self.rows_per_step, self.batch_tokens) < 1 or not self.learning_rate > 0:
            raise ScoringError(
                f"fine-tuning with {self.epochs} epochs, {self.rows_per_step} rows a step, {self.batch_tokens} tokens "
                f"a batch and a learning rate of {self.learning_rate} does nothing; all four must be above 0"
            )

    def steps(self, rows: int) -> int:
        """Steps of the optimiser for this many rows."""
        return self.epochs * -(-rows // self.rows_per_step)


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate. Weights are float32 whatever the utilities were scored in: fine-tuning needs it.

    Attributes:
        pool: all rows the subset was chosen from.
        subset_positions: the subset, as positions in the pool.
        heldout: rows to measure the loss on; those that the selection has seen are left out.
        target: the target rows the selection was made for, if any; the selection has seen them too.
        against: arms to compare the subset with, beside the untouched model.
        seeds: runs of the subset and of random rows, each with a draw and an order of its own; the other arms run once.
        first_seed: seed of the first run and of the intervals.

    Raises:
        DataError: an empty set, a position outside the pool, an unknown arm or no seed.
    """

    pool: tuple[Sample, ...]
    subset_positions: tuple[int, ...]
    heldout: tuple[Sample, ...]
    target: tuple[Sample, ...] = ()
    model: str = BUNDLED
    device: DeviceName = "auto"
    template: TemplateChoice = "auto"
    against: tuple[str, ...] = ("random", "full")
    seeds: int = 3
    first_seed: int = 0
    tuning: FineTuning = FineTuning()

    def __post_init__(self) -> None:
        if not self.heldout:
            raise DataError("there are no held-out rows; give a file with rows that are not in the pool")
        if not self.subset_positions:
            raise DataError("the subset is empty: there is nothing to fine-tune on; select some rows first")
        outside = [p for p in self.subset_positions if not 0 <= p < len(self.pool)]
        if outside:
            raise DataError(
                f"the subset names position {outside[0]} and the pool has {len(self.pool):,} rows; "
                "give the pool that the subset was chosen from"
            )
        unknown = [name for name in self.against if name not in BASELINES]
        if unknown:
            raise DataError(f"there is no arm {unknown[0]!r} to compare with; choose from {', '.join(BASELINES)}")
        if self.seeds < 1:
            raise DataError(f"an evaluation with {self.seeds} seeds has no runs; give at least 1")
