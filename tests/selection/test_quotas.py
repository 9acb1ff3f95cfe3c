"""Quotas: against the best subset by trying all, in every stage, form, and around rows decided by hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import value
from delift_core.selection.explain import ChosenReason, DroppedReason, Explainer
from delift_core.selection.explain_text import as_sentence
from delift_core.selection.greedy import greedy_order, order_around, order_within
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.quotas import has_minima, pick_limits, quotas_over
from delift_core.selection.request import parse_quota
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig, Quota, Quotas, Selection
from tests.selection.whole import select_around

CONFIG = ObjectiveConfig("instruction")
STAGES = ("instruction", "task", "continual")


@dataclass(frozen=True)
class Case:
    """A problem with quotas; whether it can be solved is for `feasible` to say."""

    config: ObjectiveConfig
    kernel: np.ndarray
    quotas: Quotas
    fixed: FixedRows
    rows: int

    @property
    def feasible(self) -> Iterator[tuple[int, ...]]:
        """Every selection that meets what is asked, found by trying all."""
        free = [j for j in range(self.kernel.shape[1]) if j not in (*self.fixed.kept, *self.fixed.dropped)]
        if len(self.fixed.kept) > self.rows:
            return
        for others in combinations(free, self.rows - len(self.fixed.kept)):
            subset = (*self.fixed.kept, *others)
            if meets(self.quotas, np.array(subset, dtype=int)):
                yield subset

    def select(self, kernel: Kernel | None = None) -> Selection:
        form = self.kernel if kernel is None else kernel
        return select_around(self.config, Budget("rows", self.rows), form, self.fixed, quotas=self.quotas)


def meets(quotas: Quotas, subset: np.ndarray) -> bool:
    counts = np.bincount(quotas.codes[subset], minlength=len(quotas.groups))
    return all(
        quota.least <= count and (quota.most is None or count <= quota.most)
        for quota, count in zip(quotas.groups, counts.tolist(), strict=True)
    )


def kernel_of(stage: str, seed: int, n: int) -> tuple[ObjectiveConfig, np.ndarray]:
    draw = np.random.default_rng(seed)
    config = ObjectiveConfig(stage, eta=0.7, nu=0.5)  # type: ignore[arg-type]
    pool = draw.normal(size=(n, n)).astype(np.float32)
    target = draw.normal(size=(2, n)).astype(np.float32) if stage == "task" else None
    existing = draw.normal(size=(n, 2)).astype(np.float32) if stage == "continual" else None
    kernel = represented_kernel(config, pool, target=target, existing=existing)
    assert isinstance(kernel, np.ndarray)
    return config, kernel


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(2, 8))
    config, kernel = kernel_of(draw(st.sampled_from(STAGES)), draw(st.integers(0, 999)), n)
    groups = draw(st.integers(1, 3))
    codes = np.array(draw(st.lists(st.integers(0, groups - 1), min_size=n, max_size=n)), dtype=np.int64)
    quotas = []
    for group in range(groups):
        least = draw(st.integers(0, 3))
        quotas.append(Quota(str(group), least, draw(st.none() | st.integers(least, 5))))
    fates = draw(st.lists(st.sampled_from(["kept", "dropped", *["free"] * 6]), min_size=n, max_size=n))
    kept, dropped = (tuple(j for j, fate in enumerate(fates) if fate == wanted) for wanted in ("kept", "dropped"))
    assume(len(dropped) < n)
    rows = draw(st.integers(1, n - len(dropped)))
    return Case(config, kernel, Quotas("group", tuple(quotas), codes), FixedRows(kept, dropped), rows)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(cases())
def test_what_can_be_met_is_met_and_at_least_half_of_the_best(case: Case) -> None:
    best = max((value(case.kernel, np.array(subset)) for subset in case.feasible), default=None)
    if best is None:
        with pytest.raises(SelectionError) as refused:
            case.select()
        assert "\n" not in str(refused.value)
        return
    selection = case.select()
    chosen = selection.chosen
    assert len(chosen) == case.rows and meets(case.quotas, chosen)
    assert set(chosen[: len(case.fixed.kept)].tolist()) == set(case.fixed.kept)
    assert not set(chosen.tolist()) & set(case.fixed.dropped)
    assert sorted(selection.greedy.order.tolist()) == list(range(case.kernel.shape[1]))
    assert selection.chosen_gains.sum() == pytest.approx(value(case.kernel, chosen), abs=1e-6)
    # What the free picks add is at least half of what the best ones could add to the kept rows.
    kept = value(case.kernel, np.array(case.fixed.kept, dtype=int))
    assert value(case.kernel, chosen) - kept >= (best - kept) / 2 - 1e-6
    assert selection.certificate.value <= best + 1e-5 <= selection.certificate.upper_bound + 2e-5
    assert all(drawn <= best + 1e-4 for drawn in selection.random.values)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(cases())
def test_each_pick_adds_most_of_those_that_still_have_a_place(case: Case) -> None:
    subsets = [set(subset) for subset in case.feasible]
    assume(subsets)
    chosen = case.select().chosen.tolist()
    built = chosen[: len(case.fixed.kept)]
    for pick in chosen[len(built) :]:
        possible = {j for subset in subsets if set(built) <= subset for j in subset - set(built)}
        best = max(value(case.kernel, np.array([*built, j])) for j in possible)
        assert pick in possible
        assert value(case.kernel, np.array([*built, pick])) == pytest.approx(best, abs=1e-5)
        built.append(pick)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(cases())
def test_dense_sparse_and_torch_agree(case: Case) -> None:
    assume(any(True for _ in case.feasible))
    budget = Budget("rows", case.rows)
    dense, sparse, torch = (
        order_within(case.kernel, budget, case.quotas, case.fixed, engine=engine)
        for engine in ("dense", "sparse", "torch")
    )
    for other in (sparse, torch):
        np.testing.assert_array_equal(other.order, dense.order)
        np.testing.assert_array_equal(other.gains, dense.gains)
    again = case.select(csr_array(case.kernel))
    assert again.chosen.tolist() == dense.order[: case.rows].tolist()
    assert again.certificate.upper_bound == pytest.approx(case.select().certificate.upper_bound, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_quotas_that_ask_for_nothing_change_nothing(case: Case) -> None:
    assume(len(case.fixed.kept) <= case.rows)
    free = Quotas("group", tuple(Quota(quota.label) for quota in case.quotas.groups), case.quotas.codes)
    budget = Budget("rows", case.rows)
    plain = select_around(case.config, budget, case.kernel, case.fixed)
    within = select_around(case.config, budget, case.kernel, case.fixed, quotas=free)
    np.testing.assert_array_equal(within.greedy.order, plain.greedy.order)
    np.testing.assert_array_equal(within.greedy.gains, plain.greedy.gains)
    assert within.certificate.upper_bound == pytest.approx(plain.certificate.upper_bound)
    np.testing.assert_allclose(within.random.values, plain.random.values)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_with_maxima_alone_one_order_serves_every_budget(case: Case) -> None:
    capped = Quotas(
        "group", tuple(Quota(quota.label, 0, quota.most) for quota in case.quotas.groups), case.quotas.codes
    )
    assert not has_minima(capped)
    orders = []
    for rows in range(max(1, len(case.fixed.kept)), len(capped.codes) + 1):
        try:
            orders.append(order_within(case.kernel, Budget("rows", rows), capped, case.fixed).order.tolist())
        except SelectionError:
            break
    assert all(order == orders[0] for order in orders)


def test_a_minimum_makes_an_order_for_one_budget() -> None:
    kernel = np.diag(np.array([5.0, 4.0, 3.0, 1.0], dtype=np.float32))
    quotas = Quotas("group", (Quota("a"), Quota("b", 1)), np.array([0, 0, 0, 1]))
    two, three = (order_within(kernel, Budget("rows", rows), quotas, FixedRows()).order.tolist() for rows in (2, 3))
    assert two == [0, 3, 1, 2]
    assert three == [0, 1, 3, 2]


def test_what_comes_after_the_budget_is_the_greedy_order_of_the_rest() -> None:
    _, kernel = kernel_of("instruction", 5, 9)
    quotas = Quotas("group", (Quota("a", 0, 2), Quota("b", 1)), np.arange(9) % 2)
    fixed = FixedRows(kept=(4,), dropped=(7,))
    within = order_within(kernel, Budget("rows", 4), quotas, fixed).order
    rest = order_around(kernel, FixedRows(tuple(within[:4].tolist()), (7,))).order
    np.testing.assert_array_equal(within[4:], rest[4:])


GROUPS = np.array([0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("quotas", "fixed", "rows", "message"),
    [
        ((Quota("a", 4), Quota("b")), FixedRows(), 5, r"'a' asks for at least 4 rows and it has 3: ask for at most 3"),
        ((Quota("a", 3), Quota("b")), FixedRows(dropped=(0,)), 4, r"it has 2 that are not dropped by hand"),
        ((Quota("a", 2), Quota("b", 1)), FixedRows(), 2, r"need at least 3 rows and the budget is 2: raise the budget"),
        ((Quota("a"), Quota("b", 2)), FixedRows(kept=(0, 1)), 3, r"with the rows kept by hand need at least 4 rows"),
        ((Quota("a", 0, 1), Quota("b", 0, 1)), FixedRows(), 3, r"allow at most 2 rows and the budget is 3: lower"),
        ((Quota("a", 0, 1), Quota("b")), FixedRows(kept=(0, 1)), 4, r"2 rows of group 'a' are kept by hand.*allows 1"),
    ],
)
def test_quotas_that_cannot_be_met_are_refused_with_a_remedy(
    quotas: tuple[Quota, ...], fixed: FixedRows, rows: int, message: str
) -> None:
    _, kernel = kernel_of("instruction", 0, 5)
    asked = Quotas("group", quotas, GROUPS)
    with pytest.raises(SelectionError, match=message) as refused:
        select_around(CONFIG, Budget("rows", rows), kernel, fixed, quotas=asked)
    assert "\n" not in str(refused.value)


def test_other_misuse_is_refused() -> None:
    _, kernel = kernel_of("instruction", 0, 5)
    quotas = Quotas("group", (Quota("a", 1), Quota("b")), GROUPS)
    with pytest.raises(SelectionError, match="rows or percent"):
        select_around(
            CONFIG, Budget("tokens", 9), kernel, FixedRows(), quotas=quotas, token_counts=np.ones(5, dtype=int)
        )
    with pytest.raises(SelectionError, match="over 5 rows and the pool has 4"):
        select_around(CONFIG, Budget("rows", 2), kernel_of("instruction", 0, 4)[1], FixedRows(), quotas=quotas)
    with pytest.raises(SelectionError, match="does not support quotas"):
        greedy_order(kernel, engine="submodlib", limits=pick_limits(quotas, 2))


@pytest.mark.parametrize(
    ("text", "column", "quota"),
    [
        ("source:a.jsonl=10..40", "source", Quota("a.jsonl", 10, 40)),
        ("topic:maths=3..", "topic", Quota("maths", 3)),
        ("topic: a=b : c =..0", "topic", Quota(" a=b : c ", 0, 0)),
    ],
)
def test_a_quota_is_read(text: str, column: str, quota: Quota) -> None:
    asked = parse_quota(text)
    assert (asked.column, asked.quota) == (column, quota)


@pytest.mark.parametrize("text", ["", "a", "a=1..2", "source:a", "source:a=..", "s:a=1", "s:a=x..y", ":a=1..2"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="is not understood: write"):
        parse_quota(text)


def test_quotas_are_over_groups_that_there_are() -> None:
    labels, codes = ("a", "b"), np.array([0, 1, 0])
    assert quotas_over("Source", labels, codes, [Quota("b", 1)]).groups == (Quota("a"), Quota("b", 1))
    with pytest.raises(SelectionError, match=r"No row has Source 'c': the groups are a, b\."):
        quotas_over("Source", labels, codes, [Quota("c", 1)])
    with pytest.raises(SelectionError, match="two quotas"):
        quotas_over("Source", labels, codes, [Quota("a", 1), Quota("a", 0, 2)])
    with pytest.raises(SelectionError, match="at least 3 and at most 2"):
        quotas_over("Source", labels, codes, [Quota("a", 3, 2)])
    with pytest.raises(SelectionError, match="at least 3 and at most 2"):
        parse_quota("source:a=3..2")


@settings(max_examples=80, deadline=None)
@given(cases())
def test_reasons_know_the_quotas(case: Case) -> None:
    subsets = [set(subset) for subset in case.feasible]
    assume(subsets)
    selection = case.select()
    explainer = Explainer(selection, case.kernel)
    chosen = selection.chosen.tolist()
    for position, reason in enumerate(explainer.reasons()):
        assert reason == explainer.reason(position)
        if isinstance(reason, ChosenReason) and not reason.by_hand:
            before = set(chosen[: reason.rank - 1])
            possible = {j for subset in subsets if before <= subset for j in subset - before} - {position}
            gains = {j: value(case.kernel, np.array([*before, j])) - value(case.kernel, list(before)) for j in possible}  # type: ignore[arg-type]
            if reason.runner_up is not None:
                assert gains[reason.runner_up] == pytest.approx(max(gains.values()), abs=1e-5)
            else:
                assert max(gains.values(), default=0) <= 1e-5


def test_reasons_under_quotas_in_words() -> None:
    kernel = np.zeros((5, 5), dtype=np.float32)
    kernel[[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]] = [5.0, 4.0, 3.0, 1.0, 2.0]  # columns 1 to 4 and 0 are worth that much
    quotas = Quotas("Source", (Quota("a", 0, 1), Quota("b", 1), Quota("c")), np.array([1, 0, 0, 2, 1]))
    selection = select_around(CONFIG, Budget("rows", 3), kernel, FixedRows(), quotas=quotas)
    assert selection.chosen.tolist() == [1, 3, 0]
    reasons = Explainer(selection, kernel).reasons()
    words = [as_sentence(reason, str) for reason in reasons]
    assert words[0].startswith("Chosen 3rd, for the minimum of “b”: it adds 2")
    assert words[0].endswith("Without it, 4 would have been chosen.")
    assert "Without it, 2 would have been chosen" in words[1]
    assert words[2].startswith("Left out: it would add 4 to the coverage. “a” reached its maximum of")
    assert isinstance(reasons[4], DroppedReason) and reasons[4].passed_over is None
    four = select_around(CONFIG, Budget("rows", 2), kernel, FixedRows(), quotas=quotas)
    passed = Explainer(four, kernel).reason(3)
    assert (
        "After choice 1, all remaining places were reserved for groups below their minimum, and “c” was not"
        in as_sentence(passed, str)
    )
