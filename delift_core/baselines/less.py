"""LESS (Xia et al., arXiv 2402.04333): prefers rows whose gradients are aligned with those of the target.

A short LoRA warm-up on a random part of the pool gives checkpoints. At each of them, a pool row's feature is the Adam
step for that row alone, (b1 m + (1 - b1) g) / sqrt(b2 v + (1 - b2) g^2 + eps), with the optimiser's moments m and v at
the checkpoint and no bias correction, as in the published code. A target row's feature is its plain gradient. Both get
the same random projection and are compared by cosine (`influence`). Gradients are of the mean loss over a row's
response tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from delift_core.baselines import LessSettings
from delift_core.errors import Stopped
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.lora import LoraSettings, linear_layers, trainable, with_lora
from delift_core.models.vectors import unit_rows
from delift_core.system.callbacks import Stop, never

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_WARMUP = 0.03  # share of the steps in which the learning rate rises
_CHUNK = 1 << 16  # gradient entries projected at a time
_ROWS = 128  # gradients projected at a time: the signs are drawn once for all of them


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Features after one epoch: (n, d) of the pool, (t, d) of the target, and the epoch's mean learning rate."""

    train: np.ndarray
    target: np.ndarray
    rate: float


def less_scores(
    loaded: LoadedModel,
    pool: Sequence[EncodedSample],
    target: Sequence[EncodedSample],
    settings: LessSettings,
    *,
    seed: int,
    stop: Stop = never,
) -> np.ndarray:
    """LESS's score of each pool row; the model is the same afterwards.

    Args:
        target: rows of the target task; if (), random pool rows are used.
        seed: of the warm-up rows, LoRA weights and projection.

    Returns:
        (n,) float64 in [-1, 1].

    Raises:
        Stopped: `stop` answered True.
        ScoringError: the model has no layers for LoRA.
    """
    generator = np.random.default_rng(seed)
    targets = target or [pool[row] for row in generator.permutation(len(pool))[: settings.targets]]
    return influence(*_features(loaded, pool, targets, settings, generator, seed, stop))


def less_matrix(
    loaded: LoadedModel,
    pool: Sequence[EncodedSample],
    settings: LessSettings,
    *,
    seed: int,
    stop: Stop = never,
) -> np.ndarray:
    """LESS's score of every row for every row: (n, n) float64, row i is the target, column j the training row.

    Raises:
        Stopped, ScoringError: as `less_scores`.
    """
    generator = np.random.default_rng(seed)
    train, target, weights = _features(loaded, pool, pool, settings, generator, seed, stop)
    return np.stack([influence(train, target[:, [row]], weights) for row in range(len(pool))])


def _features(
    loaded: LoadedModel,
    pool: Sequence[EncodedSample],
    target: Sequence[EncodedSample],
    settings: LessSettings,
    generator: np.random.Generator,
    seed: int,
    stop: Stop,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(c, n, d) of the pool, (c, t, d) of the target and (c,) mean learning rates, over c checkpoints."""
    size = min(len(pool), max(settings.fewest_rows, round(settings.warmup_share * len(pool))))
    warmup = generator.permutation(len(pool))[:size]
    with with_lora(loaded, _supported(loaded, settings.lora), seed=seed) as adapted:
        model = _GradientModel(adapted, loaded, settings.projection, seed, stop)
        found = list(_checkpoints(model, [pool[row] for row in warmup], pool, target, settings, generator))
    train, targets = (np.stack([getattr(point, name) for point in found]) for name in ("train", "target"))
    return train, targets, np.array([point.rate for point in found])


def _supported(loaded: LoadedModel, lora: LoraSettings) -> LoraSettings:
    """The settings, with every linear layer if the model has none of the named ones."""
    if set(lora.layers) <= set(linear_layers(loaded)):
        return lora
    return LoraSettings(lora.rank, lora.alpha)


def _checkpoints(
    model: "_GradientModel",
    warmup: Sequence[EncodedSample],
    pool: Sequence[EncodedSample],
    target: Sequence[EncodedSample],
    settings: LessSettings,
    generator: np.random.Generator,
) -> Iterator[_Checkpoint]:
    """Warms up with linear warm-up and decay of the learning rate; a checkpoint after each epoch."""
    optimiser = torch.optim.AdamW(model.weights, lr=settings.learning_rate, betas=_BETAS, weight_decay=0.0)
    per_step = settings.rows_per_step
    total = settings.epochs * -(-len(warmup) // per_step)
    step = 0
    for _ in range(settings.epochs):
        rates, order = [], generator.permutation(len(warmup))
        for start in range(0, len(warmup), per_step):
            warmup_steps = max(1, round(_WARMUP * total))
            share = min(1.0, (step + 1) / warmup_steps, (total - step) / max(1, total - warmup_steps + 1))
            rates.append(settings.learning_rate * share)
            optimiser.param_groups[0]["lr"] = rates[-1]
            model.step(optimiser, [warmup[row] for row in order[start : start + per_step]])
            step += 1
        yield _Checkpoint(model.features(pool, optimiser), model.features(target, None), float(np.mean(rates)))


class _GradientModel:
    """A model with LoRA layers: optimiser steps, and projected gradients of single rows."""

    def __init__(self, adapted: Any, loaded: LoadedModel, dimensions: int, seed: int, stop: Stop) -> None:
        self.weights = trainable(adapted)
        self._loaded, self._stop = loaded, stop
        self._dimensions, self._seed = dimensions, seed

    def step(self, optimiser: torch.optim.Optimizer, rows: Sequence[EncodedSample]) -> None:
        """One optimiser step on the mean loss of the rows."""
        optimiser.zero_grad(set_to_none=True)
        for row in rows:
            self._backward(row, 1 / len(rows))
        optimiser.step()

    def features(self, rows: Sequence[EncodedSample], adam: torch.optim.Optimizer | None) -> np.ndarray:
        """(n, d) float32 projected gradients, or Adam steps if an optimiser is given."""
        moments = None if adam is None else tuple(self._moment(adam, name) for name in ("exp_avg", "exp_avg_sq"))
        blocks = []
        for start in range(0, len(rows), _ROWS):
            gradients = [self._gradient(row) for row in rows[start : start + _ROWS]]
            if moments is not None:
                gradients = [adam_direction(gradient, *moments) for gradient in gradients]
            blocks.append(project(torch.stack(gradients), self._dimensions, self._seed).numpy())
        return np.concatenate(blocks)

    def _gradient(self, row: EncodedSample) -> torch.Tensor:
        for weight in self.weights:
            weight.grad = None
        self._backward(row, 1.0)
        gradient = torch.cat([weight.grad.flatten().float() for weight in self.weights])
        for weight in self.weights:
            weight.grad = None
        return gradient

    def _moment(self, adam: torch.optim.Optimizer, name: str) -> torch.Tensor:
        return torch.cat([adam.state[weight][name].flatten() for weight in self.weights])

    def _backward(self, row: EncodedSample, share: float) -> None:
        if self._stop():
            raise Stopped("stopped before the scores of LESS were complete; run it again")
        query = row.alone
        ids = torch.tensor([query + row.response], device=self._loaded.device)
        with torch.enable_grad():
            logits = cast(Any, self._loaded.model)(input_ids=ids, use_cache=False).logits[0]
            scored = logits[len(query) - 1 : -1].float()
            loss = torch.nn.functional.cross_entropy(scored, ids[0, len(query) :])
            cast(Any, loss * share).backward()


def adam_direction(gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(p,) Adam's step for a gradient (p,), given the moments before it, without bias correction."""
    b1, b2 = _BETAS
    mean = b1 * first + (1 - b1) * gradient
    direction: torch.Tensor = mean / torch.sqrt(b2 * second + (1 - b2) * gradient.square() + _EPSILON)
    return direction


def project(vectors: torch.Tensor, dimensions: int, seed: int) -> torch.Tensor:
    """Random projection by signs / sqrt(d), which keeps inner products in expectation (Johnson and Lindenstrauss).

    Args:
        vectors: (b, p).
        dimensions: d.
        seed: equal seeds give equal signs.

    Returns:
        (b, d) float32.
    """
    out = torch.zeros(len(vectors), dimensions)
    for start in range(0, vectors.shape[1], _CHUNK):
        part = vectors[:, start : start + _CHUNK].cpu()
        entries = part.shape[1] * dimensions
        drawn = np.frombuffer(np.random.default_rng((seed, start)).bytes(-(-entries // 8)), dtype=np.uint8)
        signs = torch.from_numpy(np.unpackbits(drawn, count=entries)).view(part.shape[1], dimensions)
        out += part @ signs.float().mul_(2).sub_(1)
    scaled: torch.Tensor = out / dimensions**0.5
    return scaled


def influence(train: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """LESS's score of each row for one target: over checkpoints, the weighted mean cosine to the target's gradients.

    Args:
        train: (c, n, d) projected Adam directions at c checkpoints, not all 0.
        target: (c, t, d) projected gradients.
        weights: (c,) mean learning rate of each checkpoint's epoch.

    Returns:
        (n,) float64.
    """
    towards = unit_rows(target.astype(np.float64)).mean(axis=1)  # (c, d)
    score: np.ndarray = np.einsum("c,cnd,cd->n", weights / weights.sum(), unit_rows(train.astype(np.float64)), towards)
    return score
