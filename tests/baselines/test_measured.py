"""What is asked of a model, on tiny random ones, against whole forward passes by hand."""

import math

import numpy as np
import pytest
import torch

from delift_core.baselines import LessSettings
from delift_core.baselines.less import adam_direction, influence, less_matrix, less_scores, project
from delift_core.baselines.measure import (
    RATING_PROMPTS,
    EncodedRows,
    MeasuredPool,
    losses_and_embeddings,
    ratings,
    unconditional_losses,
)
from delift_core.errors import ScoringError, SelectionError, Stopped
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.lora import LoraSettings, linear_layers, with_lora
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message, ParsedRecord, Sample, with_ids
from delift_core.scoring.scorer import Scorer
from delift_core.selection.methods import METHODS
from tests.rounding import off_by_order
from tests.tiny_models import FAMILIES, loaded

pytestmark = pytest.mark.slow

PAIRS = [("What is 2 + 2?", "4"), ("A colour?", "Blue."), ("Say hi", "Hello there!"), ("Spell cat", "c-a-t"), ("B", "")]
SAMPLES: tuple[Sample, ...] = with_ids(
    ParsedRecord((Message("user", prompt), Message("assistant", response or "x")), "{}", "pool.jsonl", line)
    for line, (prompt, response) in enumerate(PAIRS, start=1)
)
QUICK = LessSettings(LoraSettings(2, 4.0), epochs=2, learning_rate=1e-2, projection=64, fewest_rows=3, rows_per_step=2)


def encoded(template: Template) -> list[EncodedSample]:
    return [template.encode(sample.conversation) for sample in SAMPLES]


def log_p(model: LoadedModel, before: tuple[int, ...], response: tuple[int, ...]) -> float:
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([before + response])).logits[0].double().log_softmax(dim=-1)
    return sum(float(logits[len(before) - 1 + t, token]) for t, token in enumerate(response))


def test_losses_with_and_without_the_prompt_are_sums_by_hand() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    rows, scorer = encoded(template), Scorer(model, tokens_per_batch=100)
    loss, embeddings = losses_and_embeddings(scorer, rows)
    assert loss == pytest.approx([-log_p(model, row.alone, row.response) for row in rows], rel=1e-5)
    assert unconditional_losses(scorer, rows) == pytest.approx(
        [-log_p(model, (256,), row.response) for row in rows], rel=1e-5
    )
    pool = MeasuredPool(scorer, template, EncodedRows(SAMPLES, rows), EncodedRows(SAMPLES[:2], rows[:2]))
    assert pool.tokens.tolist() == [len(row.response) for row in rows]
    assert pool.losses == pytest.approx(loss / pool.tokens) and np.array_equal(pool.embeddings, embeddings)
    assert pool.target_embeddings == pytest.approx(embeddings[:2], abs=1e-5)


def test_ratings_are_the_probabilities_of_five_tokens() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    found = ratings(Scorer(model), template, SAMPLES[:2])
    assert found.shape == (2, 5, 5)
    text = f"{RATING_PROMPTS[1]}\n\nInstruction: What is 2 + 2?\n\nResponse: 4\n\nThe score is:"
    query = template.encode(Conversation((Message("user", text), Message("assistant", "5")))).alone
    for digit in range(5):
        token = model.tokenizer(str(digit + 1), add_special_tokens=False).input_ids[0]
        by_hand = math.exp(log_p(model, query, (token,)))
        assert found[0, 1, digit] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_without_utilities_orders_a_pool_with_a_model(method: str) -> None:
    model, entry = loaded(), METHODS[method]
    template = make_template(model.tokenizer)
    pool = MeasuredPool(Scorer(model), template, EncodedRows(SAMPLES, encoded(template)), less=QUICK)
    if entry.needs == "utilities":
        with pytest.raises(SelectionError, match="needs a scored run"):
            entry.order(pool, 0)
    else:
        assert sorted(entry.order(pool, 0).tolist()) == list(range(5))


def test_a_stop_is_heard() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    for method in ("loss-high", "ifd", "selectit", "less"):
        rows = EncodedRows(SAMPLES, encoded(template))
        pool = MeasuredPool(Scorer(model), template, rows, less=QUICK, stop=lambda: True)
        with pytest.raises(Stopped):
            METHODS[method].order(pool, 0)


@pytest.mark.slow
def test_adam_direction_and_projection_by_hand() -> None:
    gradient, first, second = (torch.tensor(values) for values in ([0.5, -2.0], [0.1, 0.3], [0.04, 0.0]))
    expected = [
        (0.9 * m + 0.1 * g) / math.sqrt(0.999 * v + 0.001 * g * g + 1e-8)
        for g, m, v in [(0.5, 0.1, 0.04), (-2.0, 0.3, 0.0)]
    ]
    assert adam_direction(gradient, first, second).tolist() == pytest.approx(expected, rel=1e-5)
    vectors = torch.randn(3, 70_000, generator=torch.Generator().manual_seed(1))  # more than one chunk
    down = project(vectors, 2048, seed=4)
    apart = (down[1:2] - project(vectors[1:2], 2048, seed=4)).abs()
    bound = off_by_order(vectors[1:2], torch.full((1, 70_000), 2048**-0.5))  # every entry a sign over the root
    assert (apart <= bound).all() and float(bound) < 0.1 * float(down[1].abs().mean())
    lengths = (down.norm(dim=1) / vectors.norm(dim=1)).tolist()
    assert lengths == pytest.approx([1, 1, 1], abs=0.1)
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(down[0], down[1], dim=0)) == pytest.approx(
        float(cosine(vectors[0], vectors[1], dim=0)), abs=0.1
    )


def test_less_prefers_copies_of_the_target_and_leaves_the_model_alone() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    rows = encoded(template)
    before = [weight.clone() for weight in model.model.parameters()]
    found = less_scores(model, rows, [rows[2]], QUICK, seed=0)
    assert int(found.argmax()) == 2
    assert np.abs(found).max() <= 1 + 1e-9
    assert np.array_equal(found, less_scores(model, rows, [rows[2]], QUICK, seed=0))
    after = list(model.model.parameters())
    assert len(after) == len(before)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_lora_starts_without_effect_and_leaves_no_trace(family: str) -> None:
    model = loaded(family)
    ids = torch.arange(12)[None]
    names = [name for name, _ in model.model.named_parameters()]
    plain = model.model(input_ids=ids).logits
    for _ in range(2):  # a second time as the first
        with with_lora(model, LoraSettings(2, 4.0), seed=0) as adapted:
            assert torch.allclose(model.model(input_ids=ids).logits, plain, atol=1e-5)
            trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
            assert trained
            assert all("lora" in name for name in trained)
    assert [name for name, _ in model.model.named_parameters()] == names
    assert torch.equal(model.model(input_ids=ids).logits, plain)


def test_a_model_without_the_layers_lora_wants_says_which_it_has() -> None:
    model = loaded("gpt2")
    assert linear_layers(model) == ("c_attn", "c_proj", "c_fc")
    with (
        pytest.raises(ScoringError, match="this model has no layers q_proj.* for LoRA, only c_attn, c_proj, c_fc"),
        with_lora(model, LoraSettings(layers=("q_proj", "c_fc")), seed=0),
    ):
        pytest.fail("there is no such layer")
    with pytest.raises(ScoringError, match="rank 0"):
        LoraSettings(rank=0)


def test_the_matrix_of_less_has_a_row_for_every_target() -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    rows = encoded(template)[:4]
    matrix = less_matrix(model, rows, QUICK, seed=1)
    for target in range(4):
        alone = less_scores(model, rows, [rows[target]], QUICK, seed=1)
        # Means of cosines of gradients projected in another batch: some sqrt(k) u, for k of a few thousand weights.
        assert matrix[target] == pytest.approx(alone, abs=2e-5)
    assert (matrix.argmax(axis=1) == np.arange(4)).all()


def test_influence_is_the_weighted_mean_cosine() -> None:
    rng = np.random.default_rng(3)
    train, target = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 3, 8))
    weights = np.array([3.0, 1.0])
    found = influence(train, target, weights)
    for row in range(5):
        total = 0.0
        for point in range(2):
            cosines = [
                train[point, row] @ other / (np.linalg.norm(train[point, row]) * np.linalg.norm(other))
                for other in target[point]
            ]
            total += weights[point] / 4 * sum(cosines) / 3
        assert found[row] == pytest.approx(total)
