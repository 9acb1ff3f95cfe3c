"""Families of models: each is scored as its own forward pass over whole sequences, whatever it keeps of an example."""

import warnings
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.families import measure, random_model, small_config
from delift_core.errors import ScoringError
from delift_core.scoring import scorer
from delift_core.scoring.batches import Suffix
from delift_core.scoring.prefixes import Prefix
from delift_core.scoring.scorer import Scorer

# views: all keys are kept, with plain or latent attention, sliding windows, experts; copies: states of fixed size,
# convolutions, chunks, indexes; whole: nothing that transformers can hand on.
FORMS = {
    "views": """
    afmoe apertus arcee bloom codegen cohere cohere2 cwm deepseek_v2 deepseek_v3 ernie4_5 exaone4 falcon gemma
    gemma2 gemma3_text gemma4_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite
    granitemoe granite_swa helium hunyuan_v1_dense internlm3 jetmoe llama mimo_v2_flash minicpm3 minimax_m2
    ministral ministral3 mistral mixtral mpt nanochat nemotron olmo2 olmo3 olmoe opt persimmon phi phi3 phimoe qwen2
    qwen2_moe qwen3 qwen3_moe seed_oss smollm3 stablelm starcoder2 vaultgemma xglm
    """,
    "copies": """
    deepseek_v32 falcon_h1 granitemoehybrid lfm2 lfm2_moe llama4_text minimax nemotron_h olmo_hybrid qwen3_5_text
    qwen3_next
    """,
    "whole": "falcon_mamba mamba mamba2 openai-gpt recurrent_gemma rwkv",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "sharing"),
    [(family, kind) for kind, names in FORMS.items() for family in names.split()],
)
def test_a_family_is_scored_as_its_own_forward_pass(family: str, sharing: str) -> None:
    """Windows and chunks have 64 tokens, the example 150; float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slow kernels
        model = random_model(small_config(family))
        assert model is not None
        result = measure(model)
    assert result.outcome == sharing and result.context == 2048
    assert result.difference is not None and result.difference < 1e-5


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", "roformer"])
def test_a_model_that_reads_later_tokens_is_refused_by_name(family: str) -> None:
    assert family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    model = random_model(small_config(family))
    assert model is not None
    with pytest.raises(ScoringError, match=f"'{family}' read the tokens after a token too"):
        Scorer(model)


def test_a_family_that_needs_more_than_text_is_refused_in_one_line() -> None:
    model = random_model(small_config("llama"))
    assert model is not None

    def forward(**inputs: Any) -> Any:
        raise KeyError("pixel_values")

    model.model.forward = forward
    with pytest.raises(ScoringError, match=r"'llama' do not run on text alone: KeyError: 'pixel_values'$"):
        Scorer(model)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "window"), [("gpt_oss", 128), ("gemma3_text", 512)])
def test_rows_far_longer_than_the_released_window_are_exact(family: str, window: int) -> None:
    """1,500 tokens after an example of 700; the window is that of the released configuration."""
    assert CONFIG_MAPPING[family]().sliding_window in (window, 4096)  # Gemma 3's 4B and larger have other windows
    config = small_config(family, sliding_window=window, max_position_embeddings=8192)
    assert "sliding_attention" in config.layer_types
    model = random_model(config)
    assert model is not None and model.identity.context_length == 8192
    result = measure(model, example=700, queries=(1500, 900))
    assert result.outcome == "views" and result.difference is not None and result.difference < 1e-5


@pytest.mark.parametrize("family", ["llama", "qwen3_next", "mamba"])
def test_queries_with_a_common_beginning_share_it_in_every_form(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example and the beginning are two prefixes, one after the other."""
    model = random_model(small_config(family))
    assert model is not None
    monkeypatch.setitem(scorer._PASS_COST, "cpu", 1)
    subject, opening = Scorer(model), tuple(range(30, 60))
    suffixes = [Suffix((*opening, 70 + row), tuple(range(100 + row, 140))) for row in range(3)]
    (group,) = subject.make_grouped_batches(suffixes)
    assert group.shared[:30] == opening
    example = subject.prefill(tuple(range(10, 150)))
    for batch in group.batches:
        got = subject.score(subject.prefill(group.shared, example), batch)
        plain = subject.make_batches([suffixes[row] for row in batch.rows.tolist()])
        expected = torch.cat([subject.score(example, one)[one.rows.argsort()] for one in plain])
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "lfm2", "mamba"])
def test_a_prefix_serves_many_batches_unchanged(family: str) -> None:
    model = random_model(small_config(family))
    assert model is not None
    subject = Scorer(model, tokens_per_batch=64)
    prefix = subject.prefill(tuple(range(10, 80)))
    (batch,) = subject.make_batches([Suffix((1, 2, 3), tuple(range(5, 30)))])
    (other,) = subject.make_batches([Suffix((9, 8), tuple(range(60, 90)))])
    first = subject.score(prefix, batch)
    subject.score(prefix, other)
    assert torch.equal(subject.score(prefix, batch), first) and isinstance(prefix, Prefix) and prefix.length == 70


def test_whole_sequences_keep_to_the_tokens_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the example runs again for every row, its tokens count for every row."""
    model = random_model(small_config("mamba"))
    assert model is not None
    subject = Scorer(model, tokens_per_batch=300)
    prefix = subject.prefill(tuple(range(10, 110)))
    (batch,) = subject.make_batches([Suffix((1, 2, 3), tuple(range(5, 15 + row))) for row in range(8)])
    seen: list[int] = []
    body = subject._body

    def counted(**inputs: Any) -> Any:
        seen.append(inputs["input_ids"].numel())
        return body(**inputs)

    monkeypatch.setattr(subject, "_body", counted)
    assert subject.score(prefix, batch).shape == (8, 2)
    assert len(seen) > 1 and max(seen) <= 300
