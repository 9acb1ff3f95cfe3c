"""Packed suffixes on a CPU: the numbers of padded batches, for every family that supports them."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from delift_core.models.compiled_layers import compile_layers
from delift_core.models.packed_layers import KeyBounds, SequenceBounds
from delift_core.scoring.batches import Batch, Suffix, make_batch, packed_cuts
from delift_core.scoring.scorer import Scorer
from tests.models.test_compiled_layers import suited
from tests.tiny_models import FAMILIES, loaded

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
def test_one_compilation_serves_every_layer_and_shape() -> None:
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
