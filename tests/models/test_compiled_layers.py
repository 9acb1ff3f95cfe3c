"""Compiled layers and the attention of a GPU, on a CPU: the same numbers, one compilation for all layers and shapes."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface

from delift_core.models.attention import causal_attention, causal_mask
from delift_core.models.compiled_layers import compile_layers, compiled_log_p
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from tests.tiny_models import FAMILIES, loaded, random_model

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
