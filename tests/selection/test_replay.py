"""Changing an order around fixed rows gives, to the last bit, the order made from nothing around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, eye_array

from delift_core.errors import SelectionError
from delift_core.selection.fixed import order_around
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.replay import Replay, replay_of
from delift_core.selection.types import Fixed, ObjectiveConfig, Stage

STAGES: tuple[Stage, ...] = ("instruction", "task", "continual")


def sparse_kernel(seed: int, n: int, share: float, *, stage: Stage = "instruction", coarse: bool = False) -> csr_array:
    """Of coarse utilities most gains are equal to others, and most decisions are ties."""
    generator = np.random.default_rng(seed)

    def utilities(rows: int, columns: int) -> csr_array:
        entries = generator.normal(0.2, 1, (rows, columns)).astype(np.float32)
        entries = np.round(entries * 2) / 2 if coarse else entries
        return csr_array(entries * (generator.random((rows, columns)) < share))

    target = utilities(4, n) if stage == "task" else None
    existing = utilities(n, 4) if stage == "continual" else None
    config = ObjectiveConfig(stage, eta=0.5, nu=0.5)
    kernel = represented_kernel(config, utilities(n, n), target=target, existing=existing)
    assert isinstance(kernel, csr_array)
    return kernel


def replay(kernel: csr_array) -> Replay:
    return replay_of(kernel, greedy_order(kernel))


def assert_same_as_from_nothing(kernel: csr_array, prepared: Replay, fixed: Fixed) -> None:
    cold, warm = order_around(kernel, fixed), prepared.around(fixed)
    np.testing.assert_array_equal(warm.order, cold.order)
    np.testing.assert_array_equal(warm.gains, cold.gains)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 60),
    share=st.sampled_from([0.03, 0.1, 0.3, 1.0]),
    stage=st.sampled_from(STAGES),
    coarse=st.booleans(),
    data=st.data(),
)
def test_any_kept_and_dropped_rows(
    seed: int, n: int, share: float, stage: Stage, coarse: bool, data: st.DataObject
) -> None:
    kernel = sparse_kernel(seed, n, share, stage=stage, coarse=coarse)
    prepared = replay(kernel)
    for _ in range(3):
        several = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=min(8, n - 1)))
        split = data.draw(st.integers(0, len(several)))
        assert_same_as_from_nothing(kernel, prepared, Fixed(tuple(several[:split]), tuple(several[split:])))


@pytest.mark.parametrize("stage", STAGES)
def test_each_pick_dropped_and_each_other_row_kept_at_a_size_where_most_is_far_apart(stage: Stage) -> None:
    kernel = sparse_kernel(7, 3000, 0.004, stage=stage)
    prepared = replay(kernel)
    order, useful = prepared.greedy.order, prepared.greedy.useful
    for place in (0, 1, useful // 3, useful - 1):
        assert_same_as_from_nothing(kernel, prepared, Fixed(dropped=(int(order[place]),)))
    for place in (useful // 2, useful + 5, len(order) - 1):
        assert_same_as_from_nothing(kernel, prepared, Fixed(kept=(int(order[place]), int(order[3]))))
    many = np.random.default_rng(1).permutation(3000)[:600].tolist()
    assert_same_as_from_nothing(kernel, prepared, Fixed(tuple(many[:300]), tuple(many[300:])))


def test_nothing_fixed_and_nothing_to_gain() -> None:
    kernel = sparse_kernel(1, 30, 0.2)
    assert_same_as_from_nothing(kernel, replay(kernel), Fixed())
    empty = csr_array(np.zeros((4, 4), dtype=np.float32))
    assert_same_as_from_nothing(empty, replay(empty), Fixed((1,), (3,)))


@pytest.mark.parametrize(
    ("fixed", "message"),
    [(Fixed((1,), (1,)), "both kept and dropped"), (Fixed(dropped=(0, 1, 2)), "Every row is dropped")],
)
def test_contradictions_are_refused_as_from_nothing(fixed: Fixed, message: str) -> None:
    prepared = replay(csr_array(eye_array(3, dtype=np.float32)))
    with pytest.raises(SelectionError, match=message):
        prepared.around(fixed)


def test_an_order_of_another_kernel_is_refused() -> None:
    with pytest.raises(SelectionError, match="has 3 samples and the kernel 4"):
        replay_of(csr_array(eye_array(4, dtype=np.float32)), greedy_order(np.eye(3)))
