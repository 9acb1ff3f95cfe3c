"""Layers compiled for a GPU, where a plain forward pass mostly reads and writes what stands between the products.

torch.compile makes one kernel of a norm, of a rotation, of a gate. One compilation, of seconds, has to serve every
layer and every shape; two things stand in the way and are taken out of it: a cache that knows all layers (a layer sees
its own keys and values only), and the layer's number (which only such a cache asks for). Single sequences, such as the
examples themselves, run as they are.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any, cast

import torch

from delift_core.models import packed_layers as ragged
from delift_core.models.packed_layers import spread

_LARGEST_DIFFERENCE = 0.1  # of the largest value: roundings to bfloat16 fall elsewhere
_COMPILATIONS = 64  # of one function, by kind of layer, device and whether a suffix has one token; torch allows 8
_TRIAL = (
    23,
    61,
    37,
)  # tokens of example and query, and queries: sizes that no model has, since torch takes like for same
_log = logging.getLogger(__name__)


def compile_layers(model: Any, backend: str | Callable[..., Any] = "inductor", *, end_to_end: bool = False) -> bool:
    """Has a model's layers run compiled wherever several queries share an example, in place.

    Args:
        end_to_end: whether those come in one sequence, see `ragged`, or padded; only these run compiled.
        backend: who compiles, as torch.compile takes it.

    Returns:
        False, with the model as it was, where its layers are built otherwise, nothing can be compiled here (no C
        compiler, no Triton), or a trial gives another answer.
    """
    layers = list(getattr(model.get_decoder(), "layers", ()))
    if not layers or not all(_is_known(layer) for layer in layers):
        return False
    if all("forward" in vars(layer) for layer in layers):
        return True  # by an earlier call
    expected = _trial(model, end_to_end)
    numbers = [layer.self_attn.layer_idx for layer in layers]
    cast(Any, torch)._dynamo.config.recompile_limit = _COMPILATIONS
    compiled = torch.compile(_with_held, dynamic=True, backend=backend)
    for place, layer in enumerate(layers):
        layer.self_attn.layer_idx = 0
        layer.forward = _forward_of(layer, place, compiled, end_to_end)
    try:
        got = _trial(model, end_to_end)
        if torch.allclose(got, expected, rtol=0, atol=_LARGEST_DIFFERENCE * float(expected.abs().max())):
            return True
        _log.warning("compiled layers of %s give another answer; they run as they are", model.config.model_type)
    except RuntimeError as error:  # what torch raises for all that goes wrong in compiling
        _log.warning("layers are not compiled: %s", str(error).splitlines()[0])
    for number, layer in zip(numbers, layers, strict=True):
        layer.self_attn.layer_idx = number
        del layer.forward
    return False


@torch.inference_mode()
def compiled_log_p(model: Any, scaled: Callable[[torch.Tensor], torch.Tensor], positions: int) -> "LogP | None":
    """The output layer, and the log probability of one token a position, with the logits read once.

    Args:
        scaled: what a family does to its float32 logits.
        positions: how many are asked for at a time, mostly.

    Returns:
        The function, compiled; None where nothing can be compiled here.
    """
    head = model.get_output_embeddings()

    def log_p(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wide = scaled(head(hidden).float())
        # Written out, since torch reads the logits once for this form, and twice for its own log-sum-exp.
        largest = wide.amax(dim=1, keepdim=True)
        total = (wide - largest).exp().sum(dim=1, keepdim=True)
        return (wide.gather(1, targets[:, None]) - largest - total.log())[:, 0]

    compiled = cast(LogP, torch.compile(log_p, dynamic=True, options={"split_reductions": False}))
    with torch.inference_mode(False):  # as a batch's are; for others it would be compiled again
        targets = torch.zeros(positions, dtype=torch.int64, device=model.device)
    try:
        compiled(head.weight[:positions], targets)
    except RuntimeError as error:
        _log.warning("the output layer is not compiled: %s", str(error).splitlines()[0])
        return None
    return compiled


LogP = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (m, d) hidden states, (m,) tokens -> (m,) float32 nats


class _Held:
    """One layer's keys and values of an example, as its attention expects a cache to be."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, where: torch.Tensor | None) -> None:
        self._keys, self._values, self._where = keys, values, where

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, number: int, *rest: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the example and then the given, for each suffix where they stand end to end; nothing is kept."""
        if self._where is not None:
            return spread(self._keys, keys, self._where), spread(self._values, values, self._where)
        return torch.cat([self._keys, keys], dim=2), torch.cat([self._values, values], dim=2)


class _Numbered:
    """A cache of all layers for a layer that has lost its number."""

    def __init__(self, cache: Any, place: int) -> None:
        self._cache, self._place = cache, place

    def update(self, keys: torch.Tensor, values: torch.Tensor, number: int, *rest: Any) -> Any:
        """As the cache does for this layer."""
        return self._cache.update(keys, values, self._place, *rest)


def _forward_of(layer: Any, place: int, compiled: Any, end_to_end: bool) -> Any:
    """A layer's new forward: compiled after an example of its own cache, plain for single sequences."""
    plain = type(layer).forward

    def forward(hidden_states: torch.Tensor, *args: Any, past_key_values: Any = None, **settings: Any) -> Any:
        if past_key_values is None:
            return plain(layer, hidden_states, *args, past_key_values=None, **settings)
        held = past_key_values.layers[place] if place < len(past_key_values.layers) else None
        where = getattr(held, "where", None)
        serves = where is not None if end_to_end else where is None and hidden_states.shape[0] > 1
        if not serves or held is None or args:
            numbered = _Numbered(past_key_values, place)
            return plain(layer, hidden_states, *args, past_key_values=numbered, **settings)
        return compiled(plain, layer, hidden_states, held.keys, held.values, where, settings)

    return forward


def _with_held(
    plain: Any,
    layer: Any,
    hidden: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    where: torch.Tensor | None,
    settings: Any,
) -> Any:
    return plain(layer, hidden, past_key_values=_Held(keys, values, where), **settings)


def _is_known(layer: Any) -> bool:
    """Whether a layer takes its cache by the name that is replaced here."""
    names = list(inspect.signature(layer.forward).parameters)
    numbered = hasattr(getattr(layer, "self_attn", None), "layer_idx")
    return numbered and names[:1] == ["hidden_states"] and "past_key_values" in names


@torch.inference_mode()
def _trial(model: Any, end_to_end: bool) -> torch.Tensor:
    """Last hidden states, float32, of some queries after one example."""
    from transformers import DynamicCache

    body = model.get_decoder()
    example, query, rows = _TRIAL
    ids = torch.arange(8, 8 + example + query + rows, device=model.device)[None] % model.config.vocab_size
    cache: Any = DynamicCache()
    body(input_ids=ids[:, :example], past_key_values=cache, use_cache=True)
    if end_to_end:
        lengths = [query - row for row in range(rows)]
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        tokens = torch.cat([ids[0, example + row : example + row + length] for row, length in enumerate(lengths)])
        with torch.inference_mode(False):  # as a batch's is; for others everything would be compiled again
            layout = ragged.Layout.of(lengths, model.device)
        return ragged.run(body, tokens[None], layers, layout).float()
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    queries = ids[0, example:].unfold(0, query, 1)[:rows]
    hidden = body(input_ids=queries, past_key_values=cache, use_cache=True).last_hidden_state
    return cast(torch.Tensor, hidden.float())
