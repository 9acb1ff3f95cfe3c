"""Layers compiled for a GPU, where a plain forward pass spends most of its time on memory traffic between products.

torch.compile fuses a norm, a rotation or a gate into one kernel. Compiling takes seconds, so one compilation has to
serve every layer and every shape. Two things would force one per layer and are removed: the cache of all layers (a
compiled layer gets its own keys and values only), and the layer's index (which only such a cache needs). Single
sequences, such as the examples themselves, run uncompiled.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any, cast

import torch

from delift_core.models.packed_layers import SequenceBounds, gather, run_packed

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
        packed: compile for packed sequences (see `packed_layers`) instead of padded batches.

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
