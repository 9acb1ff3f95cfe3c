"""Choosing pairs: budgets kept to the pair, no pair twice, better than chance, the same each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.models.vectors import InnerProductSearch
from delift_core.scoring.estimation import pair_choice as choice
from delift_core.scoring.estimation.completion import Completion, Variances
from delift_core.scoring.estimation.pair_choice import (
    MatrixPlan,
    Measured,
    Round,
    next_round,
    opening_rounds,
    pair_keys,
    row_priority,
    split_budget,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def world(rows: int, columns: int, seed: int = 0, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cues of both sides, and utilities that follow from them, but for noise: like samples help more, not only they."""
    generator = np.random.default_rng(seed)
    row_features, column_features = (unit(generator.normal(size=(count, 5))) for count in (rows, columns))
    common = np.eye(5) + generator.normal(size=(5, 5))
    smooth = row_features @ common @ column_features.T + 0.5 * generator.normal(size=(rows, 1))
    return row_features, column_features, 0.02 * (smooth + noise * generator.normal(size=(rows, columns)))


def planned(part: MatrixPlan, utilities: np.ndarray, seed: int = 0) -> tuple[Round, ...]:
    rounds = opening_rounds(part, seed)
    while True:
        fit = [one for one in rounds if one.kind != "held-out"]
        rows, columns = (np.concatenate([getattr(one, name) for one in fit]) for name in ("rows", "columns"))
        more = next_round(part, Measured(rows, columns, utilities[rows, columns]), pair_keys(part, rounds), seed)
        if more is None:
            return rounds
        rounds = (*rounds, more)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 14),
    st.integers(2, 14),
    st.floats(0.05, 1.0),
    st.booleans(),
    st.sampled_from(["other", "same"]),
)
def test_a_plan_spends_its_budget_to_the_pair_and_no_pair_twice(
    rows: int, columns: int, share: float, repeated: bool, kind: str
) -> None:
    row_features, column_features, utilities = world(rows, rows if kind == "same" else columns)
    if repeated:
        row_features[:] = row_features[0]  # nothing tells the rows apart
    if kind == "same":
        column_features = row_features
    whole = utilities.size - (rows if kind == "same" else 0)
    priority = np.arange(1.0, 1 + rows)
    total = max(2, round(share * whole))
    part = MatrixPlan(row_features, column_features, total, priority, same=kind == "same")
    rounds = planned(part, utilities)
    keys = pair_keys(part, rounds)
    assert len(keys) == len(np.unique(keys)) == min(part.budget, whole)
    assert keys.min() >= 0 and keys.max() < utilities.size
    if kind == "same":
        assert (keys // part.shape[1] != keys % part.shape[1]).all()


def test_the_same_input_gives_the_same_pairs_and_a_larger_budget_holds_nearly_all_of_a_smaller_one() -> None:
    cues, _, utilities = world(40, 40)
    parts = [MatrixPlan(cues, cues, total, np.ones(40), same=True) for total in (400, 400, 700)]
    plans = [planned(part, utilities) for part in parts]
    for one, other in zip(plans[0], plans[1], strict=True):
        assert one.kind == other.kind
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.columns, other.columns)
    assert plans[0][0].kind == "held-out" and len(plans[0][0].rows) == 20
    small, _, large = (pair_keys(part, plan) for part, plan in zip(parts, plans, strict=True))
    assert np.isin(small, large).mean() > 0.9  # 0.45 by chance


@given(st.lists(st.tuples(st.floats(0.01, 9), st.integers(0, 20)), min_size=1, max_size=12), st.integers(0, 90))
def test_pairs_are_shared_out_to_the_pair_by_effort_and_never_beyond_what_there_is_room_for(
    seekers: list[tuple[float, int]], number: int
) -> None:
    priority, room = (np.array(part) for part in zip(*seekers, strict=True))
    given_out = split_budget(priority, number, room)
    assert given_out.sum() == min(number, room.sum())
    assert (given_out >= 0).all() and (given_out <= room).all()
    if number >= len(seekers):
        assert (given_out[room > 0] > 0).all()
    free = given_out < room
    if free.any():  # whoever could have more has at least the share of those who have most for their priority
        assert ((given_out[free] + 1) / priority[free]).min() >= ((given_out - 2) / priority).max() - 1e-9


def test_rows_of_short_responses_are_given_more_pairs() -> None:
    cues, _, utilities = world(30, 30)
    priority = row_priority(np.repeat([4, 100], 15))
    made = planned(MatrixPlan(cues, cues, 180, priority, same=True), utilities)
    rows = np.concatenate([one.rows for one in made if one.kind != "held-out"])
    assert np.bincount(rows, minlength=30)[:15].min() > np.bincount(rows, minlength=30)[15:].max()


def test_chosen_pairs_hold_more_of_the_large_utilities_than_chance() -> None:
    for seed in range(3):
        row_features, column_features, utilities = world(40, 30, seed)
        part = MatrixPlan(row_features, column_features, round(0.25 * utilities.size), np.ones(40))
        scored = np.zeros(utilities.shape, dtype=bool)
        for one in planned(part, utilities, seed):
            scored[one.rows, one.columns] = True
        best = scored[utilities == utilities.max(axis=1, keepdims=True)].mean()
        assert best > 0.45  # a quarter by chance


def test_rows_that_may_look_up_few_helpers_keep_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    cues, _, utilities = world(80, 80)
    part = MatrixPlan(cues, cues, 1600, np.repeat([1.0, 50.0], 40), same=True)
    walked = pair_keys(part, planned(part, utilities))
    monkeypatch.setattr(choice, "MAX_SEARCHED", 20)
    monkeypatch.setattr(choice, "_BLOCK_ENTRIES", 400)
    searched = pair_keys(part, planned(part, utilities))
    assert len(searched) == len(walked) == 1600
    assert len(np.intersect1d(walked, searched)) > 1400


def test_estimates_are_those_of_the_dense_formula() -> None:
    row_features, column_features, utilities = world(9, 7)
    generator = np.random.default_rng(1)
    keys = np.sort(generator.permutation(63)[:30])
    rows, columns = keys // 7, keys % 7
    model = Completion(row_features, column_features, rows, columns, utilities[rows, columns])
    v, every = Variances(), np.indices((9, 7)).reshape(2, -1)

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        same_row, same_column = a[0][:, None] == b[0], a[1][:, None] == b[1]
        alike_rows, alike_columns = (
            (row_features @ row_features.T)[np.ix_(a[0], b[0])],
            (column_features @ column_features.T)[np.ix_(a[1], b[1])],
        )
        similarity = row_features @ column_features.T
        return (
            v.row * same_row
            + v.column * same_column
            + v.similarity * np.outer(similarity[a[0], a[1]], similarity[b[0], b[1]])
            + v.common * alike_rows * alike_columns
            + v.row_slope * same_row * alike_columns
        )

    seen = np.stack([rows, columns])
    noise = v.noise * np.exp(v.noise_similarity * (row_features @ column_features.T)[rows, columns])
    scaled = utilities[rows, columns] / model.row_scale[rows]
    data = (scaled - scaled.mean()) / scaled.std()
    expected = covariance(every, seen) @ np.linalg.solve(covariance(seen, seen) + np.diag(noise), data)
    expected = model.row_scale[every[0]] * (scaled.mean() + scaled.std() * expected)
    found = model.mean().at(*every)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(model.mean().block(slice(None)).ravel(), found, rtol=1e-4, atol=1e-7)


def test_utilities_that_are_all_equal_are_completed_with_that_value() -> None:
    cues, _, _ = world(6, 6)
    rows = np.arange(6)
    model = Completion(cues, cues, rows, (rows + 1) % 6, np.full(6, 0.25))
    np.testing.assert_allclose(model.mean().block(slice(None)), 0.25, rtol=1e-5)


def test_search_by_cells_finds_nearly_what_the_exact_one_does() -> None:
    generator = np.random.default_rng(0)
    items, queries = generator.normal(size=(4000, 8)), generator.normal(size=(50, 8))
    exact = InnerProductSearch(items).search(queries, 10)
    products = queries @ items.T
    np.testing.assert_allclose(  # by value: two that are alike in float32 may come in either order
        np.take_along_axis(products, exact, axis=1), -np.sort(-products, axis=1)[:, :10], rtol=1e-5
    )
    cells = InnerProductSearch(items, exact_items=100).search(queries, 10)
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, cells, strict=True)]) > 8
