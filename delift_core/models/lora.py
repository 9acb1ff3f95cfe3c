"""LoRA layers (Hu et al., arXiv 2106.09685) that peft adds to a loaded model and removes again.

The model's own weights do not change. Fine-tuning and LESS both use this module; it knows nothing of either.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from delift_core.errors import ScoringError
from delift_core.models.loading import LoadedModel

if TYPE_CHECKING:
    from peft import PeftModel

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_LISTED_LAYERS = 8  # in an error


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Which layers get a LoRA update, and its size.

    Raises:
        ScoringError: rank or alpha is not above 0.
    """

    rank: int = 8  # of each update
    alpha: float = 32.0  # each update is scaled by alpha / rank
    # Last name components of the modules to adapt; () adapts every linear layer but the output layer.
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise ScoringError(f"LoRA rank {self.rank} and alpha {self.alpha:g} are not valid; both must be above 0")


@contextmanager
def with_lora(loaded: LoadedModel, settings: LoraSettings, *, seed: int) -> Iterator["PeftModel"]:
    """Adds LoRA layers for the duration of a `with` block; they start as zero updates, and only they can be trained.

    Args:
        seed: initialises the layers; the state of torch's own generator does not change.

    Raises:
        ScoringError: the model lacks one of the layers in `settings`.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    present = linear_layers(loaded)
    missing = [name for name in settings.layers if name not in present]
    if missing or not present:
        have = ", ".join(present[:_LISTED_LAYERS]) or "no linear layers at all"
        raise ScoringError(
            f"this model has no layers {', '.join(missing) or '(any linear)'} for LoRA, only {have}; "
            "name some of these, or fine-tune all weights"
        )
    targets: Any = list(settings.layers) or list(present)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=cast(Any, settings.alpha),
        lora_dropout=0.0,
        target_modules=targets,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns that it transposes GPT-2's layers
        torch.manual_seed(seed)
        adapted = get_peft_model(loaded.model, config)
    try:
        yield cast("PeftModel", adapted)
    finally:
        cast(Any, adapted).unload()
        if hasattr(loaded.model, "peft_config"):
            del loaded.model.peft_config
        loaded.model.requires_grad_(False)


def linear_layers(loaded: LoadedModel) -> tuple[str, ...]:
    """Last names of the model's linear layers, without the output layer, in order of appearance."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = cast(Any, loaded.model).get_output_embeddings()
    names = (
        name.rsplit(".", 1)[-1]
        for name, module in loaded.model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not output
    )
    return tuple(dict.fromkeys(names))


def trainable(model: Any) -> Sequence[Any]:
    """The weights that can be trained, in a fixed order."""
    return [weight for weight in model.parameters() if weight.requires_grad]
