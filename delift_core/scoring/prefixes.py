"""Prefixes: what a model keeps of an example, so that the example runs once for many queries.

Models keep different things of the tokens that they have read. A prefix is held in the first of three forms that gives
the model's own numbers (`Scorer` tries them in this order):

    views    each layer keeps the keys and values of all tokens; a batch gets views of them, nothing is copied
    copies   some layers keep something else (a state of fixed size, a convolution, a chunk of attention); a batch gets
             a copy of transformers' own cache
    whole    the model keeps nothing that can be reused: the prefix runs again before every suffix
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Sharing = Literal["views", "copies", "whole"]
_KEEPS_ALL_KEYS = {"full_attention", "sliding_attention", "attention"}


@dataclass(frozen=True, slots=True)
class Prefix:
    """The tokens before a suffix, in one of the three forms.

    Attributes:
        length: number of tokens.
        layers: of "views": keys and values, (1, key heads, length, head size) each, one pair per layer.
        cache: of "copies": a cache of transformers for one sequence.
        ids: of "whole": (1, length) int64.
    """

    length: int = 0
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] | None = None
    cache: Any = None
    ids: torch.Tensor | None = None


EMPTY_PREFIX = Prefix()


def possible_sharing(config: Any) -> tuple[Sharing, ...]:
    """The forms that a model of this text configuration may take, fastest first.

    Sliding windows need no other form: all keys are kept, and the mask hides those outside the window.
    """
    plain = set(getattr(config, "layer_types", None) or ()) <= _KEEPS_ALL_KEYS
    return ("views", "copies", "whole") if plain else ("copies", "whole")


def extend(body: Any, sharing: Sharing, ids: torch.Tensor, after: Prefix) -> Prefix:
    """The prefix of more tokens, ids (1, t), after another prefix; runs the model unless sequences are run whole."""
    length = after.length + ids.shape[1]
    if sharing == "whole":
        return Prefix(length, ids=ids if after.ids is None else torch.cat([after.ids, ids], dim=1))
    if sharing == "copies":
        output = body(input_ids=ids, past_key_values=copy.deepcopy(after.cache), use_cache=True)
        return Prefix(length, cache=output.past_key_values)
    views = _views(after, 1)
    body(input_ids=ids, past_key_values=views, use_cache=True)
    return Prefix(length, tuple((layer.keys, layer.values) for layer in cast(Any, views).layers))


def run(body: Any, ids: torch.Tensor, prefix: Prefix) -> torch.Tensor:
    """(b, t, d) last hidden states of suffixes, ids (b, t), each after the prefix."""
    rows = ids.shape[0]
    if prefix.ids is not None:
        whole = torch.cat([prefix.ids.expand(rows, -1), ids], dim=1)
        return cast(torch.Tensor, body(input_ids=whole, use_cache=False).last_hidden_state)[:, prefix.length :]
    cache = None
    if prefix.layers is not None:
        cache = _views(prefix, rows)
    elif prefix.cache is not None:
        cache = copy.deepcopy(prefix.cache)
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long, device=ids.device))
    output = body(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
    return cast(torch.Tensor, output.last_hidden_state)


def _views(prefix: Prefix, rows: int) -> DynamicCache:
    """A cache for `rows` sequences after the prefix, made of views: the model appends and never writes in place."""
    cache = DynamicCache()
    for keys, values in prefix.layers or ():
        layer = cast(Any, DynamicLayer)()
        layer.lazy_initialization(keys, values)
        layer.keys = keys.expand(rows, -1, -1, -1)
        layer.values = values.expand(rows, -1, -1, -1)
        cache.layers.append(layer)
    return cache
