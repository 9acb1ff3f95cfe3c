"""Fine-tuning of a loaded model for the length of a `with` block, after which its weights are as they were.

All weights, or LoRA layers beside them; the recipe is the same.

Short and plain on purpose: AdamW (Loshchilov and Hutter, arXiv 1711.05101) without weight decay, a rate that falls
linearly to 0, gradients clipped to norm 1, and the mean cross-entropy over response tokens as the loss. Dropout stays
off, so the seed decides the order of the rows and nothing else. This module knows nothing of selections or baselines.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from delift_core.errors import ScoringError
from delift_core.evaluation.evaluation_request import EvaluationStopped, FineTuning
from delift_core.models.loading import LoadedModel
from delift_core.models.lora import trainable, with_lora
from delift_core.models.prompts import EncodedSample, Tokens
from delift_core.scoring.batches import Suffix, free_bytes
from delift_core.scoring.scorer import Scorer
from delift_core.system.amounts import byte_size

if TYPE_CHECKING:
    from peft import PeftModel

    from delift_core.scoring.batches import Batch

CLIP_NORM = 1.0
_BYTES_A_WEIGHT = 16  # beside the weight itself: its gradient, AdamW's two moments, and the copy to put back
_BYTES_A_LOGIT = 12  # the logit, its float32 softmax and its gradient
_BYTES_A_HIDDEN = 80  # per layer and hidden unit: about 20 float32 numbers are kept for the backward pass


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What happened.

    Attributes:
        losses: mean loss (nats per response token) of each step, measured before its update.
        adapted: the model with its LoRA layers, for the length of the block; None where all weights were trained.
    """

    losses: tuple[float, ...]
    adapted: "PeftModel | None" = None


@contextmanager
def fine_tuned(
    loaded: LoadedModel,
    head: Tokens,
    samples: Sequence[EncodedSample],
    settings: FineTuning,
    *,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int], None] = lambda step: None,
) -> Iterator[TrainingLog]:
    """Within the block the model is fine-tuned on the samples; after it every weight is what it was, bit for bit.

    Args:
        loaded: a model with float32 weights; half-precision weights would round small updates away.
        head: token ids before every query (`Template.head_alone`).
        samples: the rows, each trained on as head, query without an example, response.
        seed: decides the order of the rows in each epoch.
        stop: asked before every step.
        on_step: called with the number of steps done, after each.

    Raises:
        EvaluationStopped: `stop` answered True.
        ScoringError: no rows, weights that are not float32, too little memory, or a loss that is no longer finite.
    """
    check_trainable(loaded, head, samples, settings)
    try:
        with _weights(loaded, settings, seed) as (weights, adapted):
            losses = _train(loaded, weights, head, samples, settings, seed, stop, on_step)
            yield TrainingLog(losses, adapted)
    except torch.OutOfMemoryError as error:
        raise ScoringError(
            "the device ran out of memory in fine-tuning; close other programs, or evaluate with a smaller model"
        ) from error


@contextmanager
def _weights(
    loaded: LoadedModel, settings: FineTuning, seed: int
) -> "Iterator[tuple[Sequence[torch.nn.Parameter], PeftModel | None]]":
    """What is to be trained, put back or taken off at the end; the model with its LoRA layers, where it has them."""
    if settings.with_layers(loaded.identity.parameters):
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


def check_trainable(loaded: LoadedModel, head: Tokens, samples: Sequence[EncodedSample], settings: FineTuning) -> None:
    """Refuses what cannot be fine-tuned here, before time is spent.

    Raises:
        ScoringError: no rows, weights that are not float32, or too little memory for gradients, moments, copy and
            activations.
    """
    if not samples:
        raise ScoringError("there are no rows to fine-tune on; give a subset that is not empty")
    kinds = {str(weight.dtype).removeprefix("torch.") for weight in loaded.model.parameters()}
    if kinds != {"float32"}:
        raise ScoringError(
            f"the weights are {' and '.join(sorted(kinds))}, in which small updates are rounded away; "
            "load the model in float32 to fine-tune it"
        )
    config = cast(Any, loaded.model.config).get_text_config()
    hidden = config.num_hidden_layers * config.hidden_size * _BYTES_A_HIDDEN
    longest = max(len(head) + len(sample.query_alone) + len(sample.response) for sample in samples)
    activations = max(settings.batch_tokens, longest) * (config.vocab_size * _BYTES_A_LOGIT + hidden)
    layers = settings.with_layers(loaded.identity.parameters)
    weights = 0 if layers else sum(weight.numel() for weight in loaded.model.parameters())
    needed = weights * _BYTES_A_WEIGHT + activations  # LoRA layers are small beside their activations
    available = free_bytes(loaded.device)
    if needed > available:
        raise ScoringError(
            f"fine-tuning this model needs about {byte_size(needed)} of memory beside its weights and "
            f"{byte_size(available)} are available; close other programs, or evaluate with a smaller model"
        )


def response_loss_sum(model: Any, batch: "Batch") -> torch.Tensor:
    """Sum of -log p over a batch's response tokens, in nats, as a float32 scalar that gradients flow through.

    Padding stands on the right, where causal attention keeps it from every scored position, so there is no mask.
    """
    logits = model(input_ids=batch.ids, use_cache=False).logits  # (b, t, V)
    scored = logits.flatten(0, 1)[batch.positions].float()  # (m, V)
    return torch.nn.functional.cross_entropy(scored, batch.targets, reduction="sum")


def _train(
    loaded: LoadedModel,
    weights: Sequence[torch.nn.Parameter],
    head: Tokens,
    samples: Sequence[EncodedSample],
    settings: FineTuning,
    seed: int,
    stop: Callable[[], bool],
    on_step: Callable[[int], None],
) -> tuple[float, ...]:
    rows = [Suffix(head + sample.query_alone, sample.response) for sample in samples]
    packer = Scorer(loaded, tokens_per_batch=settings.batch_tokens)
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    total = settings.steps(len(rows))
    losses: list[float] = []
    for chosen in _steps(len(rows), settings, np.random.default_rng(seed)):
        if stop():
            raise EvaluationStopped(
                f"the evaluation was stopped after {len(losses):,} of {total:,} fine-tuning steps; "
                "the model is as before"
            )
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1 - len(losses) / total)
        losses.append(_step(loaded, weights, optimiser, packer.pack([rows[row] for row in chosen])))
        on_step(len(losses))
    optimiser.zero_grad(set_to_none=True)
    return tuple(losses)


def _steps(rows: int, settings: FineTuning, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions of the rows behind each step: every epoch all of them once, in a new order."""
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
    """One update from the mean over all response tokens of the batches; returns that mean."""
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
        raise ScoringError("the loss is no longer a finite number in fine-tuning; take a lower learning rate")
    optimiser.step()
    return loss
