"""What to evaluate, and how: the pool, the subset, the held-out rows, the model, and the arms to compare.

Imports no tensor library, so that commands start quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from delift_core.baselines import LessSettings
from delift_core.errors import DataError, ScoringError
from delift_core.models.devices import DeviceName
from delift_core.models.lora import LoraSettings
from delift_core.models.model_files import BUNDLED
from delift_core.models.prompts import TemplateChoice
from delift_core.samples import Sample
from delift_core.selection.methods import METHODS

Weights = Literal["auto", "full", "lora"]
UNTOUCHED, SUBSET = "untouched", "subset"
BASELINES: tuple[str, ...] = ("random", "random-tokens", "full", *(name for name in METHODS if name != "random"))
FULL_BELOW = 500_000_000  # weights; "auto" trains LoRA layers in larger models


def methods_of_utilities(against: Sequence[str]) -> tuple[str, ...]:
    """The methods among arms that need the utilities of a scored run."""
    return tuple(name for name in against if name in METHODS and METHODS[name].needs == "utilities")


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Settings of fine-tuning.

    Attributes:
        learning_rate: of the first step; decreases linearly to 0.
        rows_per_step: rows of one step of the optimiser.
        batch_tokens: most tokens of a forward and backward pass; limits memory, without effect on the result.
        weights: all weights ("full"), LoRA layers ("lora"), or depending on the model's size ("auto").
        lora: shape of the LoRA layers; as published, rank 8 and alpha 32 on every linear layer.

    Raises:
        ScoringError: a number is not above 0.
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
        """Number of optimiser steps for a number of rows."""
        return self.epochs * -(-rows // self.rows_per_step)

    def uses_lora(self, parameters: int) -> bool:
        """Whether a model of this size is trained through LoRA layers."""
        return self.weights == "lora" or (self.weights == "auto" and parameters >= FULL_BELOW)


@dataclass(frozen=True, slots=True)
class ExtraArm:
    """A further arm, given by its rows: another selection, or the order of a method."""

    name: str
    positions: tuple[int, ...]  # in the pool, best first; as many as the subset has rows are used


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate. The model is always loaded in float32, which fine-tuning needs.

    Raises:
        DataError: an empty set, a position outside the pool, an unknown arm or no seed.
    """

    pool: tuple[Sample, ...]  # all rows that the subset was selected from
    subset_positions: tuple[int, ...]  # the subset, as positions in the pool
    heldout: tuple[Sample, ...]  # rows to measure the loss on; rows that the selection has seen are left out
    target: tuple[Sample, ...] = ()  # target rows of the selection, if any, which it has seen
    model: str = BUNDLED
    device: DeviceName = "auto"
    template: TemplateChoice = "auto"
    # Arms to compare with, besides the untouched model: "random" (as many rows), "random-tokens" (rows with as many
    # response tokens), "full", or names of methods.
    against: tuple[str, ...] = ("random", "full")
    others: tuple[ExtraArm, ...] = ()  # further arms, given by positions
    seeds: int = 3  # number of runs of the subset and of random rows, each with its own random rows and order
    first_seed: int = 0  # seed of the first run and of the intervals
    method_runs: int = 1  # number of runs of each method and further arm, which differ in the order of rows
    examples: int = 0  # number of nearest rows as examples for a measurement without training; 0 for none
    generate: int = 0  # number of held-out rows that each arm answers; the answers are scored
    answer_tokens: int = 128  # longest answer
    template_arguments: str = ""  # of the chat template, a JSON object as text
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
        lacking = [name for name in methods_of_utilities(self.against) if name not in given]
        if lacking:
            raise DataError(
                f"{lacking[0]} needs the utilities that the subset was chosen by; name the workspace that scored the "
                "pool"
            )
        if min(self.seeds, self.method_runs) < 1:
            raise DataError(
                f"an evaluation with {min(self.seeds, self.method_runs)} seeds has no runs; give at least 1"
            )
        if min(self.examples, self.generate) < 0 or self.answer_tokens < 1:
            raise DataError("examples and generated answers are counted from 0, and an answer has at least 1 token")
