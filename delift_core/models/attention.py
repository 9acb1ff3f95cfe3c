"""Attention on a CPU for queries that share an example: the heads that share keys become rows of one product.

torch's kernel for a CPU takes the rows of one head at a time, 32 of them where a sequence is short, and products so
small run at a third of the processor's speed; it also works through the half of the square that causality leaves
empty. With grouped-query attention, r heads read the same keys: as r times as many rows of one head they make larger
products, and keys and values need not be repeated. Rows are taken in blocks, each with the keys up to its last row:

               keys:  example   suffix
    block 1, heads 1…r   ■■■■■■■   ◣
    block 2, heads 1…r   ■■■■■■■   ■◣

Every number is a sum over the same terms as before, in another order. Splitting example and suffix and joining the two
by their log-sum-exp (arXiv 2402.05099) was measured and is no quicker here: the example's keys are few beside a batch.
"""

from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

_FLASH_DTYPES = (torch.bfloat16, torch.float16)
_LARGEST_HEAD = 256


def lower_right_mask(  # the signature is that of transformers
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **settings: Any,
) -> torch.Tensor | None:
    """A mask function of transformers.

    Returns:
        None where every token may look at all before it and nothing is padded: `lower_right_attention` knows that by
        itself. Else the mask as torch's attention takes it.
    """
    ends_together = q_offset + q_length == kv_offset + kv_length
    plain = mask_function is causal_mask_function if local_size is None else kv_length <= local_size
    if plain and ends_together and attention_mask is None and allow_is_causal_skip:
        return None
    settings |= {"local_size": local_size, "allow_is_causal_skip": False}
    mask: torch.Tensor = cast(Any, sdpa_mask)(
        batch_size, q_length, kv_length, q_offset, kv_offset, mask_function, attention_mask, **settings
    )
    return mask


def lower_right_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,  # what families hand to every attention function
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers.

    Args:
        query: (b, heads, t, d).
        key, value: (b, key heads, n + t, d), the n first of an example.
        attention_mask: None for all that stands before a token; else as torch's attention takes it.
        settings: with `cu_seq_lens_q`, `cu_seq_lens_k`, `max_length_q` and `max_length_k`, as other attention functions
            take them, query and keys are sequences end to end with b = 1, see `ragged`.

    Returns:
        (b, t, heads, d), and no weights.
    """
    if attention_mask is None and settings.get("cu_seq_lens_q") is not None:
        return _end_to_end(query, key, value, scaling, settings), None
    if attention_mask is not None or settings.get("position_bias") is not None or dropout:
        plain: tuple[torch.Tensor, None] = cast(Any, sdpa_attention_forward)(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings
        )
        return plain
    tokens, length = query.shape[2], key.shape[2]
    shared = query.shape[1] != key.shape[1]
    if tokens == length:
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=shared)
    elif flash_serves(query, value):
        # What torch.nn.attention.bias.causal_lower_right calls too; that one cannot be compiled.
        flash: Any = torch.ops.aten._scaled_dot_product_flash_attention
        out = flash(query, key, value, 0.0, True, False, scale=scaling)[0]
    else:
        out = _with_mask(query, key, value, scaling)
    return out.transpose(1, 2).contiguous(), None


def _end_to_end(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, settings: dict[str, Any]
) -> torch.Tensor:
    """(1, N, heads, d) of sequences whose boundaries are given: each token sees its own keys up to itself."""
    starts, key_starts = settings["cu_seq_lens_q"], settings["cu_seq_lens_k"]
    if flash_serves(query, value):
        flash: Any = torch.ops.aten._flash_attention_forward
        longest = settings["max_length_q"], settings["max_length_k"]
        rows = (part[0].transpose(0, 1) for part in (query, key, value))  # (N, heads, d) and (M, key heads, d) twice
        out: torch.Tensor = flash(*rows, starts, key_starts, *longest, 0.0, True, False, scale=scaling)[0]
        return out[None].contiguous()
    shared = query.shape[1] != key.shape[1]
    (sequence, left), (of_key, key_left) = _places(starts, query), _places(key_starts, key)
    mask = (sequence[:, None] == of_key) & (key_left >= left[:, None])
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared)
    return out.transpose(1, 2).contiguous()


def _places(starts: torch.Tensor, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each of N positions, its sequence and how many positions are left of that, itself included."""
    places = torch.arange(states.shape[2], device=starts.device, dtype=starts.dtype)
    sequence = torch.searchsorted(starts, places, right=True) - 1
    return sequence, starts[sequence + 1] - places


def _with_mask(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    tokens, length = query.shape[2], key.shape[2]
    mask = torch.ones(tokens, length, dtype=torch.bool, device=query.device).tril(length - tokens)
    shared = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared)


def flash_serves(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether torch has its flash kernels for these, (b, heads, t, d) each."""
    size = query.shape[3]
    return (
        query.device.type == "cuda"
        and query.dtype in _FLASH_DTYPES
        and size == value.shape[3]
        and size % 8 == 0
        and size <= _LARGEST_HEAD
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


_FOLDED, _LOWER_RIGHT = "delift_folded", "delift_lower_right"
_LOOKS_AT_ALL = {"full_attention", "attention"}
_BLOCK_ROWS = 192  # from here on torch's kernel takes 64 rows at a time instead of 32
_FEWEST_TOKENS = 32  # of a block: smaller ones cost more calls than they save


def suit_attention(model: Any) -> bool:
    """Has a model on a CPU use this attention, and on a GPU that of `lower_right`, where its family allows that; its
    answers stay the same.

    The one place that decides who is served: models that take torch's attention function through the attention
    interface of transformers. Others keep their own, such as Gemma 2, whose scores are capped.

    Returns:
        Whether the model uses either now.
    """
    suited: dict[str, tuple[str, Any, Any]] = {
        "cpu": (_FOLDED, folded_attention, sdpa_mask),
        "cuda": (_LOWER_RIGHT, lower_right_attention, lower_right_mask),
    }
    plain = model.config._attn_implementation == "sdpa" and model._supports_attention_backend
    if plain and model.device.type in suited:
        name, attention, mask = suited[model.device.type]
        cast(Any, AttentionInterface).register(name, attention)
        cast(Any, AttentionMaskInterface).register(name, mask)
        model.set_attn_implementation(name)
    return model.config._attn_implementation in (_FOLDED, _LOWER_RIGHT)


def runs_end_to_end(model: Any) -> bool:
    """Whether a model suited to a GPU may be given suffixes end to end: flash kernels serve it, and every token of
    every layer may look at all before it."""
    config = model.config
    if config._attn_implementation != _LOWER_RIGHT or {*(getattr(config, "layer_types", None) or ())} - _LOOKS_AT_ALL:
        return False
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    probe = torch.empty(1, 1, 1, size, device=model.device, dtype=model.dtype)
    return flash_serves(probe, probe)


def folded_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,  # what families hand to every attention function
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers.

    Args:
        query: (b, heads, t, d).
        key, value: (b, key heads, n + t, d), the n first of an example.
        attention_mask: (b, 1, t, n + t) bool, True where a token may look; None for causal attention without a cache.

    Returns:
        (b, t, heads, d), and no weights.
    """
    if attention_mask is None or not _same_for_all(attention_mask) or settings.get("position_bias") is not None:
        plain: tuple[torch.Tensor, None] = cast(Any, sdpa_attention_forward)(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings
        )
        return plain
    mask = torch.zeros(attention_mask.shape[2:], dtype=query.dtype).masked_fill_(~attention_mask[0, 0], -torch.inf)
    (batch, heads, tokens, size), shared = query.shape, key.shape[1]
    before = key.shape[2] - tokens
    parts = []
    for start, end in _blocks(tokens, heads // shared):
        part = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:end].reshape(batch, shared, -1, size),
            key[:, :, : before + end],
            value[:, :, : before + end],
            attn_mask=mask[start:end, : before + end].repeat(heads // shared, 1)[None, None],
            dropout_p=dropout,
            scale=scaling,
        )
        parts.append(part.view(batch, heads, end - start, -1).transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _same_for_all(mask: torch.Tensor) -> bool:
    """Whether the rows of a batch, and the heads, have one mask: no row is padded on the left."""
    return mask.shape[1] == 1 and (mask.shape[0] == 1 or mask.stride(0) == 0)


def _blocks(tokens: int, folded: int) -> list[tuple[int, int]]:
    """Cuts a suffix into blocks of about the same length that make rows enough once heads are folded into them."""
    length = max(_FEWEST_TOKENS, _BLOCK_ROWS // folded)
    count = max(1, round(tokens / length))
    cuts = [tokens * place // count for place in range(count + 1)]
    return list(zip(cuts, cuts[1:], strict=False))
