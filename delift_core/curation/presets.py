"""Named settings of the objective: the app's own, and the published ones to compare with. No arithmetic."""

from dataclasses import dataclass
from typing import Literal

from delift_core.scoring.metrics import Metric
from delift_core.selection.types import ObjectiveConfig, Scaling, Stage, TargetHelp

PresetName = Literal["default", "published"]


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset sets of an objective.

    Attributes:
        title: a few words.
        words: what it is, in a sentence.
    """

    title: str
    words: str
    metric: Metric
    self_coverage: float
    scaling: Scaling
    target_help: TargetHelp


PRESETS: dict[PresetName, Preset] = {
    "default": Preset(
        "Our own",
        "Euclidean utility, what is below 0 counts as no help, and no row covers itself; a target's rows are covered "
        "like the pool's.",
        "euclidean",
        0.0,
        "clamp",
        "coverage",
    ),
    "published": Preset(
        "As published",
        "Euclidean utility scaled between its least and greatest value, each row's help to itself included: as in the "
        "code of arXiv 2411.04425; a target as a bonus for each row.",
        "euclidean",
        1.0,
        "min-max",
        "bonus",
    ),
}


def objective_of(preset: PresetName, stage: Stage, *, eta: float = 1.0, nu: float = 1.0) -> ObjectiveConfig:
    """The objective of a preset; eta and nu belong to the stage."""
    chosen = PRESETS[preset]
    return ObjectiveConfig(stage, eta, nu, chosen.self_coverage, chosen.scaling, chosen.target_help)
