"""Faster layers for a GPU: packed suffixes and compiled layers give the numbers of plain ones."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AttentionInterface, AttentionMaskInterface

from delift_core.models.attention import causal_attention, causal_mask
from delift_core.models.gpu_layers import KeyBounds, SequenceBounds, compile_layers, compiled_log_p
from delift_core.scoring.batches import Batch, Suffix, make_batch, packed_cuts
from delift_core.scoring.scorer import Scorer
from tests.tiny_models import FAMILIES, loaded, random_model

_SUFFIXES = [
    Suffix(tuple(range(3, 3 + query)), tuple(range(9, 9 + response)))
    for query, response in ((5, 1), (2, 9), (1, 4), (7, 7), (1, 1))
]
_EXAMPLE = list(range(20, 33))
_OWN_ATTENTION = {"gemma2"}  # its scores are capped


def scorer_of(family: str) -> Scorer:
    """A scorer with the attention of a GPU."""
    return Scorer(replace(loaded(family), model=suited(family)))


def side_by_side() -> Batch:
    return make_batch(range(len(_SUFFIXES)), _SUFFIXES, torch.device("cpu"), packed=False)


def packed() -> Batch:
    return make_batch(range(len(_SUFFIXES)), _SUFFIXES, torch.device("cpu"), packed=True)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - _OWN_ATTENTION))
def test_the_numbers_are_those_of_padded_batches(family: str) -> None:
    scorer = scorer_of(family)
    assert scorer._packing_agrees()
    prefix = scorer.prefill(_EXAMPLE)
    expected = scorer.score(prefix, side_by_side())
    torch.testing.assert_close(scorer.score(prefix, packed()), expected, rtol=1e-5, atol=1e-5)
    halves = torch.cat([scorer.score(prefix, half) for half in packed().halves()])
    torch.testing.assert_close(halves, expected, rtol=1e-5, atol=1e-5)


def test_wrong_keys_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, keys = scorer_of("qwen2"), SequenceBounds.keys

    def shifted(bounds: SequenceBounds, before: int) -> KeyBounds:
        found = keys(bounds, before)
        return replace(found, source=found.source.roll(before))

    monkeypatch.setattr(SequenceBounds, "keys", shifted)
    assert not scorer._packing_agrees()


def test_packed_for_a_gpu_every_row_is_there_once() -> None:
    scorer = scorer_of("llama")
    scorer._packs_suffixes, scorer.tokens_per_batch = True, 12
    (group,) = scorer.make_grouped_batches(_SUFFIXES)
    assert [batch.bounds is not None for batch in group.batches] == [True] * len(group.batches)
    assert len(group.batches) > 1 and all(batch.ids.numel() <= 12 or len(batch.rows) == 1 for batch in group.batches)
    assert sorted(row for batch in group.batches for row in batch.rows.tolist()) == list(range(len(_SUFFIXES)))
    prefix = scorer.prefill([*_EXAMPLE, *group.shared])
    found = torch.empty(len(_SUFFIXES), 2, dtype=torch.float64)
    for batch in group.batches:
        found[batch.rows] = scorer.score(prefix, batch)
    expected = scorer.score(scorer.prefill(_EXAMPLE), side_by_side())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_one_compilation_serves_every_layer_and_shape_of_packed_suffixes() -> None:
    torch._dynamo.reset()
    scorer, device = scorer_of("qwen2"), torch.device("cpu")
    graphs = torch._dynamo.utils.counters["stats"]
    started = graphs["unique_graphs"]
    assert compile_layers(scorer.loaded.model, backend="eager", packed=True)
    for length, number in ((13, 5), (5, 3), (40, 2), (17, 4)):
        prefix, suffixes = scorer.prefill((_EXAMPLE * 4)[:length]), _SUFFIXES[:number]
        expected = scorer.score(prefix, make_batch(range(number), suffixes, device, packed=False))
        got = scorer.score(prefix, make_batch(range(number), suffixes, device, packed=True))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert graphs["unique_graphs"] == started + 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_cuts_are_few_and_within_the_budget(lengths: list[int], budget: int) -> None:
    lengths = sorted(lengths, reverse=True)
    cuts = packed_cuts(lengths, budget)
    parts = [lengths[start:end] for start, end in pairwise(cuts)]
    assert cuts[0] == 0 and cuts[-1] == len(lengths) and all(parts)
    assert all(sum(part) <= budget or len(part) == 1 for part in parts)
    assert len(parts) <= 2 * -(-sum(lengths) // budget) + 1


_NAME = "causal_under_test"


def suited(family: str) -> Any:
    """A model of a family with the attention that it would have on a GPU."""
    model = random_model(family)
    AttentionInterface.register(_NAME, causal_attention)
    AttentionMaskInterface.register(_NAME, causal_mask)
    if model._supports_attention_backend and family != "gemma2":
        model.set_attn_implementation(_NAME)
    return model


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_attention_without_a_mask_is_the_family_s_own(family: str) -> None:
    plain, model = random_model(family), suited(family)
    model.load_state_dict(plain.state_dict())
    ids = torch.arange(2, 42)[None].repeat(2, 1)
    padding = torch.ones_like(ids)
    padding[0, :9] = 0
    with torch.inference_mode():
        for settings in ({}, {"attention_mask": padding}):
            got, expected = (one(input_ids=ids, **settings).logits for one in (model, plain))
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
        caches = [one(input_ids=ids[:, :15], use_cache=True).past_key_values for one in (model, plain)]
        got, expected = (
            one(input_ids=ids[:, 15:], past_key_values=cache).logits
            for one, cache in zip((model, plain), caches, strict=True)
        )
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def statistics(scorer: Scorer, example: list[int], suffixes: list[Suffix]) -> torch.Tensor:
    """(n, 2) after an example."""
    found = torch.empty(len(suffixes), 2, dtype=torch.float64)
    prefix = scorer.prefill(example)
    for batch in scorer.make_batches(suffixes):
        found[batch.rows] = scorer.score(prefix, batch)
    return found


@pytest.mark.slow
def test_one_compilation_serves_every_layer_and_shape() -> None:
    torch._dynamo.reset()
    model = replace(loaded("qwen2"), model=suited("qwen2"))
    plain, compiled = Scorer(copy.deepcopy(model)), Scorer(model)
    started = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compile_layers(compiled.loaded.model, backend="eager")
    assert compile_layers(compiled.loaded.model, backend="eager")  # again: nothing to do
    for length, number in ((5, 4), (12, 3), (30, 2), (7, 1)):
        suffixes = [Suffix(tuple(range(3, 3 + length)), tuple(range(9, 20 + row))) for row in range(number)]
        example = list(range(2, 4 * length))
        expected = statistics(plain, example, suffixes)
        torch.testing.assert_close(statistics(compiled, example, suffixes), expected, rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == started + 1


def no_compiler(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("Failed to find C compiler")


def test_what_cannot_be_compiled_stays_as_it_was() -> None:
    model = random_model("llama")
    numbers = [layer.self_attn.layer_idx for layer in model.get_decoder().layers]
    assert not compile_layers(model, backend=no_compiler)
    assert not any("forward" in vars(layer) for layer in model.get_decoder().layers)
    assert [layer.self_attn.layer_idx for layer in model.get_decoder().layers] == numbers
    assert not compile_layers(random_model("gpt2"), backend="eager")  # its layers are built otherwise


def _for_batches(function: Any, **settings: Any) -> Any:
    """The function as it is; compiled for tensors that are not as a batch's, it would be compiled again for those."""

    def called(hidden: torch.Tensor, targets: torch.Tensor) -> Any:
        assert not targets.is_inference()
        return function(hidden, targets)

    return called


def test_compiled_log_probabilities_are_those_of_a_log_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", _for_batches)
    scorer = Scorer(loaded("gemma2"))  # whose logits are capped
    hidden, targets = torch.randn(7, scorer.loaded.model.config.hidden_size), torch.arange(7)
    with torch.inference_mode():
        log_p = compiled_log_p(scorer.loaded.model, scorer._scaled, 5)
        assert log_p
        got = log_p(hidden, targets)
        torch.testing.assert_close(got, scorer._log_p(hidden, targets), rtol=0, atol=1e-5)
