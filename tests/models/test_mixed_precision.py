"""Rounded products, and models made of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from delift_core.models.devices import Precision
from delift_core.models.loading import load_model
from delift_core.models.mixed_precision import (
    Bf16Linear,
    GatedMlp,
    can_pack_weights,
    float32_output_weights,
    use_mixed_precision,
)
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from tests.rounding import off_by_order
from tests.tiny_models import FAMILIES, random_model, save_model

_HALF_STEP = 2.0**-8  # of relative spacing in bfloat16, with room for the sum


def test_a_product_rounds_its_inputs_and_its_result_and_nothing_else() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(300, 40), torch.randn(7, 300)
    got = Bf16Linear(layer.weight, layer.bias)(inputs)
    exact = inputs.bfloat16().double() @ layer.weight.detach().bfloat16().double().T
    assert got.dtype == torch.float32
    error = (got.double() - layer.bias.detach().double() - exact).abs()
    assert (error <= _HALF_STEP * exact.abs() + 1e-6).all()
    assert error.max() > 0


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_product_is_that_of_plain_weights(rows: int, packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sum the same products of bfloat16 numbers in float32, in orders of their own, and round once."""
    monkeypatch.setattr("delift_core.models.mixed_precision.can_pack_weights", lambda: packs and can_pack_weights())
    torch.manual_seed(0)
    layer, inputs = nn.Linear(72, 40, bias=False), torch.randn(2, rows, 72)
    left, right = inputs.bfloat16(), layer.weight.detach().bfloat16()
    plain = nn.functional.linear(left, right).float()
    difference = (Bf16Linear(layer.weight, None)(inputs) - plain).abs()
    assert (difference <= 2 * _HALF_STEP * plain.abs() + off_by_order(left.float(), right.float())).all()


def test_a_processor_without_bfloat16_kernels_rounds_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delift_core.models.mixed_precision.can_pack_weights", lambda: False)
    model = random_model()
    use_mixed_precision(model)
    products = [part for part in model.modules() if isinstance(part, Bf16Linear)]
    assert len(products) >= 9 and not any(part.packed for part in products)
    assert not any(isinstance(part, GatedMlp) for part in model.modules())
    assert model(input_ids=torch.arange(5, 25)[None]).logits.isfinite().all()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_only_products_are_rounded(family: str) -> None:
    model = random_model(family)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    use_mixed_precision(model)
    products = {name for name, part in model.named_modules() if isinstance(part, Bf16Linear)}
    assert len(products) >= 9  # of two layers, and the output layer
    assert model.get_output_embeddings().weight.dtype == torch.bfloat16
    for name, weight in model.state_dict().items():
        if name.removesuffix(".weight") in products:
            assert weight.dtype == torch.bfloat16
        else:
            torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


GATED = {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "granite"}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gated_parts_hand_on_bfloat16_and_answer_as_before(family: str) -> None:
    model = random_model(family)
    torch.manual_seed(0)
    inputs = torch.randn(3, 50, 64)
    exact = {name: part(inputs) for name, part in model.named_modules() if name.endswith(".mlp")}
    use_mixed_precision(model)
    gated = {name: part for name, part in model.named_modules() if isinstance(part, GatedMlp)}
    assert len(gated) == (2 if family in GATED and can_pack_weights() else 0)
    for name, part in gated.items():
        assert part(inputs).dtype == torch.float32
        error = (part(inputs) - exact[name]).abs().max() / exact[name].abs().max()
        assert 0 < error < 2 * _HALF_STEP


def test_a_gated_part_that_answers_otherwise_is_left_as_it_is() -> None:
    model = random_model()
    part = model.model.layers[0].mlp

    def clipped(inputs: torch.Tensor) -> torch.Tensor:
        return part.down_proj((part.act_fn(part.gate_proj(inputs)) * part.up_proj(inputs)).clamp(-0.01, 0.01))

    part.forward = clipped
    use_mixed_precision(model)
    assert model.model.layers[0].mlp is part
    assert isinstance(model.model.layers[1].mlp, GatedMlp) == can_pack_weights()


def test_logits_are_left_in_bfloat16_for_their_reader() -> None:
    model = random_model()
    use_mixed_precision(model)
    hidden = model.get_decoder()(input_ids=torch.arange(5, 25)[None]).last_hidden_state
    logits = model.get_output_embeddings()(hidden)
    assert hidden.dtype == torch.float32
    assert logits.dtype == torch.bfloat16


def test_a_tied_output_layer_leaves_the_embeddings_as_they_were() -> None:
    model = random_model("gpt2")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    before = model.get_input_embeddings().weight.clone()
    use_mixed_precision(model)
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_the_logit_of_the_token_that_is_asked_is_not_rounded(tmp_path: Path) -> None:
    folder = str(save_model(tmp_path, "gpt2"))
    whole, mixed = (Scorer(load_model(folder, device="cpu", dtype=dtype)) for dtype in ("float32", "mixed"))
    torch.manual_seed(0)
    hidden = torch.randn(300, whole.loaded.model.config.hidden_size)
    targets = torch.randint(whole.loaded.model.config.vocab_size, (300,))
    exact, rounded = whole._log_p(hidden, targets), mixed._head(hidden).float().log_softmax(1)
    error = (mixed._log_p(hidden, targets) - exact).abs().mean()
    assert error < 0.5 * (rounded.gather(1, targets[:, None])[:, 0] - exact).abs().mean()
    assert float32_output_weights(whole.loaded.model) is None


def test_mixed_is_closer_to_float32_than_bfloat16_is(tmp_path: Path) -> None:
    """On average over examples: of one alone, where roundings fall decides as much as how many there are."""
    folder = str(save_model(tmp_path))
    suffixes = [Suffix(tuple(range(start, start + 9)), tuple(range(start + 40, start + 60))) for start in range(24)]

    def log_p(dtype: Precision) -> torch.Tensor:
        scorer = Scorer(load_model(folder, device="cpu", dtype=dtype))
        result = torch.empty(8, len(suffixes), dtype=torch.float64)
        for example in range(8):
            prefix = scorer.prefill(tuple(range(20 * example, 20 * example + 30)))
            for batch in scorer.make_batches(suffixes):
                result[example, batch.rows] = scorer.score(prefix, batch)[:, 1]
        return result

    exact = log_p("float32")
    mixed, rounded = (log_p(dtype).sub(exact).abs().mean() for dtype in ("mixed", "bfloat16"))
    assert 0 < mixed < rounded
