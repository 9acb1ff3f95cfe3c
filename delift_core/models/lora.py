"""LoRA layers (Hu et al., arXiv 2106.09685) of peft: a saved adapter as part of a model, and layers that are added to a
loaded model for a while and removed again, while its own weights do not change. Fine-tuning and LESS both use the
latter; this module knows nothing of either.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from delift_core.errors import ModelError, ScoringError
from delift_core.models.devices import quantisation, weights_on
from delift_core.models.model_files import ADAPTER_WEIGHTS, embedding_rows

if TYPE_CHECKING:
    from peft import PeftModel

    from delift_core.models.loading import LoadedModel

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


def add_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    """The model with a saved adapter of it.

    Args:
        merge: adds the updates to the weights themselves. In less than float32 that would round small updates away, so
            they are kept beside the weights there.

    Raises:
        ModelError: the adapter belongs to another model, is of a kind that does not change weights, or the model's
            weights wait in the computer's memory.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that a newer peft has written
        config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        kind = str(config.peft_type).rsplit(".", 1)[-1]
        raise ModelError(
            f"{str(folder)!r} is a {kind} adapter, which changes prompts; use one that changes weights, such as LoRA"
        )
    if len(weights_on(model)) > 1:
        raise ModelError(
            f"the base model of {str(folder)!r} does not fit one device, which an adapter needs; merge the adapter "
            "into its base model and use that"
        )
    if (rows := embedding_rows(folder)) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter holds all rows of the larger one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that do not match, which are reported below
        adapted: Any = PeftModel.from_pretrained(model, str(folder))
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    with safe_open(folder / ADAPTER_WEIGHTS, "pt") as file:
        found = set(file.keys())
    if odd := (wanted - found) | {name for name in found - wanted if "lora_" in name}:
        raise ModelError(
            f"{str(folder)!r} does not fit its base model ({len(odd):,} weights, among them {min(odd)}); use the base "
            "model that it was trained on, or save the adapter again"
        )
    if merge:
        return adapted.merge_and_unload()
    return adapted.get_base_model()


def ensure_adaptable(loaded: "LoadedModel") -> None:
    """Refuses a model whose weights lie so that it cannot be trained.

    Raises:
        ScoringError: the weights are quantised or lie on several devices.
    """
    method = quantisation(loaded.model.config)
    if method and any(not weight.dtype.is_floating_point for weight in loaded.model.parameters()):
        raise ScoringError(
            f"the weights are quantised ({method}), and fine-tuning needs them in float32; use the full model"
        )
    if loaded.is_spread:
        places = " and ".join(weights_on(loaded.model))
        raise ScoringError(
            f"the weights do not fit one device and lie on {places}, and fine-tuning needs them on one; use a smaller "
            "model or a larger GPU"
        )


@contextmanager
def with_lora(loaded: "LoadedModel", settings: LoraSettings, *, seed: int) -> Iterator["PeftModel"]:
    """Adds LoRA layers for the duration of a `with` block; they start as zero updates, and only they can be trained.

    Args:
        seed: initialises the layers; the state of torch's own generator does not change.

    Raises:
        ScoringError: the model lacks one of the layers in `settings`, or its weights cannot be trained.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    ensure_adaptable(loaded)
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


def linear_layers(loaded: "LoadedModel") -> tuple[str, ...]:
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
