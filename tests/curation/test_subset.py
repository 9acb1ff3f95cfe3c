"""The subset after edits, against the definition written out with sets."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.curation.curate import subset_after_edits
from delift_core.errors import SelectionError
from delift_core.selection.types import (
    Budget,
    Certificate,
    GreedyOrder,
    ObjectiveConfig,
    RandomBaseline,
    Selection,
)

Verdict = Literal["keep", "drop"]


def selection_of(chosen: list[int], n_pool: int) -> Selection:
    return Selection(
        config=ObjectiveConfig("instruction"),
        budget=Budget("rows", float(len(chosen))),
        chosen=np.array(chosen, dtype=np.int64),
        chosen_gains=np.ones(len(chosen)),
        greedy=GreedyOrder(np.arange(n_pool), np.ones(n_pool)),
        residual_gains=np.zeros(n_pool),
        certificate=Certificate(1.0, 1.0),
        random=RandomBaseline(()),
    )


def positions(ids: Sequence[str]) -> dict[str, int]:
    return {sample_id: position for position, sample_id in enumerate(ids)}


def test_by_example() -> None:
    overrides: dict[str, Verdict] = {"e": "keep", "a": "keep", "b": "drop", "c": "drop", "d": "keep"}
    subset = subset_after_edits(selection_of([3, 5, 1], 6), positions("abcdef"), overrides)
    assert subset.positions.tolist() == [3, 5, 0, 4]  # picks without b, then a and e by hand
    assert subset.by_hand.tolist() == [0, 4]  # d was chosen anyway
    assert subset.dropped.tolist() == [1]  # c was not chosen anyway


@given(st.data())
def test_the_definition(data: st.DataObject) -> None:
    n_pool = data.draw(st.integers(1, 12))
    ids = [f"id {position}" for position in range(n_pool)]
    chosen = data.draw(st.permutations(range(n_pool)))[: data.draw(st.integers(0, n_pool))]
    overrides: dict[str, Verdict] = data.draw(st.dictionaries(st.sampled_from(ids), st.sampled_from(["keep", "drop"])))
    subset = subset_after_edits(selection_of(chosen, n_pool), positions(ids), overrides)
    expected = [position for position in chosen if overrides.get(ids[position]) != "drop"]
    added = [p for p in range(n_pool) if overrides.get(ids[p]) == "keep" and p not in chosen]
    assert subset.positions.tolist() == expected + added
    assert subset.by_hand.tolist() == added
    assert subset.dropped.tolist() == sorted(set(chosen) - set(expected))
    assert {subset.positions.dtype, subset.by_hand.dtype, subset.dropped.dtype} == {np.dtype(np.int64)}


def test_nothing_chosen_and_nothing_edited() -> None:
    subset = subset_after_edits(selection_of([], 2), positions("ab"), {})
    assert subset.positions.tolist() == subset.by_hand.tolist() == subset.dropped.tolist() == []


def test_the_wrong_pool_is_refused() -> None:
    with pytest.raises(SelectionError, match="made from 3 samples, the pool has 2"):
        subset_after_edits(selection_of([0], 3), positions("ab"), {})
    with pytest.raises(SelectionError, match="'stranger' is not in the pool"):
        subset_after_edits(selection_of([0], 2), positions("ab"), {"a": "keep", "stranger": "drop"})
