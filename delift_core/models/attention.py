"""Fast attention for queries that share an example: grouped heads on a CPU, flash kernels on a GPU.

On a CPU, torch's kernel processes 32 rows of one head at a time for short sequences, and products that small reach a
third of the processor's speed; it also computes the upper triangle that the causal mask discards. With grouped-query
attention, r query heads read the same keys. Stacking the r heads as rows of one head makes larger products, and keys
and values are not repeated. Rows are processed in blocks, each with the keys up to its last row:

               keys:  example   suffix
    block 1, heads 1…r   ■■■■■■■   ◣
    block 2, heads 1…r   ■■■■■■■   ■◣

Each number is a sum over the same terms as in torch's own attention, in another order. Computing example and suffix
apart and merging them by their log-sum-exp (arXiv 2402.05099) was measured and is no faster here: an example has few
keys compared with a batch.
"""

from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

_GROUPED, _CAUSAL = "delift_grouped", "delift_causal"  # names in the attention interface of transformers
_FULL_ATTENTION = {"full_attention", "attention"}
_FLASH_DTYPES = (torch.bfloat16, torch.float16)
_MAX_FLASH_HEAD_SIZE = 256
_BLOCK_ROWS = 192  # from here on torch's kernel processes 64 rows at a time instead of 32
_MIN_BLOCK_TOKENS = 32  # smaller blocks add more calls than they save work


def use_fast_attention(model: Any) -> bool:
    """Switches a model to `grouped_attention` on a CPU or `causal_attention` on a GPU; its answers stay the same.

    Only models that call torch's attention through the attention interface of transformers can be switched. Others,
    such as Gemma 2 with its capped scores, keep their own attention.

    Returns:
        Whether the model uses one of the two now.
    """
    by_device: dict[str, tuple[str, Any, Any]] = {
        "cpu": (_GROUPED, grouped_attention, sdpa_mask),
        "cuda": (_CAUSAL, causal_attention, causal_mask),
    }
    uses_sdpa = model.config._attn_implementation == "sdpa" and model._supports_attention_backend
    if uses_sdpa and model.device.type in by_device:
        name, attention, mask = by_device[model.device.type]
        cast(Any, AttentionInterface).register(name, attention)
        cast(Any, AttentionMaskInterface).register(name, mask)
        model.set_attn_implementation(name)
    return model.config._attn_implementation in (_GROUPED, _CAUSAL)


def supports_packed_sequences(model: Any) -> bool:
    """Whether a model can run packed suffixes (see `gpu_layers`): it uses `causal_attention`, has flash kernels, and
    every layer attends to all earlier tokens."""
    config = model.config.get_text_config(decoder=True)
    if model.config._attn_implementation != _CAUSAL or not _attends_to_all(config):
        return False
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    probe = torch.empty(1, 1, 1, size, device=model.device, dtype=model.dtype)
    return flash_available(probe, probe)


def _attends_to_all(config: Any) -> bool:
    """Whether no layer has a window, a chunk or a state; a family that lists no layer types has one window or none."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return set(kinds) <= _FULL_ATTENTION
    return not (getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None))


def flash_available(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether torch has flash kernels for these tensors, (b, heads, t, d) each."""
    size = query.shape[3]
    return (
        query.device.type == "cuda"
        and query.dtype in _FLASH_DTYPES
        and size == value.shape[3]
        and size % 8 == 0
        and size <= _MAX_FLASH_HEAD_SIZE
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,  # passed by transformers to every attention function
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers that stacks the heads of a group as rows of one head.

    Args:
        query: (b, heads, t, d).
        key, value: (b, key heads, n + t, d); the first n belong to an example.
        attention_mask: (b, 1, t, n + t) bool, True where a token may attend; None for causal attention without a cache.

    Returns:
        (b, t, heads, d), and no weights.
    """
    if attention_mask is None or not _is_shared(attention_mask) or settings.get("position_bias") is not None:
        return _sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings)
    mask = torch.zeros(attention_mask.shape[2:], dtype=query.dtype).masked_fill_(~attention_mask[0, 0], -torch.inf)
    (batch, heads, tokens, size), groups = query.shape, key.shape[1]
    before = key.shape[2] - tokens
    parts = []
    for start, end in _blocks(tokens, heads // groups):
        part = scaled_dot_product_attention(
            query[:, :, start:end].reshape(batch, groups, -1, size),  # (b, key heads, r * block, d)
            key[:, :, : before + end],
            value[:, :, : before + end],
            attn_mask=mask[start:end, : before + end].repeat(heads // groups, 1)[None, None],
            dropout_p=dropout,
            scale=scaling,
        )
        parts.append(part.view(batch, heads, end - start, -1).transpose(1, 2))  # (b, block, heads, d)
    return torch.cat(parts, dim=1), None


def causal_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,  # passed by transformers to every attention function
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers for causal attention after an example, by flash kernels where there are.

    Args:
        query: (b, heads, t, d).
        key, value: (b, key heads, n + t, d); the first n belong to an example.
        attention_mask: None where each token attends to all earlier ones; else as torch's attention takes it.
        settings: with `cu_seq_lens_q`, `cu_seq_lens_k`, `max_length_q` and `max_length_k`, as other attention functions
            take them, query and keys are packed sequences with b = 1, see `gpu_layers`.

    Returns:
        (b, t, heads, d), and no weights.
    """
    if attention_mask is None and settings.get("cu_seq_lens_q") is not None:
        return _packed_attention(query, key, value, scaling, settings), None
    if attention_mask is not None or settings.get("position_bias") is not None or dropout:
        return _sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings)
    tokens, length = query.shape[2], key.shape[2]
    grouped = query.shape[1] != key.shape[1]
    if tokens == length:
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    elif flash_available(query, value):
        # torch.nn.attention.bias.causal_lower_right calls the same operator, but cannot be compiled.
        flash: Any = torch.ops.aten._scaled_dot_product_flash_attention
        out = flash(query, key, value, 0.0, True, False, scale=scaling)[0]
    else:
        mask = torch.ones(tokens, length, dtype=torch.bool, device=query.device).tril(length - tokens)
        out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous(), None


def causal_mask(  # the signature is that of transformers
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
    """The mask function of `causal_attention`.

    Returns:
        None where each token attends to all earlier ones and nothing is padded: `causal_attention` needs no mask then.
        Else the mask as torch's attention takes it.
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


def _sdpa(*args: Any, **settings: Any) -> tuple[torch.Tensor, None]:
    """The attention that transformers itself would use."""
    return cast(tuple[torch.Tensor, None], cast(Any, sdpa_attention_forward)(*args, **settings))


def _packed_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, settings: dict[str, Any]
) -> torch.Tensor:
    """(1, N, heads, d) for packed sequences: each token attends to the keys of its own sequence up to itself.

    Args:
        query: (1, heads, N, d).
        key, value: (1, key heads, M, d).
    """
    starts, key_starts = settings["cu_seq_lens_q"], settings["cu_seq_lens_k"]
    if flash_available(query, value):
        flash: Any = torch.ops.aten._flash_attention_forward
        longest = settings["max_length_q"], settings["max_length_k"]
        rows = (part[0].transpose(0, 1) for part in (query, key, value))  # (N, heads, d), (M, key heads, d) twice
        out: torch.Tensor = flash(*rows, starts, key_starts, *longest, 0.0, True, False, scale=scaling)[0]
        return out[None].contiguous()
    grouped = query.shape[1] != key.shape[1]
    (sequence, left), (key_sequence, key_left) = _sequence_and_rest(starts, query), _sequence_and_rest(key_starts, key)
    # A sequence and its keys end together, so a key is no later than a token if at least as many keys follow it.
    mask = (sequence[:, None] == key_sequence) & (key_left >= left[:, None])  # (N, M)
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous()


def _sequence_and_rest(starts: torch.Tensor, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sequence of each of N positions, and the number of positions from there to its end: (N,) each."""
    positions = torch.arange(states.shape[2], device=starts.device, dtype=starts.dtype)
    sequence = torch.searchsorted(starts, positions, right=True) - 1
    return sequence, starts[sequence + 1] - positions


def _is_shared(mask: torch.Tensor) -> bool:
    """Whether all rows of a batch and all heads have the same mask, so no row is padded on the left."""
    return mask.shape[1] == 1 and (mask.shape[0] == 1 or mask.stride(0) == 0)


def _blocks(tokens: int, heads: int) -> list[tuple[int, int]]:
    """Cuts a suffix into blocks of about equal length, long enough once `heads` heads are stacked as rows."""
    length = max(_MIN_BLOCK_TOKENS, _BLOCK_ROWS // heads)
    count = max(1, round(tokens / length))
    cuts = [tokens * index // count for index in range(count + 1)]
    return list(zip(cuts, cuts[1:], strict=False))
