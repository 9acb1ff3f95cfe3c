"""What the methods of `selection.methods` ask of a model: `measure` (forward passes) and `less` (gradients)."""

from dataclasses import dataclass

from delift_core.models.lora import ATTENTION, LoraSettings


@dataclass(frozen=True, slots=True)
class LessSettings:
    """LESS (arXiv 2402.04333). Published are rank 128, alpha 512, 32 rows per step and 8,192 dimensions; the defaults
    are smaller, since projecting fifteen million numbers per row needs a GPU."""

    lora: LoraSettings = LoraSettings(8, 32.0, ATTENTION)  # the layers whose gradients are compared
    warmup_share: float = 0.05  # share of the pool to warm up on, at least `fewest_rows` rows
    fewest_rows: int = 8
    epochs: int = 4  # of the warm-up; gradients are computed after each
    learning_rate: float = 2e-5  # at its peak; it decays linearly
    rows_per_step: int = 8
    projection: int = 1024  # dimensions of the random projection
    targets: int = 32  # random pool rows that serve as targets where there are no target rows
