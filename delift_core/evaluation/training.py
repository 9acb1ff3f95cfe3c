"""Fine-tunes a loaded model for the length of a `with` block, and restores its weights.

Either all weights or LoRA layers are trained, by AdamW (Loshchilov and Hutter, arXiv 1711.05101) without weight decay,
with a learning rate that decreases linearly to 0, gradients clipped to norm 1, and the mean cross-entropy over response
tokens as the loss. Dropout is off, so that the seed only decides the order of the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from delift_core.errors import ScoringError, Stopped
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.models.devices import free_bytes
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.lora import ensure_adaptable, trainable, with_lora
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from delift_core.system.callbacks import Stop, never
from delift_core.system.texts import byte_size

if TYPE_CHECKING:
    from peft import PeftModel

    from delift_core.scoring.batches import Batch


CLIP_NORM = 1.0
_BYTES_PER_WEIGHT = 16  # besides the weight: its gradient, AdamW's two moments, and the copy to restore
_BYTES_PER_LOGIT = 12  # the logit, its float32 softmax and its gradient
_BYTES_PER_HIDDEN = 80  # about 20 float32 numbers per layer and hidden unit are kept for the backward pass


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """The course of a fine-tuning."""

    losses: tuple[float, ...]  # mean loss (nats per response token) of each step, before its update
    # The model with its LoRA layers, valid inside the block; None if all weights were trained.
    adapted: "PeftModel | None" = None


@contextmanager
def fine_tuned(
    loaded: LoadedModel,
    samples: Sequence[EncodedSample],
    settings: FineTuning,
    *,
    seed: int,
    stop: Stop = never,
    on_step: Callable[[int], None] = lambda step: None,
) -> Iterator[TrainingLog]:
    """Fine-tunes the model before the block, and restores every weight after it, bit for bit.

    Args:
        loaded: a model with float32 weights; half-precision weights would round small updates away.
        samples: the training rows, each without an example.
        seed: shuffles the rows in each epoch.
        stop: asked before every step.
        on_step: called after each step with the number of steps done.

    Raises:
        Stopped: `stop` answered True.
        ScoringError: there are no rows, the weights are not float32, memory is too small, or the loss is not finite.
    """
    check_trainable(loaded, samples, settings)
    try:
        with _weights(loaded, settings, seed) as (weights, adapted):
            losses = _train(loaded, weights, samples, settings, seed, stop, on_step)
            yield TrainingLog(losses, adapted)
    except torch.OutOfMemoryError as error:
        raise ScoringError(
            "the device ran out of memory in fine-tuning; close other programs, or evaluate with a smaller model"
        ) from error


@contextmanager
def _weights(
    loaded: LoadedModel, settings: FineTuning, seed: int
) -> "Iterator[tuple[Sequence[torch.nn.Parameter], PeftModel | None]]":
    """The parameters to train, restored or removed at the end; and the model with its LoRA layers, if it has any."""
    if settings.uses_lora(loaded.identity.parameters):
        with with_lora(loaded, settings.lora, seed=seed) as adapted:
            yield trainable(adapted), adapted
        return
    weights = list(loaded.model.parameters())
    kept = [weight.detach().clone() for weight in weights]
    loaded.model.requires_grad_(True)
    try:
        yield weights, None
    finally:
        loaded.model.requires_grad_(False)
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.grad = None
                weight.copy_(before)


def check_trainable(loaded: LoadedModel, samples: Sequence[EncodedSample], settings: FineTuning) -> None:
    """Raises if the model cannot be fine-tuned on this machine.

    Raises:
        ScoringError: there are no rows, the weights are not float32, quantised or spread over devices, or there is too
            little memory for gradients, moments, the copy and activations.
    """
    if not samples:
        raise ScoringError("there are no rows to fine-tune on; give a subset that is not empty")
    ensure_adaptable(loaded)
    kinds = {str(weight.dtype).removeprefix("torch.") for weight in loaded.model.parameters()}
    if kinds != {"float32"}:
        raise ScoringError(
            f"the weights are {' and '.join(sorted(kinds))}, in which small updates are rounded away; "
            "load the model in float32 to fine-tune it"
        )
    config = cast(Any, loaded.model.config).get_text_config()
    hidden = config.num_hidden_layers * config.hidden_size * _BYTES_PER_HIDDEN
    longest = max(sample.length for sample in samples)
    activations = max(settings.batch_tokens, longest) * (config.vocab_size * _BYTES_PER_LOGIT + hidden)
    layers = settings.uses_lora(loaded.identity.parameters)
    weights = 0 if layers else sum(weight.numel() for weight in loaded.model.parameters())
    needed = weights * _BYTES_PER_WEIGHT + activations  # LoRA layers are small compared with the activations
    available = free_bytes(loaded.device)
    if needed > available:
        raise ScoringError(
            f"fine-tuning this model needs about {byte_size(needed)} of memory beside its weights and "
            f"{byte_size(available)} are available; close other programs, or evaluate with a smaller model"
        )


def response_loss_sum(model: Any, batch: "Batch") -> torch.Tensor:
    """Sum of -log p over a batch's response tokens, in nats, as a differentiable float32 scalar.

    Padding is on the right, where causal attention hides it from every scored position, so there is no mask.
    """
    logits = model(input_ids=batch.ids, use_cache=False).logits  # (b, t, V)
    scored = logits.flatten(0, 1)[batch.positions].float()  # (m, V)
    return torch.nn.functional.cross_entropy(scored, batch.targets, reduction="sum")


def _train(
    loaded: LoadedModel,
    weights: Sequence[torch.nn.Parameter],
    samples: Sequence[EncodedSample],
    settings: FineTuning,
    seed: int,
    stop: Stop,
    on_step: Callable[[int], None],
) -> tuple[float, ...]:
    rows = [Suffix(sample.alone, sample.response) for sample in samples]
    packer = Scorer(loaded, tokens_per_batch=settings.batch_tokens)
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    total = settings.steps(len(rows))
    losses: list[float] = []
    for chosen in _steps(len(rows), settings, np.random.default_rng(seed)):
        if stop():
            raise Stopped(
                f"the evaluation was stopped after {len(losses):,} of {total:,} fine-tuning steps; "
                "the model is unchanged"
            )
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1 - len(losses) / total)
        losses.append(_step(loaded, weights, optimiser, packer.make_batches([rows[row] for row in chosen])))
        on_step(len(losses))
    optimiser.zero_grad(set_to_none=True)
    return tuple(losses)


def _steps(rows: int, settings: FineTuning, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields the row positions of each step; every epoch has all rows once, in a new order."""
    for _ in range(settings.epochs):
        order = generator.permutation(rows)
        for start in range(0, rows, settings.rows_per_step):
            yield order[start : start + settings.rows_per_step]


def _step(
    loaded: LoadedModel,
    weights: Sequence[torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    batches: Sequence["Batch"],
) -> float:
    """One update by the mean loss over all response tokens of the batches; returns that mean."""
    tokens = sum(len(batch.targets) for batch in batches)
    optimiser.zero_grad(set_to_none=True)
    loss = 0.0
    with torch.enable_grad():
        for batch in batches:
            part = response_loss_sum(loaded.model, batch) / tokens
            cast(Any, part).backward()
            loss += part.item()
    norm = torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM)
    if not (np.isfinite(loss) and bool(torch.isfinite(norm))):
        raise ScoringError("the loss is not finite in fine-tuning; use a lower learning rate")
    optimiser.step()
    return loss
