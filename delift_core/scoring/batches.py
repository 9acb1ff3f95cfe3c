"""Batches of suffixes, padded or packed, after shared query prefixes, and how many tokens a batch may have on a device.

Tokens that several queries begin with are computed once per example, in the example's cache. A chat template starts
every query with the same tokens, and many data sets repeat an instruction in thousands of rows. Tokens before the first
difference attend only to the example and each other, so they can join the example's cache:

    example_j | shared | rest of query 1 | response 1
                       | rest of query 2 | response 2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from delift_core.models.devices import free_bytes
from delift_core.models.gpu_layers import SequenceBounds
from delift_core.models.loading import LoadedModel

if TYPE_CHECKING:
    from delift_core.models.encoded import Tokens


@dataclass(frozen=True, slots=True)
class Suffix:
    """Query and response of one sample as token ids; the query has at least one token."""

    query: "Tokens"
    response: "Tokens"

    def __len__(self) -> int:
        return len(self.query) + len(self.response)

    def after(self, shared: "Tokens") -> "Suffix":
        """The rest of the suffix when the query's first tokens are part of the prefix."""
        return Suffix(self.query[len(shared) :], self.response)


@dataclass(frozen=True, slots=True)
class Batch:
    """b suffixes of similar length: padded, (b, t); or packed into one sequence, (1, t), with `bounds`."""

    rows: torch.Tensor  # (b,) int64, the index of each suffix in the caller's list
    ids: torch.Tensor  # (b, t) or (1, t) int64, padded on the right
    positions: torch.Tensor  # (m,) int64, indices into the flattened ids whose hidden state predicts a response token
    targets: torch.Tensor  # (m,) int64, the response tokens to predict
    owners: torch.Tensor  # (m,) int64, the row within the batch of each of them
    lengths: torch.Tensor  # (b,) int64, tokens per row without padding
    real_tokens: int  # sum of the lengths
    bounds: SequenceBounds | None = None  # of packed suffixes

    def token_count(self, before: int) -> int:
        """Tokens in memory at once, padding included, after a prefix of `before` tokens for every suffix."""
        return self.ids.numel() + len(self.rows) * before

    def halves(self) -> "tuple[Batch, Batch]":
        """The same suffixes in two batches, for when one does not fit into memory."""
        cut = len(self.rows) // 2
        return self._part(slice(0, cut)), self._part(slice(cut, len(self.rows)))

    def _part(self, rows: slice) -> "Batch":
        scored = (self.owners >= rows.start) & (self.owners < rows.stop)
        lengths = self.lengths[rows]
        if self.bounds is None:
            ids, before, bounds = self.ids[rows], rows.start * self.ids.shape[1], None
        else:
            before, end = (int(self.bounds.starts[at]) for at in (rows.start, rows.stop))
            ids, bounds = self.ids[:, before:end], SequenceBounds.of(lengths.tolist(), self.ids.device)
        positions, owners = self.positions[scored] - before, self.owners[scored] - rows.start
        tokens = int(lengths.sum())
        return Batch(self.rows[rows], ids, positions, self.targets[scored], owners, lengths, tokens, bounds)


@dataclass(frozen=True, slots=True)
class GroupBatches:
    """Batches of suffixes after a shared query prefix, which may be empty."""

    shared: "Tokens"
    batches: list[Batch]

    def suffix_tokens(self, batch: Batch) -> int:
        """Tokens of a batch's whole suffixes, including the shared prefix and the unused last response tokens."""
        return batch.real_tokens + batch.rows.shape[0] * (len(self.shared) + 1)


def padded_cuts(lengths: Sequence[int], budget: int, pass_cost: int) -> list[int]:
    """Cuts descending lengths into padded batches with the lowest total cost of padding and forward passes.

    Returns:
        Boundaries from 0 to n; a batch of more than one row has at most `budget` padded tokens.
    """
    best = [0] * (len(lengths) + 1)  # lowest cost of the first rows, in tokens
    cut = [0] * (len(lengths) + 1)  # where their last batch starts
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


def packed_cuts(lengths: Sequence[int], budget: int) -> list[int]:
    """Cuts packed suffixes into the fewest batches, of about equal numbers of tokens.

    Returns:
        Boundaries from 0 to n; a batch of more than one row has at most `budget` tokens.
    """
    total = sum(lengths)
    aim = min(budget, total / max(1, -(-total // budget)) + max(lengths))
    cuts, size = [0], 0
    for row, length in enumerate(lengths):
        if size and size + length > aim:
            cuts.append(row)
            size = 0
        size += length
    return [*cuts, len(lengths)]


def make_batch(
    rows: Sequence[int], suffixes: Sequence[Suffix], device: torch.device, *, packed: bool, whole: bool = False
) -> Batch:
    """A batch, padded or packed into one sequence; without the last response tokens, unless `whole`."""
    tokens = [(suffix.query + suffix.response)[: None if whole else -1] for suffix in suffixes]
    lengths = [len(part) for part in tokens]
    steps = lengths if packed else [max(lengths)] * len(lengths)
    starts = (np.cumsum(steps) - steps).tolist()
    ids = np.zeros(sum(steps), dtype=np.int64)
    for start, part in zip(starts, tokens, strict=True):
        ids[start : start + len(part)] = part
    counts = [len(suffix.response) for suffix in suffixes]
    # The last query token predicts the first response token, r0.
    firsts = [start + len(suffix.query) - 1 for start, suffix in zip(starts, suffixes, strict=True)]
    positions = [np.arange(first, first + count) for first, count in zip(firsts, counts, strict=True)]

    def tensor(numbers: np.ndarray | Sequence[int]) -> torch.Tensor:
        return to_device(np.asarray(numbers, dtype=np.int64), device)

    return Batch(
        rows=tensor(rows),
        ids=tensor(ids.reshape(1 if packed else len(tokens), -1)),
        positions=tensor(np.concatenate(positions)),
        targets=tensor([token for suffix in suffixes for token in suffix.response]),
        owners=tensor(np.repeat(np.arange(len(suffixes)), counts)),
        lengths=tensor(lengths),
        real_tokens=sum(lengths),
        bounds=SequenceBounds.of(lengths, device) if packed else None,
    )


def to_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copies an array to a device, without blocking on a GPU."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


_TOKENS_PER_BATCH = {"cpu": 256, "cuda": 16384, "mps": 8192}  # more are no faster
# Parameters below which a GPU finishes a usual batch before the next is submitted, and tokens of a batch for those.
_SMALL_ON_CUDA = 1_000_000_000, 32768
_MIN_TOKENS = 64  # if these do not fit, scoring a single sequence fails with a message
_MEMORY_SHARE = 0.5  # of the free memory, as a margin for errors and other programs


def bytes_per_token(loaded: LoadedModel) -> int:
    """Approximate memory per token of a batch: the keys and values of every layer, for the token and for as many tokens
    of the example, and the activations of one layer."""
    config = cast(Any, loaded.model).config.get_text_config(decoder=True)
    width = config.hidden_size
    cached = sum(_cached_numbers(layer, width) for layer in config.per_layer_config)
    hidden = max(_inner_width(layer, width) for layer in config.per_layer_config)
    size = 2 if loaded.identity.dtype in ("bfloat16", "nf4") else 4
    return int(size * (2 * cached + 12 * width + 4 * hidden))


def _cached_numbers(layer: Any, width: int) -> int:
    """Keys and values of one layer for a token; of a layer with a state of fixed size, more than it keeps."""
    heads = getattr(layer, "num_attention_heads", None) or 1
    head_size = getattr(layer, "head_dim", None) or width // heads
    return int(2 * (getattr(layer, "num_key_value_heads", None) or heads) * head_size)


def _inner_width(layer: Any, width: int) -> int:
    """The largest activation of one layer for a token."""
    return int(getattr(layer, "intermediate_size", None) or getattr(layer, "ffn_dim", None) or 4 * width)


def max_batch_tokens(loaded: LoadedModel, fixed_bytes: int) -> int:
    """The maximum number of tokens of a batch: the best for the device, or fewer if its memory is short.

    Args:
        fixed_bytes: memory of a batch that does not depend on its tokens.
    """
    room = (min(map(free_bytes, loaded.devices)) - fixed_bytes) * _MEMORY_SHARE
    fitting = max(_MIN_TOKENS, int(room // bytes_per_token(loaded)))
    best = _TOKENS_PER_BATCH.get(loaded.device.type, 512)
    parameters, tokens = _SMALL_ON_CUDA
    if loaded.device.type == "cuda" and loaded.identity.parameters < parameters:
        best = tokens
    return min(best, fitting)


_MAX_DEPTH = 64  # of nested shared prefixes


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Rows (indices of the input) whose queries begin with `shared` and are longer than that."""

    shared: "Tokens"
    rows: tuple[int, ...]


def group_by_prefix(queries: Sequence["Tokens"], pass_cost: int) -> list[PrefixGroup]:
    """Splits queries into groups with a shared prefix so that the fewest tokens are computed.

    The groups are chosen on the tree of prefixes, from the leaves up: a branch becomes a group if that saves more
    tokens than leaving its rows to a group with a shorter prefix.

    Args:
        queries: of at least one token each.
        pass_cost: cost of another forward pass, in tokens.

    Returns:
        Groups that contain every row once; a single group with an empty prefix if nothing is worth sharing.
    """
    order = sorted(range(len(queries)), key=lambda row: queries[row])
    if not order:
        return []
    (best,) = _split(queries, order, pass_cost, (0,))
    return [*best.groups, PrefixGroup((), tuple(best.ungrouped))] if best.ungrouped else list(best.groups)


def _split(
    queries: Sequence["Tokens"], order: Sequence[int], pass_cost: int, worths: tuple[int, ...]
) -> list["_Split"]:
    """The best splits of rows sorted by query, one for each entry of `worths`.

    Args:
        worths: tokens that an ungrouped row would save in a group further up, for each such group: its prefix length.
    """
    first, last = queries[order[0]], queries[order[-1]]
    depth = _common(first, last)
    length = min(depth, len(first) - 1)
    inner = (*worths, length)
    branches = [[_Split(0, (), order)] * len(inner)]
    if depth < len(first) and len(worths) <= _MAX_DEPTH:  # else the first query is a prefix of all others
        parts = (list(same) for _, same in groupby(order, key=lambda row: queries[row][depth]))
        branches = [
            _split(queries, rows, pass_cost, inner) if len(rows) > 1 else [_Split(0, (), rows)] * len(inner)
            for rows in parts
        ]
    together = _join([branch[-1] for branch in branches])
    if together.ungrouped:
        saved = together.saved + length * (len(together.ungrouped) - 1) - pass_cost
        together = _Split(saved, (*together.groups, PrefixGroup(first[:length], tuple(together.ungrouped))), ())
    apart = [_join([branch[index] for branch in branches]) for index in range(len(worths))]
    return [
        together if together.saved > other.saved + worth * len(other.ungrouped) else other
        for other, worth in zip(apart, worths, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Split:
    """Tokens saved, groups, and the rows without a group."""

    saved: int
    groups: tuple[PrefixGroup, ...]
    ungrouped: Sequence[int]


def _join(parts: Sequence[_Split]) -> _Split:
    groups = tuple(group for part in parts for group in part.groups)
    return _Split(sum(part.saved for part in parts), groups, [row for part in parts for row in part.ungrouped])


def _common(first: "Tokens", last: "Tokens") -> int:
    """Length of the common prefix; for sorted queries, that of the first and the last is that of all."""
    length = min(len(first), len(last))
    return next((index for index in range(length) if first[index] != last[index]), length)
