"""The scorer against a plain forward pass, one whole sequence at a time, with full logits."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from delift_core.errors import ScoringError
from delift_core.models.encoded import EncodedSample, ExampleTokens, Head, fit_to_context
from delift_core.models.loading import LoadedModel
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring import batches as budget
from delift_core.scoring import scorer as scorer_module
from delift_core.scoring.batches import Suffix, padded_cuts
from delift_core.scoring.metrics import utility
from delift_core.scoring.scorer import Scorer
from tests.rounding import STATISTICS
from tests.tiny_models import FAMILIES, ROWS, loaded


def conversation(prompt: str, response: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", response)))


def plain_statistics(model: LoadedModel, prefix: Sequence[int], suffix: Suffix) -> np.ndarray:
    """(2,) sums by the definition: one sequence, every logit, float64 softmax."""
    ids = torch.tensor([list(prefix) + list(suffix.query) + list(suffix.response)])
    with torch.inference_mode():
        logits = model.model(input_ids=ids).logits[0].double()
    first = len(prefix) + len(suffix.query)
    log_p = torch.log_softmax(logits, dim=-1)
    chosen = torch.stack([log_p[first - 1 + t, token] for t, token in enumerate(suffix.response)])
    return np.array([((1 - chosen.exp()) ** 2).sum(), chosen.sum()])


def encode_rows(template: Template) -> list[EncodedSample]:
    return [template.encode(conversation(*row)) for row in ROWS]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("template_name", ["chat", "plain", "paper"])
def test_utilities_equal_the_plain_forward_pass(family: str, template_name: str) -> None:
    model = loaded(family)
    template = make_template(model.tokenizer, template_name)
    encoded = encode_rows(template)
    subject = Scorer(model, tokens_per_batch=150)  # several batches, of more than one row
    suffixes = [Suffix(e.query, e.response) for e in encoded]
    alone_suffixes = [Suffix(e.query_alone, e.response) for e in encoded]
    tokens = np.array([len(e.response) for e in encoded])
    alone = run(subject, template.head.alone, alone_suffixes)
    alone_plain = np.stack([plain_statistics(model, template.head.alone, s) for s in alone_suffixes])
    for helper in encoded:
        prefix = encoded[0].before_query(helper)
        ours = run(subject, prefix, suffixes)
        plain = np.stack([plain_statistics(model, prefix, s) for s in suffixes])
        for metric in ("euclidean", "pmi-per-token"):
            difference = utility(alone, ours, tokens, metric) - utility(alone_plain, plain, tokens, metric)
            assert np.abs(difference).max() < 1e-5
    assert np.abs(alone_plain[:, 0]).min() > 0.01  # the model is unsure enough for the comparison to mean something


def run(subject: Scorer, prefix_tokens: Sequence[int], suffixes: Sequence[Suffix]) -> np.ndarray:
    example = subject.prefill(prefix_tokens)
    result = np.full((len(suffixes), 2), np.nan)
    for group in subject.make_grouped_batches(suffixes):
        prefix = subject.prefill(group.shared, example)
        for batch in group.batches:
            result[batch.rows.numpy()] = subject.score(prefix, batch).numpy()
    return result


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])  # rotary, learned and offset positions
def test_queries_that_begin_alike_give_the_same_numbers(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(family)
    monkeypatch.setitem(scorer_module._PASS_COST, "cpu", 1)
    template = make_template(model.tokenizer, "plain")
    prompts = ["Translate into French: " + word for word in ("red", "green", "blue")] + ["Add 1 and 2", "Add 1 and 3"]
    encoded = [template.encode(conversation(prompt, "rouge 3")) for prompt in prompts]
    suffixes = [Suffix(sample.query, sample.response) for sample in encoded]
    subject = Scorer(model)
    assert len(subject.make_grouped_batches(suffixes)) == 2  # two instructions, each with the template's opening
    prefix = encoded[1].before_query(encoded[0])
    plain = np.stack([plain_statistics(model, prefix, suffix) for suffix in suffixes])
    assert np.abs(run(subject, prefix, suffixes) - plain).max() < 1e-4


@pytest.mark.parametrize("family", ["mistral", "gemma2"])
def test_beyond_a_sliding_window_the_shared_example_is_read_as_in_one_sequence(family: str) -> None:
    model = loaded(family)
    example = tuple(range(1, 151))
    suffixes = [Suffix(tuple(range(first, first + 20)), tuple(range(30, 30 + 90))) for first in (40, 41, 60)]
    assert min(len(example), len(suffixes[0])) > model.model.config.sliding_window == 96
    plain = np.stack([plain_statistics(model, example, suffix) for suffix in suffixes])
    np.testing.assert_allclose(run(Scorer(model), example, suffixes), plain, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "opt", "mistral"])
def test_the_last_position_of_the_context_is_scored_and_the_next_refused(family: str) -> None:
    """Absolute positions end with their table; a window does not end the context."""
    model = loaded(family)
    length = model.identity.context_length
    assert length == 512
    half = length // 2
    example = tuple(range(1, half + 1))
    row = EncodedSample(Head((), ()), (7, 8, 9), (7, 8, 9), (5,) * (half - 3), (ExampleTokens((), example, example),))
    assert fit_to_context(row, length) == row  # example, query and response fill the context to its last token
    suffix = Suffix(row.query, row.response)
    plain = plain_statistics(model, example, suffix)
    np.testing.assert_allclose(run(Scorer(model), example, [suffix])[0], plain, rtol=1e-4)
    longer = replace(row, query=(6, 7, 8, 9))
    assert fit_to_context(longer, length).query == row.query  # the prompt is cut from the left
    with pytest.raises(
        ScoringError, match=f"the response has {half} tokens and at most {half - 1} fit beside an example"
    ):
        fit_to_context(replace(row, response=(5,) * half), length)


def test_an_example_is_never_changed_by_the_queries_that_read_it() -> None:
    model = loaded()
    subject = Scorer(model, tokens_per_batch=100)
    template = make_template(model.tokenizer)
    encoded = encode_rows(template)
    prefix = subject.prefill(encoded[1].before_query(encoded[0]))
    before = [keys.clone() for keys, _ in prefix.layers or ()]
    for batch in subject.make_batches([Suffix(e.query, e.response) for e in encoded]):
        subject.score(prefix, batch)
    assert all(torch.equal(old, keys) for old, (keys, _) in zip(before, prefix.layers or (), strict=True))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_packing_keeps_every_token_once_and_its_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    subject = SHARED
    subject.tokens_per_batch = budget
    suffixes = [Suffix(tuple(range(q)), tuple(range(100, 100 + r))) for q, r in lengths]
    batches = subject.make_batches(suffixes)
    rows = np.concatenate([batch.rows.numpy() for batch in batches])
    assert sorted(rows) == list(range(len(suffixes)))
    widths = [batch.ids.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch in batches:
        assert batch.ids.numel() <= budget or len(batch.rows) == 1
        assert batch.real_tokens == sum(len(suffixes[row]) for row in batch.rows)
        flat = batch.ids.reshape(-1)
        for position, target, owner in zip(batch.positions, batch.targets, batch.owners, strict=True):
            assert flat[position + 1] == target  # the token after the predicting position
            assert position // batch.ids.shape[1] == owner


SHARED = Scorer(loaded())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 100), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_batches_are_cut_where_padding_and_passes_cost_least(lengths: list[int], budget: int, pass_cost: int) -> None:
    lengths = sorted(lengths, reverse=True)
    n = len(lengths)

    def cost(cuts: Sequence[int]) -> float:
        sizes = [(lengths[start] * (end - start), end - start) for start, end in pairwise(cuts)]
        if any(padded > budget and rows > 1 for padded, rows in sizes):
            return float("inf")
        return sum(padded + pass_cost for padded, _ in sizes)

    every = [(0, *inner, n) for size in range(n) for inner in combinations(range(1, n), size)]
    assert cost(padded_cuts(lengths, budget, pass_cost)) == min(map(cost, every))


@pytest.mark.parametrize("at_once", [1, 3000])
def test_logits_in_small_parts_give_the_same_numbers(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded()
    suffixes = [Suffix((1, 2, 3), tuple(range(5, 45))), Suffix((4,), (9, 8, 7))]
    whole = run(Scorer(model), (11, 12, 13), suffixes)
    monkeypatch.setitem(scorer_module._LOGITS_AT_ONCE, "cpu", at_once)
    monkeypatch.setattr(scorer_module, "_HEAD_CHUNK", 7)
    np.testing.assert_allclose(run(Scorer(model), (11, 12, 13), suffixes), whole, rtol=STATISTICS)


NO_ROOM = [
    torch.OutOfMemoryError("out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB, max allowed: 9 GB)"),
]


@pytest.mark.parametrize("error", NO_ROOM, ids=["cuda", "cpu", "mps"])
def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_numbers(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded()
    template = make_template(model.tokenizer)
    suffixes = [Suffix(e.query, e.response) for e in encode_rows(template)]
    monkeypatch.setitem(scorer_module._PASS_COST, "cpu", 10_000)  # one batch, whatever the padding
    subject = Scorer(model, tokens_per_batch=10_000)
    prefix = subject.prefill(template.head.tokens)
    (batch,) = subject.make_batches(suffixes)
    whole_statistics, whole_vectors = subject.score_and_embed(prefix, batch)
    real = Scorer._hidden
    tried: list[int] = []

    def cramped(self: Scorer, prefix: scorer_module.Prefix, batch: scorer_module.Batch) -> torch.Tensor:
        tried.append(batch.ids.shape[0])
        if batch.ids.shape[0] > 2:
            raise error
        return real(self, prefix, batch)

    monkeypatch.setattr(Scorer, "_hidden", cramped)
    statistics, vectors = subject.score_and_embed(prefix, batch)
    torch.testing.assert_close(statistics, whole_statistics, rtol=STATISTICS, atol=0)
    torch.testing.assert_close(vectors, whole_vectors, rtol=STATISTICS, atol=1e-5)
    assert tried == [5, 2, 3, 1, 2]
    tried.clear()
    subject.score(prefix, batch)
    assert tried == [2, 1, 2]  # what did not fit is not tried again


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_scarce_memory_makes_batches_smaller_and_never_empty(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(family)
    subject = Scorer(model)
    assert subject.tokens_per_batch == 256
    fixed = subject.batch_bytes - 256 * budget.bytes_per_token(model)
    monkeypatch.setattr(budget, "free_bytes", lambda device: fixed + 2 * 100 * budget.bytes_per_token(model))
    assert Scorer(model).tokens_per_batch == 100
    monkeypatch.setattr(budget, "free_bytes", lambda device: 1)
    assert Scorer(model).tokens_per_batch == 64


def test_one_row_that_does_not_fit_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Scorer(loaded())
    (batch,) = subject.make_batches([Suffix((1, 2), (3,))])

    def full(self: Scorer, prefix: scorer_module.Prefix, batch: scorer_module.Batch) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Scorer, "_hidden", full)
    with pytest.raises(ScoringError, match="out of memory with a single sequence of 3 tokens"):
        subject.score(subject.prefill(()), batch)


@pytest.mark.parametrize("error", NO_ROOM, ids=["cuda", "cpu", "mps"])
def test_an_example_that_does_not_fit_is_refused_with_a_reason(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Scorer(loaded())

    def full(**inputs: object) -> None:
        raise error

    monkeypatch.setattr(subject._body, "forward", full)
    with pytest.raises(ScoringError, match="out of memory with a single sequence of 5 tokens"):
        subject.prefill((1, 2, 3, 4, 5))


class NoFloat64(TorchDispatchMode):
    """Stands for a device that has no float64, as the GPU of a Mac."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple) else (result,):
            assert not (isinstance(part, torch.Tensor) and part.dtype == torch.float64), func
        return result


def test_a_device_without_float64_sums_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Scorer(loaded())
    suffixes = [Suffix((1, 2, 3), tuple(range(5, 45))), Suffix((4,), (9, 8, 7))]
    prefix = subject.prefill((11, 12, 13))
    (batch,) = subject.make_batches(suffixes)
    exact, vectors = subject.score_and_embed(prefix, batch)
    monkeypatch.setitem(scorer_module._SUMS, "cpu", torch.float32)
    with NoFloat64():
        sums, embedded = subject.score_and_embed(prefix, batch)
        assert torch.equal(subject.score(prefix, batch), sums)
    assert exact.dtype == torch.float64 and torch.equal(embedded, vectors)
    torch.testing.assert_close(sums.double(), exact, rtol=STATISTICS, atol=0)


def test_a_family_whose_output_layer_is_not_understood_is_refused() -> None:
    model = loaded()
    model.model.config.final_logit_softcapping = 0.5  # the model itself does not apply it
    with pytest.raises(ScoringError, match="'llama' cannot be scored"):
        Scorer(model)
