"""Settings of the methods that have any; equal settings give equal orders."""

from dataclasses import dataclass

from delift_core.models.lora import ATTENTION, LoraSettings
from delift_core.selection.methods import Method


@dataclass(frozen=True, slots=True)
class LessSettings:
    """LESS (arXiv 2402.04333). The published rank 128, alpha 512 and projection 8,192 are `PUBLISHED_LESS`; the default
    is smaller, since projecting fifteen million numbers a row is a GPU's work.

    Attributes:
        lora: the layers whose gradients are compared.
        warmup_share: part of the pool that the warm-up trains on, at least `fewest_rows` rows.
        epochs: of the warm-up; gradients are taken after each.
        learning_rate: first one, falling linearly.
        projection: dimensions of the random projection.
        targets: without target rows, pool rows drawn to stand for them.
    """

    lora: LoraSettings = LoraSettings(8, 32.0, ATTENTION)
    warmup_share: float = 0.05
    fewest_rows: int = 8
    epochs: int = 4
    learning_rate: float = 2e-5
    rows_per_step: int = 8
    projection: int = 1024
    targets: int = 32


PUBLISHED_LESS = LessSettings(LoraSettings(128, 512.0, ATTENTION), rows_per_step=32, projection=8192)


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """A method with its settings; equal configs give equal orders.

    Attributes:
        seed: of what is drawn by lot (random, clusters, projection).
        clusters: of DEFT-UCS; at most the square root of the pool is used.
        easy_share: of each cluster, taken near its centre (DEFT-UCS).
        certainty: alpha of SelectIT, how much disagreement between prompts counts.
        less: settings of LESS.
    """

    method: Method
    seed: int = 0
    clusters: int = 10
    easy_share: float = 0.5
    certainty: float = 0.2
    less: LessSettings = LessSettings()
