"""Attention on a GPU for queries that share an example: causal, aligned at the lower right, without a mask.

    keys:     example    suffix
    token 1   ■ ■ ■ ■ ■  ■
    token 2   ■ ■ ■ ■ ■  ■ ■
    token 3   ■ ■ ■ ■ ■  ■ ■ ■

Given a mask as a tensor, torch leaves its flash kernels (arXiv 2307.08691) for slower ones, and repeats keys and values
for the heads that share them. Those kernels know this shape; only torch's usual entry to them cannot ask for it.
"""

from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
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
