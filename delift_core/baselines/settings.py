"""Settings of the methods."""

from dataclasses import dataclass

from delift_core.models.lora import ATTENTION, LoraSettings
from delift_core.selection.methods import Method


@dataclass(frozen=True, slots=True)
class LessSettings:
    """LESS (arXiv 2402.04333). Published are rank 128, alpha 512, 32 rows per step and 8,192 dimensions; the defaults
    are smaller, since projecting fifteen million numbers per row needs a GPU.

    Attributes:
        lora: the layers whose gradients are compared.
        warmup_share: share of the pool to warm up on, at least `fewest_rows` rows.
        epochs: of the warm-up; gradients are computed after each.
        learning_rate: peak learning rate, followed by linear decay.
        projection: dimensions of the random projection.
        targets: number of random pool rows to use as targets where there are no target rows.
    """

    lora: LoraSettings = LoraSettings(8, 32.0, ATTENTION)
    warmup_share: float = 0.05
    fewest_rows: int = 8
    epochs: int = 4
    learning_rate: float = 2e-5
    rows_per_step: int = 8
    projection: int = 1024
    targets: int = 32


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """A method with its settings; equal configs give equal orders.

    Attributes:
        seed: of every random draw (order, clusters, projection).
        clusters: number of clusters of DEFT-UCS, at most the square root of the pool size.
        easy_share: share of a cluster's rows to take near its centre (DEFT-UCS).
        certainty: alpha of SelectIT, the weight of disagreement between prompts.
        less: settings of LESS.
    """

    method: Method
    seed: int = 0
    clusters: int = 10
    easy_share: float = 0.5
    certainty: float = 0.2
    less: LessSettings = LessSettings()
