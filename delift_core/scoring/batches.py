"""Suffixes of similar length padded into batches, and the tensors of a batch on its device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from delift_core.models.loading import LoadedModel
from delift_core.models.packed_layers import SequenceBounds
from delift_core.system.memory import available_memory

if TYPE_CHECKING:
    from delift_core.models.prompts import Tokens


@dataclass(frozen=True, slots=True)
class Suffix:
    """Query and response of one sample as token ids; the query has at least one token."""

    query: "Tokens"
    response: "Tokens"

    def __len__(self) -> int:
        return len(self.query) + len(self.response)

    def after(self, lead: "Tokens") -> "Suffix":
        """What remains when the query's first tokens are in the prefix."""
        return Suffix(self.query[len(lead) :], self.response)


@dataclass(frozen=True, slots=True)
class Batch:
    """Suffixes of similar length, padded to (b, t); or end to end in one sequence, (1, t), with a layout.

    Attributes:
        rows: (b,) int64, where each suffix stands in the caller's list.
        ids: (b, t) int64, padded on the right; or (1, t).
        positions: (m,) int64, flat positions in the ids whose hidden state predicts a response token.
        targets: (m,) int64, the predicted tokens.
        owners: (m,) int64, row within the batch of each scored token.
        lengths: (b,) int64, real tokens per row.
        real_tokens: their sum.
    """

    rows: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor
    lengths: torch.Tensor
    real_tokens: int
    layout: SequenceBounds | None = None

    def places(self, before: int) -> int:
        """Positions that are held at once where `before` tokens of an example stand before every suffix."""
        return self.ids.numel() + len(self.rows) * before

    def halves(self) -> "tuple[Batch, Batch]":
        """The same work in two batches, for when one did not fit the memory."""
        cut = len(self.rows) // 2
        return self._part(slice(0, cut)), self._part(slice(cut, len(self.rows)))

    def _part(self, rows: slice) -> "Batch":
        scored = (self.owners >= rows.start) & (self.owners < rows.stop)
        lengths = self.lengths[rows]
        if self.layout is None:
            ids, before = self.ids[rows], rows.start * self.ids.shape[1]
            layout = None
        else:
            before, end = (int(self.layout.starts[at]) for at in (rows.start, rows.stop))
            ids, layout = self.ids[:, before:end], SequenceBounds.of(lengths.tolist(), self.ids.device)
        positions, owners = self.positions[scored] - before, self.owners[scored] - rows.start
        tokens = int(lengths.sum())
        return Batch(self.rows[rows], ids, positions, self.targets[scored], owners, lengths, tokens, layout)


@dataclass(frozen=True, slots=True)
class LedBatches:
    """Batches of suffixes that follow a prefix and a common lead (which may be empty)."""

    lead: "Tokens"
    batches: tuple[Batch, ...]

    def suffix_tokens(self, batch: Batch) -> int:
        """Tokens of the whole suffixes in one of the batches; sharing and the unread last tokens spare the rest."""
        return batch.real_tokens + batch.rows.shape[0] * (len(self.lead) + 1)


def cuts_of(lengths: Sequence[int], budget: int, pass_cost: int) -> list[int]:
    """Where to cut descending lengths into batches so that padding and forward passes together cost least.

    Returns:
        Boundaries from 0 to n; a batch of more than one row has at most `budget` padded tokens.
    """
    best = [0] * (len(lengths) + 1)  # cheapest cost of the first rows
    cut = [0] * (len(lengths) + 1)
    for end in range(1, len(lengths) + 1):
        best[end], cut[end] = best[end - 1] + lengths[end - 1] + pass_cost, end - 1
        for start in range(end - 2, -1, -1):
            if (padded := lengths[start] * (end - start)) > budget:
                break
            if best[start] + padded + pass_cost < best[end]:
                best[end], cut[end] = best[start] + padded + pass_cost, start
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(cut[cuts[-1]])
    return cuts[::-1]


def even_cuts(lengths: Sequence[int], budget: int) -> list[int]:
    """Where to cut suffixes that stand end to end into as few batches as can be, of about as many tokens each.

    Returns:
        Boundaries from 0 to n; a batch of more than one row has at most `budget` tokens.
    """
    total = sum(lengths)
    aim = min(budget, total / max(1, -(-total // budget)) + max(lengths))
    cuts, held = [0], 0
    for row, length in enumerate(lengths):
        if held and held + length > aim:
            cuts.append(row)
            held = 0
        held += length
    return [*cuts, len(lengths)]


def pad(rows: Sequence[int], suffixes: Sequence[Suffix], device: torch.device, *, whole: bool) -> Batch:
    """Suffixes side by side; the last response token is left out unless they are wanted whole."""
    lengths = [len(suffix) - (not whole) for suffix in suffixes]
    width = max(lengths)
    ids = np.zeros((len(suffixes), width), dtype=np.int64)
    for row, (suffix, length) in enumerate(zip(suffixes, lengths, strict=True)):
        ids[row, :length] = (suffix.query + suffix.response)[:length]
    starts = np.arange(len(suffixes)) * width
    return _batch(rows, suffixes, device, ids, lengths, starts)


def lay_end_to_end(rows: Sequence[int], suffixes: Sequence[Suffix], device: torch.device) -> Batch:
    """Suffixes in one sequence, without their last response tokens."""
    lengths = [len(suffix) - 1 for suffix in suffixes]
    ids = [token for suffix in suffixes for token in (suffix.query + suffix.response)[:-1]]
    starts = np.cumsum(lengths) - lengths
    batch = _batch(rows, suffixes, device, np.asarray([ids], dtype=np.int64), lengths, starts)
    return replace(batch, layout=SequenceBounds.of(lengths, device))


def _batch(
    rows: Sequence[int],
    suffixes: Sequence[Suffix],
    device: torch.device,
    ids: np.ndarray,
    lengths: Sequence[int],
    starts: np.ndarray,
) -> Batch:
    positions, targets, owners = [], [], []
    for row, (suffix, start) in enumerate(zip(suffixes, starts.tolist(), strict=True)):
        first = start + len(suffix.query) - 1  # the last query token predicts the first response token
        positions.append(np.arange(first, first + len(suffix.response)))
        targets.append(np.asarray(suffix.response))
        owners.append(np.full(len(suffix.response), row))

    def tensor(parts: Sequence[np.ndarray]) -> torch.Tensor:
        return on_device(np.concatenate(parts).astype(np.int64), device)

    return Batch(
        rows=on_device(np.asarray(rows, dtype=np.int64), device),
        ids=on_device(ids, device),
        positions=tensor(positions),
        targets=tensor(targets),
        owners=tensor(owners),
        lengths=on_device(np.asarray(lengths, dtype=np.int64), device),
        real_tokens=sum(lengths),
    )


def on_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor of numbers on a device; a GPU goes on with what it has to do meanwhile."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


_TOKENS_PER_BATCH = {"cpu": 256, "cuda": 16384, "mps": 8192}  # more are no quicker
_SMALL_ON_CUDA = 1_000_000_000, 32768  # weights below which a GPU has done a batch before the next is asked for
_FEWEST_TOKENS = 64  # where so few do not fit, a single sequence will say so
_SHARE = 0.5  # of the free memory: estimates err, and other programs grow


def free_bytes(device: torch.device) -> int:
    """Memory of a device that nobody uses now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available_memory()


def bytes_per_token(loaded: LoadedModel) -> int:
    """What a token takes while its batch is scored, roughly: keys and values of every layer, with those of an example
    as long as the suffix, and one layer's values between its products."""
    config: Any = loaded.model.config
    width, heads = config.hidden_size, config.num_attention_heads
    between = getattr(config, "intermediate_size", None) or getattr(config, "ffn_dim", None) or 4 * width
    head_size = getattr(config, "head_dim", None) or width // heads
    cached = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * head_size
    value = 2 if loaded.identity.dtype == "bfloat16" else 4
    return int(value * (2 * cached + 12 * width + 4 * between))


def tokens_that_fit(loaded: LoadedModel, fixed_bytes: int) -> int:
    """Most tokens of a forward pass: as many as serve the device, or fewer where its memory is short.

    Args:
        fixed_bytes: what a batch takes however few tokens it has.
    """
    room = (free_bytes(loaded.device) - fixed_bytes) * _SHARE
    fitting = max(_FEWEST_TOKENS, int(room // bytes_per_token(loaded)))
    wanted = _TOKENS_PER_BATCH.get(loaded.device.type, 512)
    weights, more = _SMALL_ON_CUDA
    if loaded.device.type == "cuda" and loaded.identity.parameters < weights:
        wanted = more
    return min(wanted, fitting)
