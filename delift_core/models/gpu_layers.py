"""Faster layers for a GPU: the suffixes after one example packed into a single sequence, and compiled layers.

Packed suffixes need few passes and no padding:

    tokens   q0 q1 r0|q0 r0 r1 r2|…                   each with its own position after the example
    keys     example q0 q1 r0|example q0 r0 r1 r2|…   what a suffix attends to: the example, then itself

Attention kernels for variable lengths (arXiv 2307.08691) take the boundaries and skip everything outside them. For
lengths of 60 to 500 tokens, padding was 15 to 40 % of the work, and more with fewer rows.

A plain forward pass spends most of its time on memory traffic between products; torch.compile fuses a norm, a rotation
or a gate into one kernel. Compiling takes seconds, so one compilation has to serve every layer and every shape. Two
things would force one per layer and are removed: the cache of all layers (a compiled layer gets its own keys and values
only), and the layer's index (which only such a cache needs). Single sequences, such as the examples, run uncompiled.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True, slots=True)
class SequenceBounds:
    """Where each of b packed suffixes begins and ends; N tokens in all."""

    starts: torch.Tensor  # (b + 1,) int32, the first token of each suffix, and N
    suffix_of: torch.Tensor  # (N,) int64, the suffix of each token
    longest: int  # tokens of the longest suffix

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "SequenceBounds":
        """The bounds of suffixes of the given lengths."""
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        suffix_of = np.repeat(np.arange(len(lengths)), lengths)
        return cls(torch.from_numpy(starts).to(device), torch.from_numpy(suffix_of).to(device), max(lengths))

    def positions(self, before: int) -> torch.Tensor:
        """(1, N) int64 position ids of the tokens after an example of `before` tokens."""
        index = torch.arange(len(self.suffix_of), device=self.starts.device)
        return (index - self.starts[self.suffix_of] + before)[None]

    def keys(self, before: int) -> "KeyBounds":
        """The keys of the suffixes after an example of `before` tokens."""
        device, rows = self.starts.device, len(self.starts) - 1
        shift = torch.arange(rows + 1, device=device, dtype=torch.int32) * before
        starts = self.starts + shift
        index = torch.arange(len(self.suffix_of), device=device)
        source = torch.empty(rows * before + len(index), dtype=torch.int64, device=device)  # (M,)
        source[index + (self.suffix_of + 1) * before] = index + before
        example = torch.arange(before, device=device)
        source[starts[:-1, None] + example] = example.expand(rows, before)
        return KeyBounds(source, starts, self.longest + before)


@dataclass(frozen=True, slots=True)
class KeyBounds:
    """The keys that b packed suffixes attend to, M in all: the example's keys again for each suffix, then its own."""

    source: torch.Tensor  # (M,) int64, the index of each key in the example's keys followed by all suffixes' own
    starts: torch.Tensor  # (b + 1,) int32, the first key of each suffix, and M
    longest: int  # keys of the suffix with the most


class PackedLayer(DynamicLayer):
    """A cache layer with an example's keys and values, for packed suffixes; it does not store theirs."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, source: torch.Tensor) -> None:
        """Args:
        keys, values: (1, key heads, n, d) of the example.
        source: see `KeyBounds`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.source = keys, values, source

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """(1, key heads, M, d) keys and values to attend to, from the suffixes' own (1, key heads, N, d)."""
        keys, values = cast(torch.Tensor, self.keys), cast(torch.Tensor, self.values)
        return gather(keys, key_states, self.source), gather(values, value_states, self.source)


def gather(example: torch.Tensor, own: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """(1, h, M, d): the example's keys or values (1, h, n, d) before each suffix's own, from (1, h, N, d)."""
    return torch.cat([example, own], dim=2)[:, :, source]


def run_packed(
    decoder: Any, ids: torch.Tensor, layers: Sequence[tuple[torch.Tensor, torch.Tensor]], bounds: SequenceBounds
) -> torch.Tensor:
    """(1, N, d) last hidden states of packed suffixes after an example.

    Args:
        decoder: of a model that uses `attention.causal_attention`.
        ids: (1, N) token ids.
        layers: for each layer, keys and values of the example, (1, key heads, n, d) each.
    """
    before = layers[0][0].shape[2]
    keys = bounds.keys(before)
    cache = DynamicCache()
    cache.layers.extend(PackedLayer(*pair, keys.source) for pair in layers)
    output = decoder(
        input_ids=ids,
        position_ids=bounds.positions(before),
        past_key_values=cache,
        use_cache=True,
        cu_seq_lens_q=bounds.starts,
        cu_seq_lens_k=keys.starts,
        max_length_q=bounds.longest,
        max_length_k=keys.longest,
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


LogP = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (m, d) hidden states, (m,) tokens -> (m,) float32 nats

_MAX_DIFFERENCE = 0.1  # relative to the largest value: compiled kernels round to bfloat16 at other points
_COMPILATIONS = 64  # of one function, by kind of layer, device and whether a suffix has one token; torch allows 8
# Trial sizes: tokens of the example, tokens of a query, queries. No model has these sizes, and no two are equal, since
# torch.compile takes equal sizes for the same variable.
_TRIAL = (23, 61, 37)
_log = logging.getLogger(__name__)


def compile_layers(model: Any, backend: str | Callable[..., Any] = "inductor", *, packed: bool = False) -> bool:
    """Compiles a model's layers in place, for batches of queries that share an example.

    Args:
        backend: of torch.compile.
        packed: compile for packed sequences instead of padded batches.

    Returns:
        Whether the layers run compiled. False, with the model unchanged, if its layers are of an unknown kind, nothing
        can be compiled here (no C compiler, no Triton), or a trial run gives different numbers.
    """
    layers = list(getattr(model.get_decoder(), "layers", ()))
    if not layers or not all(_is_supported(layer) for layer in layers):
        return False
    if all("forward" in vars(layer) for layer in layers):
        return True  # compiled by an earlier call
    expected = _trial(model, packed)
    indices = [layer.self_attn.layer_idx for layer in layers]
    cast(Any, torch)._dynamo.config.recompile_limit = _COMPILATIONS
    compiled = torch.compile(_run_layer, dynamic=True, backend=backend)
    for index, layer in enumerate(layers):
        layer.self_attn.layer_idx = 0
        layer.forward = _forward_of(layer, index, compiled, packed)
    try:
        got = _trial(model, packed)
        if torch.allclose(got, expected, rtol=0, atol=_MAX_DIFFERENCE * float(expected.abs().max())):
            return True
        _log.warning("compiled layers of %s give different numbers; they run uncompiled", model.config.model_type)
    except RuntimeError as error:  # torch raises it for every failure of compilation
        _log.warning("layers are not compiled: %s", str(error).splitlines()[0])
    for index, layer in zip(indices, layers, strict=True):
        layer.self_attn.layer_idx = index
        del layer.forward
    return False


@torch.inference_mode()
def compiled_log_p(model: Any, scale_logits: Callable[[torch.Tensor], torch.Tensor], positions: int) -> LogP | None:
    """Compiles the output layer together with the log probability of one token per position; logits are read once.

    Args:
        scale_logits: what the model's family applies to its float32 logits.
        positions: the usual number of positions in a call.

    Returns:
        The compiled function; None where nothing can be compiled here.
    """
    head = model.get_output_embeddings()

    def log_p(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = scale_logits(head(hidden).float())  # (m, vocabulary)
        # Spelled out, since torch fuses this form into one pass over the logits, and its own log-sum-exp into two.
        largest = logits.amax(dim=1, keepdim=True)
        total = (logits - largest).exp().sum(dim=1, keepdim=True)
        return (logits.gather(1, targets[:, None]) - largest - total.log())[:, 0]

    compiled = cast(LogP, torch.compile(log_p, dynamic=True, options={"split_reductions": False}))
    with torch.inference_mode(False):  # a batch's targets are no inference tensors; a second kind would recompile
        targets = torch.zeros(positions, dtype=torch.int64, device=model.device)
    try:
        compiled(head.weight[:positions], targets)
    except RuntimeError as error:
        _log.warning("the output layer is not compiled: %s", str(error).splitlines()[0])
        return None
    return compiled


class _ExampleCache:
    """The keys and values of an example in one layer, with the interface of a cache."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, source: torch.Tensor | None) -> None:
        self._keys, self._values, self._source = keys, values, source

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, index: int, *rest: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The example's keys and values followed by the given ones (per suffix, if packed); nothing is stored."""
        if self._source is not None:
            return gather(self._keys, keys, self._source), gather(self._values, values, self._source)
        return torch.cat([self._keys, keys], dim=2), torch.cat([self._values, values], dim=2)


class _IndexedCache:
    """A cache of all layers, for one layer whose own index was set to 0."""

    def __init__(self, cache: Any, index: int) -> None:
        self._cache, self._index = cache, index

    def update(self, keys: torch.Tensor, values: torch.Tensor, index: int, *rest: Any) -> Any:
        """What the cache does for this layer."""
        return self._cache.update(keys, values, self._index, *rest)


def _forward_of(layer: Any, index: int, compiled: Any, packed: bool) -> Any:
    """A layer's new forward: compiled for queries after an example, plain for single sequences."""
    plain = type(layer).forward

    def forward(hidden_states: torch.Tensor, *args: Any, past_key_values: Any = None, **settings: Any) -> Any:
        if past_key_values is None:
            return plain(layer, hidden_states, *args, past_key_values=None, **settings)
        cached = past_key_values.layers[index] if index < len(past_key_values.layers) else None
        source = getattr(cached, "source", None)
        applies = source is not None if packed else source is None and hidden_states.shape[0] > 1
        if not applies or cached is None or args:
            indexed = _IndexedCache(past_key_values, index)
            return plain(layer, hidden_states, *args, past_key_values=indexed, **settings)
        return compiled(plain, layer, hidden_states, cached.keys, cached.values, source, settings)

    return forward


def _run_layer(
    plain: Any,
    layer: Any,
    hidden: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    source: torch.Tensor | None,
    settings: Any,
) -> Any:
    return plain(layer, hidden, past_key_values=_ExampleCache(keys, values, source), **settings)


def _is_supported(layer: Any) -> bool:
    """Whether a layer takes its cache under the name that `_forward_of` replaces."""
    names = list(inspect.signature(layer.forward).parameters)
    has_index = hasattr(getattr(layer, "self_attn", None), "layer_idx")
    return has_index and names[:1] == ["hidden_states"] and "past_key_values" in names


@torch.inference_mode()
def _trial(model: Any, packed: bool) -> torch.Tensor:
    """Last hidden states, float32, of some queries after one example."""
    from transformers import DynamicCache

    decoder = model.get_decoder()
    example, query, rows = _TRIAL
    ids = torch.arange(8, 8 + example + query + rows, device=model.device)[None] % model.config.vocab_size
    cache: Any = DynamicCache()
    decoder(input_ids=ids[:, :example], past_key_values=cache, use_cache=True)
    if packed:
        lengths = [query - row for row in range(rows)]
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        tokens = torch.cat([ids[0, example + row : example + row + length] for row, length in enumerate(lengths)])
        with torch.inference_mode(False):  # a batch's bounds are no inference tensors; a second kind would recompile
            bounds = SequenceBounds.of(lengths, model.device)
        return run_packed(decoder, tokens[None], layers, bounds).float()
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    queries = ids[0, example:].unfold(0, query, 1)[:rows]
    hidden = decoder(input_ids=queries, past_key_values=cache, use_cache=True).last_hidden_state
    return cast(torch.Tensor, hidden.float())
