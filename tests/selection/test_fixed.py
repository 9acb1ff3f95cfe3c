"""Selecting around fixed rows, against naive greedy and the best subset by trying all."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.assessment import random_curves
from delift_core.selection.coverage import value
from delift_core.selection.greedy import arrange_order, greedy_order, order_within
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig, Quota, Quotas
from tests.selection.whole import select_around

CONFIG = ObjectiveConfig("instruction")


def kernel_of(seed: int, n: int) -> np.ndarray:
    kernel = np.random.default_rng(seed).random((n, n), dtype=np.float32)
    np.fill_diagonal(kernel, 0)
    return kernel


Problem = tuple[np.ndarray, FixedRows, int]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    n = draw(st.integers(3, 8))
    fates = draw(st.lists(st.sampled_from(["kept", "dropped", "free", "free"]), min_size=n, max_size=n))
    fates[draw(st.integers(0, n - 1))] = "free"
    kept = tuple(place for place, fate in enumerate(fates) if fate == "kept")
    dropped = tuple(place for place, fate in enumerate(fates) if fate == "dropped")
    rows = draw(st.integers(max(1, len(kept)), n - len(dropped)))
    return kernel_of(draw(st.integers(0, 99)), n), FixedRows(kept, dropped), rows


@settings(max_examples=80, deadline=None)
@given(problems())
def test_kept_rows_are_in_dropped_rows_are_out_and_the_rest_is_greedy(problem: Problem) -> None:
    kernel, fixed, rows = problem
    n = len(kernel)
    selection = select_around(CONFIG, Budget("rows", rows), kernel, fixed)
    chosen = selection.chosen.tolist()
    assert len(chosen) == rows
    assert set(chosen[: len(fixed.kept)]) == set(fixed.kept)
    assert not set(chosen) & set(fixed.dropped)
    assert sorted(selection.greedy.order.tolist()) == list(range(n))
    assert selection.chosen_gains.sum() == pytest.approx(value(kernel, selection.chosen))
    built = list(fixed.kept)
    for pick in chosen[len(fixed.kept) :]:
        free = [j for j in range(n) if j not in built and j not in fixed.dropped]
        best = max(value(kernel, np.array([*built, j])) for j in free)
        assert value(kernel, np.array([*built, pick])) == pytest.approx(best, rel=1e-6)
        built.append(pick)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_certificate_bounds_every_subset_with_the_same_fixed_rows(problem: Problem) -> None:
    kernel, fixed, rows = problem
    selection = select_around(CONFIG, Budget("rows", rows), kernel, fixed)
    free = [j for j in range(len(kernel)) if j not in fixed.kept and j not in fixed.dropped]
    optimum = max(
        value(kernel, np.array([*fixed.kept, *others])) for others in combinations(free, rows - len(fixed.kept))
    )
    certificate = selection.certificate
    assert certificate.value <= optimum + 1e-5
    assert optimum <= certificate.upper_bound + 1e-5
    assert all(drawn <= optimum + 1e-5 for drawn in selection.random.values)


def test_nothing_fixed_is_the_plain_selection() -> None:
    kernel = kernel_of(1, 9)
    plain = select_from_kernel(SelectionRequest(CONFIG, Budget("rows", 4)), kernel, greedy_order(kernel))
    around = select_around(CONFIG, Budget("rows", 4), kernel, FixedRows())
    assert around.chosen.tolist() == plain.chosen.tolist()
    assert around.certificate == plain.certificate
    assert around.random == plain.random


@settings(max_examples=60, deadline=None)
@given(problems())
def test_a_random_baseline_changed_for_fixed_rows_changes_nothing_else(problem: Problem) -> None:
    dense, fixed, rows = problem
    kernel = csr_array(dense * (dense > 0.5))
    anew = select_around(CONFIG, Budget("rows", rows), kernel, fixed)
    changed = select_around(CONFIG, Budget("rows", rows), kernel, fixed, random=random_curves(kernel, seed=0))
    assert changed.chosen.tolist() == anew.chosen.tolist()
    assert changed.chosen_gains.tolist() == anew.chosen_gains.tolist()
    assert changed.residual_gains.tolist() == anew.residual_gains.tolist()
    assert changed.certificate == anew.certificate
    assert changed.random.values == pytest.approx(anew.random.values, rel=1e-9, abs=1e-9)


def test_kept_rows_count_against_a_token_budget() -> None:
    kernel, counts = kernel_of(2, 6), np.array([10, 20, 30, 10, 10, 10])
    selection = select_around(CONFIG, Budget("tokens", 50), kernel, FixedRows(kept=(2,)), token_counts=counts)
    assert selection.chosen[0] == 2
    assert counts[selection.chosen].sum() <= 50
    with pytest.raises(SelectionError, match="30 tokens and the budget is 20"):
        select_around(CONFIG, Budget("tokens", 20), kernel, FixedRows(kept=(2,)), token_counts=counts)


def test_a_budget_that_the_kept_rows_use_up_is_those_rows() -> None:
    kernel = kernel_of(3, 5)
    selection = select_around(CONFIG, Budget("rows", 2), kernel, FixedRows(kept=(1, 4)))
    assert set(selection.chosen.tolist()) == {1, 4}
    assert selection.certificate.ratio == 1.0


def test_a_larger_budget_than_is_free_takes_all_that_is_free() -> None:
    selection = select_around(CONFIG, Budget("percent", 100), kernel_of(3, 5), FixedRows(dropped=(0,)))
    assert sorted(selection.chosen.tolist()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fixed", "rows", "message"),
    [
        (FixedRows((1,), (1,)), 2, "both kept and dropped"),
        (FixedRows((0, 1, 2)), 2, "3 rows are kept and the budget is 2"),
        (FixedRows(dropped=(0, 1, 2, 3)), 2, "Every row is dropped"),
        (FixedRows(kept=(7,)), 2, "not in the pool"),
    ],
)
def test_contradictions_are_refused_with_a_reason(fixed: FixedRows, rows: int, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        select_around(CONFIG, Budget("rows", rows), kernel_of(0, 4), fixed)


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 99))
def test_an_order_from_elsewhere_is_kept_to_around_fixed_rows(problem: Problem, seed: int) -> None:
    kernel, fixed, rows = problem
    wanted = np.random.default_rng(seed).permutation(len(kernel))
    given_order = arrange_order(kernel, wanted, Budget("rows", rows), fixed=fixed)
    by_kind = [fixed.kept, [j for j in wanted if j not in (*fixed.kept, *fixed.dropped)], fixed.dropped]
    expected = [j for kind in by_kind for j in wanted.tolist() if j in kind]
    assert given_order.order.tolist() == expected
    assert np.cumsum(given_order.gains) == pytest.approx(
        [value(kernel, given_order.order[: k + 1]) for k in range(len(kernel))]
    )
    request = SelectionRequest(CONFIG, Budget("rows", rows), fixed=fixed, method="rds")
    made = select_from_kernel(request, kernel, given_order)
    assert (made.chosen.tolist(), made.method) == (expected[:rows], "rds")
    tokens = np.arange(1, len(kernel) + 1)
    room = int(tokens[list(fixed.kept)].sum()) + 4
    request = SelectionRequest(CONFIG, Budget("tokens", room), fixed=fixed, method="rds")
    filled = select_from_kernel(request, kernel, given_order, token_counts=tokens).chosen
    left, along = room, []
    for j in expected[: len(kernel) - len(fixed.dropped)]:
        if tokens[j] <= left:
            along.append(j)
            left -= tokens[j]
    assert filled.tolist() == along


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(0, 2), st.integers(0, 2))
def test_quotas_hold_an_order_from_elsewhere_as_they_hold_the_greedy_one(
    problem: Problem, least: int, more: int
) -> None:
    kernel, _, rows = problem
    codes = np.arange(len(kernel)) % 2
    quotas = Quotas("parity", (Quota("even", min(least, rows, int((codes == 0).sum()))), Quota("odd", 0, more)), codes)
    budget = Budget("rows", min(rows, int((codes == 0).sum())))
    wanted = np.arange(len(kernel))[::-1]
    made = arrange_order(kernel, wanted, budget, quotas=quotas).order
    greedy = order_within(kernel, budget, quotas, FixedRows()).order
    k = int(budget.amount)
    for order in (made, greedy):
        assert sorted(order.tolist()) == list(range(len(kernel)))
        assert (codes[order[:k]] == 1).sum() <= more and (codes[order[:k]] == 0).sum() >= quotas.groups[0].least
    inside = [j for j in made.tolist()[:k] if codes[j] == 1]
    assert inside == sorted(inside, reverse=True)  # what has a place comes in the order that was given
