"""What to evaluate, and how: the pool, the subset, the held-out rows, the model, and the arms to compare.

Knows nothing of files, manifests or tensors, so that reading a request costs nothing.
"""

from dataclasses import dataclass
from typing import Literal

from delift_core.baselines.settings import LessSettings
from delift_core.errors import DataError, ScoringError
from delift_core.models.bundled import BUNDLED
from delift_core.models.loading import DeviceName
from delift_core.models.lora import LoraSettings
from delift_core.models.prompts import TemplateChoice
from delift_core.samples import Sample
from delift_core.selection.methods import METHODS

Weights = Literal["auto", "full", "lora"]
UNTOUCHED, SUBSET = "untouched", "subset"
BASELINES: tuple[str, ...] = ("random", "random-tokens", "full", *(name for name in METHODS if name != "random"))
FULL_BELOW = 500_000_000  # weights; from there on, "auto" trains LoRA layers only


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
        weights: all of them ("full"), LoRA layers ("lora"), or by the model's size ("auto").
        lora: shape of the LoRA layers, where they are used; as published, rank 8 and alpha 32 on every linear layer.

    Raises:
        ScoringError: one of them is not above 0.
    """

    epochs: int = 3
    learning_rate: float = 5e-5
    rows_per_step: int = 8
    batch_tokens: int = 1024
    weights: Weights = "auto"
    lora: LoraSettings = LoraSettings()

    def __post_init__(self) -> None:
        if min(self.epochs, self.rows_per_step, self.batch_tokens) < 1 or not self.learning_rate > 0:
            raise ScoringError(
                f"fine-tuning with {self.epochs} epochs, {self.rows_per_step} rows a step, {self.batch_tokens} tokens "
                f"a batch and a learning rate of {self.learning_rate} does nothing; all four must be above 0"
            )

    def steps(self, rows: int) -> int:
        """Steps of the optimiser for this many rows."""
        return self.epochs * -(-rows // self.rows_per_step)

    def with_layers(self, parameters: int) -> bool:
        """Whether a model of so many weights is trained through LoRA layers."""
        return self.weights == "lora" or (self.weights == "auto" and parameters >= FULL_BELOW)


@dataclass(frozen=True, slots=True)
class ExtraArm:
    """A subset from elsewhere to compare with: another selection, or an order that only its owner can make.

    Attributes:
        name: of its arm.
        positions: in the pool, the first to take first; as many rows as the subset has are taken.
    """

    name: str
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate. Weights are float32 whatever the utilities were scored in: fine-tuning needs it.

    Attributes:
        pool: all rows the subset was chosen from.
        subset_positions: the subset, as positions in the pool.
        heldout: rows to measure the loss on; those that the selection has seen are left out.
        target: the target rows the selection was made for, if any; the selection has seen them too.
        against: arms to compare the subset with, beside the untouched model: "random" (as many rows),
            "random-tokens" (rows with as many response tokens), "full", methods by name.
        others: more arms, given as positions.
        seeds: runs of the subset and of random rows, each with a draw and an order of its own.
        first_seed: seed of the first run and of the intervals.
        method_runs: runs of each method and other arm, which differ in the order of their rows.
        examples: where above 0, also measured without training, with so many nearest chosen rows as examples.
        generate: so many held-out rows are answered by the first run of each arm, and the answers scored.
        answer_tokens: longest answer.
        less: settings of the method "less".

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
    others: tuple[ExtraArm, ...] = ()
    seeds: int = 3
    first_seed: int = 0
    method_runs: int = 1
    examples: int = 0
    generate: int = 0
    answer_tokens: int = 128
    tuning: FineTuning = FineTuning()
    less: LessSettings = LessSettings()

    def __post_init__(self) -> None:
        if not self.heldout:
            raise DataError("there are no held-out rows; give a file with rows that are not in the pool")
        if not self.subset_positions:
            raise DataError("the subset is empty: there is nothing to fine-tune on; select some rows first")
        named = [p for positions in (self.subset_positions, *(o.positions for o in self.others)) for p in positions]
        outside = [p for p in named if not 0 <= p < len(self.pool)]
        if outside:
            raise DataError(
                f"the subset names position {outside[0]} and the pool has {len(self.pool):,} rows; "
                "give the pool that the subset was chosen from"
            )
        given = {other.name for other in self.others}
        unknown = [name for name in self.against if name not in BASELINES]
        if unknown:
            raise DataError(f"there is no arm {unknown[0]!r} to compare with; choose from {', '.join(BASELINES)}")
        if "column-mean" in self.against and "column-mean" not in given:
            raise DataError(
                "column-mean needs the utilities that the subset was chosen by; name the workspace that scored the pool"
            )
        if min(self.seeds, self.method_runs) < 1:
            raise DataError(
                f"an evaluation with {min(self.seeds, self.method_runs)} seeds has no runs; give at least 1"
            )
        if min(self.examples, self.generate) < 0 or self.answer_tokens < 1:
            raise DataError("examples and generated answers are counted from 0, and an answer has at least 1 token")
