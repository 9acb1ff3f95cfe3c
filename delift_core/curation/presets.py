"""Named settings of the objective: the app's default and the published ones."""

from dataclasses import dataclass
from typing import Literal

from delift_core.scoring.metrics import Metric
from delift_core.selection.types import ObjectiveConfig, Scaling, Stage, TargetHelp

PresetName = Literal["default", "published"]


@dataclass(frozen=True, slots=True)
class Preset:
    """The settings of a preset; `title` and `words` describe it on the pages."""

    title: str
    words: str
    metric: Metric
    self_coverage: float
    scaling: Scaling
    target_help: TargetHelp


PRESETS: dict[PresetName, Preset] = {
    "default": Preset(
        "Default",
        "Euclidean utility; values below 0 count as no help, and no row covers itself; target rows are covered like "
        "pool rows.",
        "euclidean",
        0.0,
        "clamp",
        "coverage",
    ),
    "published": Preset(
        "As in the paper",
        "Euclidean utility scaled between its lowest and highest value, including each row's help to itself, as in the "
        "code of arXiv 2411.04425; the target is a bonus for each row.",
        "euclidean",
        1.0,
        "min-max",
        "bonus",
    ),
}


def objective_of(preset: PresetName, stage: Stage, *, eta: float = 1.0, nu: float = 1.0) -> ObjectiveConfig:
    """The objective of a preset, with the stage's weights eta (target) and nu (existing)."""
    chosen = PRESETS[preset]
    return ObjectiveConfig(stage, eta, nu, chosen.self_coverage, chosen.scaling, chosen.target_help)
