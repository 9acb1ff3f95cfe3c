"""Fine-tuning for the length of a block, on tiny random models."""

import math

import numpy as np
import pytest
import torch

from delift_core.errors import ScoringError, Stopped
from delift_core.evaluation import training
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.measures import measure, without_examples
from delift_core.evaluation.training import TrainingLog, fine_tuned
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring.scorer import Scorer
from tests.tiny_models import FAMILIES, ROWS, loaded

pytestmark = pytest.mark.slow

QUICK = FineTuning(epochs=2, learning_rate=1e-2, rows_per_step=2)


def encode(template: Template, rows: list[tuple[str, str]]) -> list[EncodedSample]:
    return [
        template.encode(Conversation((Message("user", prompt), Message("assistant", response))))
        for prompt, response in rows
    ]


def by_hand(model: LoadedModel, sample: EncodedSample) -> float:
    """-log p of one response: one whole sequence, every logit, float64 softmax, positions counted out."""
    query = sample.alone
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([query + sample.response])).logits[0].double()
    log_p = torch.log_softmax(logits, dim=-1)
    return -sum(float(log_p[len(query) - 1 + t, token]) for t, token in enumerate(sample.response))


def right_by_hand(model: LoadedModel, sample: EncodedSample) -> int:
    """How many response tokens are the likeliest at their place."""
    query = sample.alone
    with torch.inference_mode():
        guessed = model.model(input_ids=torch.tensor([query + sample.response])).logits[0].argmax(dim=-1)
    return sum(int(guessed[len(query) - 1 + t]) == token for t, token in enumerate(sample.response))


def weights_of(model: LoadedModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.model.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def train(model: LoadedModel, settings: FineTuning = QUICK, seed: int = 0) -> tuple[TrainingLog, list[torch.Tensor]]:
    template = make_template(model.tokenizer)
    with fine_tuned(model, encode(template, ROWS), settings, seed=seed) as log:
        return log, weights_of(model)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_loss_is_the_mean_over_response_tokens_only(family: str) -> None:
    model = loaded(family)
    template = make_template(model.tokenizer)
    samples = encode(template, ROWS)
    expected = sum(by_hand(model, s) for s in samples) / sum(len(s.response) for s in samples)
    one_step = FineTuning(epochs=1, rows_per_step=len(ROWS), batch_tokens=150)  # padded, in more than one batch
    log, _ = train(model, one_step)
    assert log.losses == pytest.approx([expected], rel=1e-5)


def test_one_step_is_clipped_adamw_on_the_masked_loss() -> None:
    """AdamW's first update is lr * g / (|g| + eps), whatever the size of g, where g is the clipped gradient."""
    model = loaded()
    template = make_template(model.tokenizer)
    samples = encode(template, ROWS)
    before = weights_of(model)
    model.model.requires_grad_(True)
    total = torch.zeros(())
    for sample in samples:
        query = sample.alone
        ids = torch.tensor([query + sample.response])
        labels = torch.tensor([(-100,) * len(query) + sample.response])
        total = total + model.model(input_ids=ids, labels=labels).loss * len(sample.response)
    (total / sum(len(sample.response) for sample in samples)).backward()
    gradients = [weight.grad.clone() for weight in model.model.parameters()]
    model.model.requires_grad_(False)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    assert norm > 1  # otherwise nothing is clipped here
    _, after = train(model, FineTuning(epochs=1, learning_rate=1e-3, rows_per_step=len(ROWS)))
    for start, gradient, end in zip(before, gradients, after, strict=True):
        clipped = gradient / norm
        certain = clipped.abs() > 1e-5  # below, rounding decides the direction
        expected = start - 1e-3 * clipped / (clipped.abs() + 1e-8)
        assert torch.allclose(end[certain], expected[certain], atol=2e-5)


def test_every_step_lowers_the_rate_and_every_epoch_sees_all_rows() -> None:
    seen = [list(chosen) for chosen in training._steps(5, QUICK, np.random.default_rng(0))]
    assert [len(chosen) for chosen in seen] == [2, 2, 1, 2, 2, 1]
    assert sorted(sum(seen[:3], [])) == sorted(sum(seen[3:], [])) == [0, 1, 2, 3, 4]
    assert seen[:3] != seen[3:]
    assert QUICK.steps(5) == len(seen)


def test_fine_tuning_lowers_the_loss_on_its_own_rows() -> None:
    log, _ = train(loaded(), FineTuning(epochs=10, learning_rate=3e-3, rows_per_step=5))
    assert log.losses[-1] < 0.8 * log.losses[0]


def test_rows_like_the_held_out_ones_help_more_than_others() -> None:
    """The others are the same texts with prompt and response exchanged: a loss over prompts could not tell."""
    model = loaded(scale=2.0)
    template = make_template(model.tokenizer)
    alike = [(f"Count to {n}.", "one two three four five six"[: 8 + n]) for n in range(12)]
    exchanged = [(response, prompt) for prompt, response in alike]
    heldout = encode(template, [(f"Count to {n}.", "one two three four five six"[: 8 + n]) for n in range(12, 18)])
    scorer, tokens = Scorer(model), sum(len(sample.response) for sample in heldout)
    settings = FineTuning(epochs=4, learning_rate=3e-3, rows_per_step=4)

    def loss(rows: list[tuple[str, str]]) -> float:
        with fine_tuned(model, encode(template, rows), settings, seed=0):
            measured = measure(scorer, without_examples(heldout))
            return float(measured[0].sum() / tokens)

    untouched = measure(scorer, without_examples(heldout))
    before = float(untouched[0].sum() / tokens)
    assert before - loss(alike) > 2 * max(0.0, before - loss(exchanged))
    assert before - loss(alike) > 0.5


def test_weights_are_restored_bit_for_bit() -> None:
    model = loaded("gpt2")  # with biases, norms and tied embeddings
    before = weights_of(model)
    _, during = train(model)
    assert not any(torch.equal(a, b) for a, b in zip(before, during, strict=True))
    assert same(before, weights_of(model))
    assert all(weight.grad is None and not weight.requires_grad for weight in model.model.parameters())


def test_an_error_inside_the_block_restores_the_weights_too() -> None:
    model = loaded()
    before = weights_of(model)
    template = make_template(model.tokenizer)
    with (
        pytest.raises(ZeroDivisionError),
        fine_tuned(model, encode(template, ROWS), QUICK, seed=0),
    ):
        raise ZeroDivisionError
    assert same(before, weights_of(model))


def test_the_seed_decides_everything() -> None:
    model = loaded()
    log, first = train(model, seed=3)
    again, second = train(model, seed=3)
    other, third = train(model, seed=4)
    assert log == again
    assert same(first, second)
    assert log != other
    assert not same(first, third)


def test_the_memory_limit_of_a_batch_changes_no_result() -> None:
    model = loaded()
    whole, _ = train(model, FineTuning(epochs=2, learning_rate=1e-3, rows_per_step=4))
    parts, _ = train(model, FineTuning(epochs=2, learning_rate=1e-3, rows_per_step=4, batch_tokens=1))
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)


def test_stopping_in_the_middle_says_where_and_restores_the_weights() -> None:
    model = loaded()
    before = weights_of(model)
    template = make_template(model.tokenizer)
    done: list[int] = []
    with (
        pytest.raises(Stopped, match="after 3 of 6 fine-tuning steps"),
        fine_tuned(
            model,
            encode(template, ROWS),
            QUICK,
            seed=0,
            stop=lambda: len(done) == 3,
            on_step=done.append,
        ),
    ):
        pytest.fail("a stopped training must not reach the block")
    assert done == [1, 2, 3]
    assert same(before, weights_of(model))


def test_a_loss_that_is_no_number_is_refused() -> None:
    model = loaded()
    before = weights_of(model)
    with pytest.raises(ScoringError, match="lower learning rate"):
        train(model, FineTuning(epochs=20, learning_rate=1e30))
    assert same(before, weights_of(model))


def test_too_little_memory_is_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded()
    model.model.requires_grad_(False)
    least = 16 * sum(weight.numel() for weight in model.model.parameters())
    monkeypatch.setattr(training, "free_bytes", lambda device: least)
    with pytest.raises(ScoringError, match=r"needs about [\d.]+ .iB .* and [\d.]+ .iB are available"):
        train(model)
    monkeypatch.setattr(training, "free_bytes", lambda device: 100 * least)
    assert train(model)[0].losses


def test_half_precision_is_refused() -> None:
    model = loaded()
    model.model.bfloat16()
    with pytest.raises(ScoringError, match="bfloat16.*float32"):
        train(model)


def test_no_rows_and_senseless_settings_are_refused() -> None:
    model = loaded()
    with (
        pytest.raises(ScoringError, match="no rows"),
        fine_tuned(model, [], QUICK, seed=0),
    ):
        pytest.fail("there is nothing to train on")
    with pytest.raises(ScoringError, match="above 0"):
        FineTuning(epochs=0)
    with pytest.raises(ScoringError, match="above 0"):
        FineTuning(learning_rate=float("nan"))


@pytest.mark.parametrize("name", ["chat", "plain", "paper"])
def test_held_out_loss_equals_the_sum_by_hand(name: str) -> None:
    model = loaded()
    template = make_template(model.tokenizer, name)
    samples = encode(template, ROWS)
    measured = measure(Scorer(model, tokens_per_batch=150), without_examples(samples))
    expected = [by_hand(model, sample) for sample in samples]
    assert measured[0] == pytest.approx(expected, rel=1e-5)
    assert measured[1].tolist() == [right_by_hand(model, sample) for sample in samples]


def test_measuring_stops_between_batches() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    with pytest.raises(Stopped):
        measure(Scorer(model), without_examples(encode(template, ROWS)), stop=lambda: True)


def test_lora_layers_learn_and_leave_no_trace() -> None:
    model = loaded()
    before = weights_of(model)
    settings = FineTuning(epochs=6, learning_rate=3e-2, rows_per_step=5, weights="lora")
    template = make_template(model.tokenizer)
    with fine_tuned(model, encode(template, ROWS), settings, seed=0) as log:
        assert log.adapted is not None
    assert log.losses[-1] < log.losses[0] - 0.1
    assert same(before, weights_of(model))
    first, again = (train(model, settings)[0].losses for _ in range(2))
    assert first == again


def test_the_size_of_a_model_decides_where_nothing_else_does() -> None:
    assert not FineTuning().uses_lora(135_000_000)
    assert FineTuning().uses_lora(1_000_000_000)
    assert not FineTuning(weights="full").uses_lora(1_000_000_000)
    assert FineTuning(weights="lora").uses_lora(1_000)
