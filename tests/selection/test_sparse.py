"""Sparse kernels give the answers of the same kernels written out, in every part of a selection."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import best_chosen, covered, gains_along, residual_gains
from delift_core.selection.diagnose import diagnose
from delift_core.selection.explain import Explainer
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel, as_kernel, by_columns, column_of, column_sums
from delift_core.selection.objectives import evaluate, represented_kernel
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig, Selection, Stage
from delift_core.system import memory
from tests.selection.whole import select, select_around


def partial(generator: np.random.Generator, rows: int, columns: int, share: float) -> csr_array:
    """Some of the entries of a matrix of small multiples of 1/4 (sums are exact, ties are everywhere), zeros among
    them."""
    scored = generator.random((rows, columns)) < share
    entries = generator.integers(-6, 9, (rows, columns)) / 4
    at = np.nonzero(scored)
    matrix = csr_array(coo_array((entries[at].astype(np.float32), at), shape=(rows, columns)))
    assert matrix.nnz == scored.sum()
    return matrix


@dataclass(frozen=True)
class Case:
    config: ObjectiveConfig
    sparse: dict[str, Kernel]
    dense: dict[str, Kernel]
    counts: np.ndarray


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 11))
    share = draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stage: Stage = draw(st.sampled_from(["instruction", "task", "continual"]))
    config = ObjectiveConfig(stage, eta=0.5, nu=0.5, self_coverage=draw(st.sampled_from([0.0, 0.5])))
    sparse: dict[str, Kernel] = {"pool": partial(generator, n, n, share)}
    if stage == "task":
        sparse["target"] = partial(generator, 3, n, share)
    if stage == "continual":
        sparse["existing"] = partial(generator, n, 2, share)
    dense = {name: matrix.toarray() for name, matrix in sparse.items()}
    diagonal = {"diagonal": generator.integers(-2, 5, n) / 4}
    return Case(config, sparse | diagonal, dense | diagonal, generator.integers(1, 9, n))


@settings(deadline=None, max_examples=60)
@given(case=cases(), data=st.data())
def test_objectives_and_coverage(case: Case, data: st.DataObject) -> None:
    kernel, dense = represented_kernel(case.config, **case.sparse), represented_kernel(case.config, **case.dense)
    assert isinstance(kernel, csr_array) and kernel.has_canonical_format and kernel.dtype == np.float32
    assert (kernel.data > 0).all()
    np.testing.assert_array_equal(kernel.toarray(), dense)
    n = dense.shape[1]
    subset = np.array(data.draw(st.permutations(range(n)))[: data.draw(st.integers(0, n))], dtype=np.int64)
    assert evaluate(case.config, subset, **case.sparse) == evaluate(case.config, subset, **case.dense)
    for look in (covered, residual_gains, gains_along):
        np.testing.assert_array_equal(look(kernel, subset), look(dense, subset))
    np.testing.assert_array_equal(column_sums(kernel), column_sums(dense))
    for position in range(n):
        for part, expected in zip(column_of(kernel, position), by_columns(dense).column(position), strict=True):
            np.testing.assert_array_equal(part, expected)
        for part, expected in zip(by_columns(kernel).column(position), column_of(dense, position), strict=True):
            np.testing.assert_array_equal(part, expected)
    if len(subset):
        for part, expected in zip(best_chosen(kernel, subset), best_chosen(dense, subset), strict=True):
            np.testing.assert_array_equal(part, expected)


def same(one: Selection, other: Selection) -> None:
    for part in ("chosen", "chosen_gains", "residual_gains"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    np.testing.assert_array_equal(one.greedy.order, other.greedy.order)
    np.testing.assert_array_equal(one.greedy.gains, other.greedy.gains)
    assert (one.certificate, one.random) == (other.certificate, other.random)


@settings(deadline=None, max_examples=60)
@given(case=cases(), data=st.data())
def test_selections_and_their_reasons(case: Case, data: st.DataObject) -> None:
    n = len(case.counts)
    kernel, dense = represented_kernel(case.config, **case.sparse), represented_kernel(case.config, **case.dense)
    by_tokens = st.integers(int(case.counts.min()), int(case.counts.sum())).map(lambda limit: Budget("tokens", limit))
    budget = data.draw(st.integers(1, n).map(lambda rows: Budget("rows", rows)) | by_tokens)
    selection = select(case.config, budget, token_counts=case.counts, **case.sparse)
    same(selection, select(case.config, budget, token_counts=case.counts, **case.dense))
    expected = Explainer(selection, dense).reasons()
    explainer = Explainer(selection, kernel)
    assert explainer.reasons() == expected
    assert tuple(explainer.reason(position) for position in range(n)) == expected
    if n > 2:
        around = [
            select_around(case.config, Budget("rows", 2), form, FixedRows((1,), (0,)), token_counts=case.counts)
            for form in (kernel, dense)
        ]
        same(*around)


@settings(deadline=None, max_examples=40)
@given(case=cases())
def test_what_was_not_scored_counts_neither_as_help_nor_as_harm(case: Case) -> None:
    pool = case.sparse["pool"]
    gaps = np.full(pool.shape, np.nan)
    rows = np.repeat(np.arange(pool.shape[0]), np.diff(pool.indptr))
    gaps[rows, pool.indices] = pool.data
    assert diagnose(pool) == diagnose(gaps)


@pytest.mark.parametrize(
    ("entries", "verdict", "sentence"),
    [
        ([0.2, 0.4], "useful", "In 100% of the scored pairs (33% of all) the example helps."),
        ([-0.2, -0.1], "none-positive", "None of the scored pairs (33% of all) helps the model"),
        ([0.0, 0.0], "all-zero", "None of the scored pairs (33% of all) changes the model's answer"),
        ([1e-6, 1e-5], "near-zero", "The rows hardly help each other"),
    ],
)
def test_a_partial_pool_is_diagnosed_in_words(entries: list[float], verdict: str, sentence: str) -> None:
    diagnosis = diagnose(csr_array((entries, [1, 0], [0, 1, 2, 2]), shape=(3, 3)))
    assert diagnosis.verdict == verdict
    assert diagnosis.sentence.startswith(sentence)
    assert verdict == "useful" or "score more pairs" in diagnosis.sentence


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf])
def test_a_broken_entry_is_named(entry: float) -> None:
    pool = csr_array(np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    pool.data[2] = entry
    with pytest.raises(SelectionError, match="pool utility at row 2, column 1 is"):
        represented_kernel(ObjectiveConfig("instruction"), pool)


def test_a_broken_diagonal_is_never_read() -> None:
    pool = csr_array(np.array([[np.nan, 1.0], [2.0, np.inf]]))
    kernel = represented_kernel(ObjectiveConfig("instruction"), pool)
    np.testing.assert_array_equal(kernel.toarray(), [[0, 1], [2, 0]])


def test_entries_in_any_order_and_twice_are_put_in_order_without_touching_the_caller() -> None:
    loose = csr_array((np.array([1.0, 2.0, 3.0], dtype=np.float32), [2, 0, 2], [0, 3]), shape=(1, 3))
    np.testing.assert_array_equal(as_kernel(loose).toarray(), [[2, 0, 4]])
    assert loose.indices.tolist() == [2, 0, 2]
    np.testing.assert_array_equal(greedy_order(loose).order, [2, 1, 0])


@pytest.mark.parametrize("entry", [-1.0, np.nan, np.inf])
def test_what_is_no_kernel_is_refused(entry: float) -> None:
    with pytest.raises(SelectionError, match="finite numbers >= 0"):
        greedy_order(csr_array(np.array([[entry, 1.0]])))


def test_room_is_asked_for_the_entries_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 100)
    with pytest.raises(SelectionError, match="A kernel of 9 x 9 with 9 entries needs"):
        greedy_order(csr_array(np.eye(9, dtype=np.float32)))


def test_weights_of_the_target_take_one_entry_a_sample() -> None:
    pool = csr_array(np.array([[0.0, 1.0], [0.5, 0.0]]))
    config = ObjectiveConfig("task", eta=2)
    kernel = represented_kernel(config, pool, target=np.array([[0.25, -1.0], [0.5, -2.0]]))
    np.testing.assert_array_equal(kernel.toarray(), [[0, 1], [0.5, 0], [1, 0], [0, 0]])
    assert kernel.nnz == 3
    assert evaluate(replace(config, eta=4), [0], pool, target=csr_array(np.array([[0.5, 0.0]]))) == 2.5
