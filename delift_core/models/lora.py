"""LoRA layers (Hu et al., arXiv 2106.09685) on a loaded model for the length of a block, through peft.

The model's own weights are not touched. Fine-tuning and LESS share this; it knows nothing of either.
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
_NAMED = 8  # layer names that an error lists


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Shape of the layers.

    Attributes:
        rank: of each update.
        alpha: an update counts alpha / rank.
        layers: last names of the modules that get one; () is every linear layer but the output layer.

    Raises:
        ScoringError: rank or alpha is not above 0.
    """

    rank: int = 8
    alpha: float = 32.0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise ScoringError(f"LoRA of rank {self.rank} and alpha {self.alpha:g} is nothing; both must be above 0")


@contextmanager
def with_lora(loaded: LoadedModel, settings: LoraSettings, *, seed: int) -> Iterator["PeftModel"]:
    """Within the block the model has LoRA layers, which start without effect and are all that can be trained.

    Args:
        seed: of the layers' first weights; torch's own generator is left as it was.

    Raises:
        ScoringError: the model has none of the layers that were asked for.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    present = linear_layers(loaded)
    missing = [name for name in settings.layers if name not in present]
    if missing or not present:
        have = ", ".join(present[:_NAMED]) or "no linear layers at all"
        raise ScoringError(
            f"LoRA wants the layers {', '.join(missing) or '(any linear)'} and this model has {have}; "
            "name layers that it has, or fine-tune all weights"
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
        warnings.simplefilter("ignore")  # peft turns its own settings round for GPT-2's layers, and says so
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
    """Last names of the model's linear layers, the output layer left out, in order of appearance."""
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
    """The weights that gradients flow to, in a fixed order."""
    return [weight for weight in model.parameters() if weight.requires_grad]
