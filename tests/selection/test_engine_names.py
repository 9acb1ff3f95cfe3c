"""Engines by name: what is read and written, what order they make, and what they promise."""

import re
from dataclasses import replace
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import value
from delift_core.selection.engine import select_from_kernel
from delift_core.selection.engines import guarantee, order_by, picks_per_part
from delift_core.selection.greedy import greedy_order
from delift_core.selection.partitioned import choose_in_parts
from delift_core.selection.quotas import everywhere
from delift_core.selection.request import AUTO, Engine, EngineChoice, format_engine, parse_engine
from delift_core.selection.types import Budget, Fixed, ObjectiveConfig, Quota, Quotas, Selection

CONFIG = ObjectiveConfig("instruction")
CHOICES = st.one_of(
    st.sampled_from(get_args(Engine)).filter(lambda name: name != "stochastic").map(EngineChoice),
    st.floats(0.001, 0.999).map(lambda epsilon: EngineChoice("stochastic", epsilon=epsilon)),
    st.integers(1, 10_000).map(lambda parts: EngineChoice("partitioned", parts=parts)),
)


def kernel_of(seed: int, n: int, *, sparse: bool = False) -> np.ndarray | csr_array:
    generator = np.random.default_rng(seed)
    entries = np.maximum(generator.normal(0.2, 1, (n, n)), 0).astype(np.float32)
    return csr_array(entries * (generator.random((n, n)) < 0.4)) if sparse else entries


def selected(choice: EngineChoice, kernel: np.ndarray | csr_array, budget: Budget, seed: int = 0) -> Selection:
    made = select_from_kernel(CONFIG, budget, kernel, order_by(choice, kernel, budget, seed=seed))
    return replace(made, engine=format_engine(choice))


@given(CHOICES)
def test_what_is_written_is_read_back(choice: EngineChoice) -> None:
    assert parse_engine(format_engine(choice)) == choice


def test_settings_that_are_left_out() -> None:
    assert parse_engine("auto") == AUTO
    assert parse_engine("stochastic") == EngineChoice("stochastic", epsilon=0.1)
    assert parse_engine(" partitioned ") == EngineChoice("partitioned", parts=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "is not known: use one of auto, dense"),
        ("sparse:2", "is not known"),
        ("", "is not known"),
        ("partitioned:0", "parts from 1 to 10,000"),
        ("partitioned:²", "parts from 1 to 10,000"),
        ("partitioned:99999999999", "parts from 1 to 10,000"),
        ("partitioned:", "parts from 1 to 10,000"),
        ("stochastic:0", "between 0 and 1"),
        ("stochastic:nan", "between 0 and 1"),
        ("stochastic:x", "between 0 and 1"),
    ],
)
def test_engines_that_there_are_not(text: str, message: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(message)) as caught:
        parse_engine(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", get_args(Engine))
def test_an_order_by_name_is_that_of_the_engine(name: Engine, sparse: bool) -> None:
    kernel = kernel_of(1, 20, sparse=sparse)
    made, engine = (
        order_by(EngineChoice(name), kernel, Budget("rows", 5), seed=3),
        greedy_order(kernel, engine=name, seed=3),
    )
    np.testing.assert_array_equal(made.order, engine.order)


@pytest.mark.parametrize("sparse", [False, True])
def test_by_parts_the_selection_is_what_two_rounds_choose_and_the_order_goes_on(sparse: bool) -> None:
    kernel, choice = kernel_of(2, 40, sparse=sparse), EngineChoice("partitioned", parts=5)
    selection = selected(choice, kernel, Budget("percent", 25), seed=7)
    found = choose_in_parts(lambda at: kernel[:, at], 40, 10, parts=5, per_part=4, seed=7)
    assert set(selection.chosen.tolist()) == set(found.chosen.tolist())
    assert selection.certificate.value == pytest.approx(found.certificate.value)
    assert selection.certificate.upper_bound == pytest.approx(found.certificate.upper_bound)
    assert sorted(selection.greedy.order.tolist()) == list(range(40))
    again = selected(choice, kernel, Budget("percent", 25), seed=7)
    np.testing.assert_array_equal(again.greedy.order, selection.greedy.order)
    assert len(selected(replace(choice, parts=999), kernel, Budget("rows", 3)).chosen) == 3  # more parts than rows


def test_by_parts_a_budget_in_tokens_is_refused() -> None:
    with pytest.raises(SelectionError, match="give rows or percent"):
        order_by(EngineChoice("partitioned"), kernel_of(0, 5), Budget("tokens", 50))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 9), parts=st.integers(1, 4), data=st.data())
def test_what_is_promised_is_kept(seed: int, n: int, parts: int, data: st.DataObject) -> None:
    kernel, k = kernel_of(seed, n), data.draw(st.integers(1, n))
    best = max(value(kernel, np.array(subset)) for subset in combinations(range(n), k))
    choice = EngineChoice("partitioned", parts=parts)
    sentence = guarantee(selected(choice, kernel, Budget("rows", k)))
    promised = float(re.findall(r"at least ([\d.]+)%", sentence)[0]) / 100
    draws = 1 if parts == 1 else 12
    reached = np.mean([selected(choice, kernel, Budget("rows", k), seed=one).certificate.value for one in range(draws)])
    assert reached >= (promised - 0.0005) * best - 1e-6
    assert 1 <= picks_per_part(k, parts) <= k


def test_every_kind_of_selection_says_what_it_promises() -> None:
    kernel = kernel_of(3, 12)
    plain = selected(AUTO, kernel, Budget("rows", 4))
    assert guarantee(plain) == "at least 63.2% of the best selection (1 - 1/e)"
    assert "53.2% of the best selection in expectation" in guarantee(replace(plain, engine="stochastic:0.1"))
    assert "31.6% of the best selection in expectation" in guarantee(replace(plain, engine="partitioned:2"))
    assert "2 picks in each part" in guarantee(replace(plain, engine="partitioned:4"))
    assert "63.2%" in guarantee(replace(plain, engine="partitioned:1"))
    assert "31.6%" in guarantee(replace(plain, budget=Budget("tokens", 9)))
    assert "no share of the best selection is promised of RDS+" in guarantee(replace(plain, method="rds"))
    assert "nothing" in guarantee(replace(plain, budget=Budget("tokens", 9), engine="stochastic:0.1"))
    assert "adds to the kept" in guarantee(replace(plain, fixed=Fixed((1,))))
    quotas = Quotas("topic", (Quota("a", 1),), everywhere(12).codes)
    assert "50.0% of the best selection within the quotas" in guarantee(replace(plain, quotas=quotas))
