"""How many tokens a forward pass may hold, from the memory that is free on the device once the model is there."""

from typing import Any

import torch

from delift_core.models import LoadedModel

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
    import psutil

    return int(psutil.virtual_memory().available)


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
