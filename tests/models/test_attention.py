"""Grouped heads against torch's attention, and which families are switched."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.families import small_config
from delift_core.models import attention
from delift_core.models.attention import grouped_attention, use_fast_attention
from tests.tiny_models import FAMILIES, random_model

_SIZE = 8


class Attention(nn.Module):
    """What an attention function reads of the layer that calls it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, True


def both(groups: int, tokens: int, before: int, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, t, heads, d) by grouped heads, and by the definition in float64."""
    torch.manual_seed(tokens)
    query = torch.randn(2, tokens, 2 * groups, _SIZE).transpose(1, 2)  # as projections leave them
    key, value = torch.randn(2, 2, 2, before + tokens, _SIZE)
    got, weights = grouped_attention(Attention(groups), query, key, value, mask, scaling=0.3)
    assert weights is None
    scores = 0.3 * query.double() @ key.double().repeat_interleave(groups, 1).transpose(2, 3)
    allowed = causal(tokens, before) if mask is None else mask
    shares = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return got, (shares @ value.double().repeat_interleave(groups, 1)).transpose(1, 2)


def causal(tokens: int, before: int, window: int = 10_000) -> torch.Tensor:
    """(2, 1, t, n + t), one mask for two rows."""
    distance = torch.arange(before, before + tokens)[:, None] - torch.arange(before + tokens)
    return ((distance >= 0) & (distance < window))[None, None].expand(2, 1, -1, -1)


@given(st.sampled_from([1, 2, 3, 7]), st.integers(2, 300), st.integers(0, 80), st.sampled_from([3, 90, 10_000]))
@settings(max_examples=60, deadline=None)
def test_grouped_heads_attend_as_the_definition_says(groups: int, tokens: int, before: int, window: int) -> None:
    got, expected = both(groups, tokens, before, causal(tokens, before, window))
    assert got.is_contiguous()
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_masks_that_are_not_one_for_all_rows_are_heeded(padded: bool) -> None:
    mask = causal(40, 10).clone() if padded else None
    if mask is not None:
        mask[0, :, :, :5] = False
    got, expected = both(3, 40, 10 if padded else 0, mask)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_but_those_with_an_attention_of_their_own_is_served(family: str) -> None:
    model = random_model(family)
    before = model.config._attn_implementation
    ids = torch.arange(2, 60)[None].repeat(2, 1)
    padding = torch.ones_like(ids)
    padding[0, :9] = 0
    plain = [model(input_ids=ids).logits, model(input_ids=ids, attention_mask=padding).logits]
    assert use_fast_attention(model) == (family != "gemma2")
    assert (model.config._attn_implementation != before) == (family != "gemma2")
    grouped = [model(input_ids=ids).logits, model(input_ids=ids, attention_mask=padding).logits]
    torch.testing.assert_close(grouped, plain, rtol=0, atol=1e-4)  # whoever else uses the model finds it as it was


@pytest.mark.parametrize(
    ("family", "changes", "packs"),
    [
        ("llama", {"sliding_window": None}, True),
        ("mistral", {"sliding_window": 0}, True),
        ("mistral", {"sliding_window": 64}, False),  # has no list of layer types
        ("phi3", {"sliding_window": 64}, False),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, True),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}, False),
        ("gpt_oss", {"sliding_window": 64}, False),
        ("lfm2", {}, False),
    ],
)
def test_suffixes_are_packed_only_where_every_layer_attends_to_all_earlier_tokens(
    family: str, changes: dict[str, Any], packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packed sequence has boundaries but no mask, so a window would be ignored."""
    config = small_config(family, **changes)
    config._attn_implementation = attention._CAUSAL
    monkeypatch.setattr(attention, "flash_available", lambda query, value: True)
    model = SimpleNamespace(config=config, device=torch.device("cpu"), dtype=torch.float32)
    assert attention.supports_packed_sequences(model) is packs
