"""Every engine against plain greedy, each other, submodlib, all subsets, and the theory."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import residual_gains, value, values
from delift_core.selection.greedy import greedy_order
from delift_core.selection.kernels import Kernel
from delift_core.selection.loops import compiled
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import Engine, is_installed
from delift_core.selection.types import ObjectiveConfig, Stage
from tests.selection.whole import certify

OURS: tuple[Engine, ...] = ("dense", "sparse", "torch")
STAGES: tuple[Stage, ...] = ("instruction", "task", "continual")


def represented(stage: Stage, form: str, seed: int, n: int, *, coarse: bool = False) -> Kernel:
    """A kernel of any stage in either form; coarse utilities are multiples of 1/4, so that ties are everywhere."""
    generator = np.random.default_rng(seed)

    def utilities(rows: int, columns: int) -> Any:
        entries = generator.normal(0.2, 1, (rows, columns)).astype(np.float32)
        entries = np.round(entries * 4) / 4 if coarse else entries
        return entries if form == "dense" else csr_array(entries * (generator.random((rows, columns)) < 0.6))

    config = ObjectiveConfig(stage, eta=0.5, nu=0.5)
    target = utilities(3, n) if stage == "task" else None
    existing = utilities(n, 3) if stage == "continual" else None
    return represented_kernel(config, utilities(n, n), target=target, existing=existing)


kernels = st.builds(
    represented,
    st.sampled_from(STAGES),
    st.sampled_from(["dense", "sparse"]),
    st.integers(0, 10**6),
    st.integers(1, 9),
    coarse=st.booleans(),
)


def written_out(kernel: Kernel) -> np.ndarray:
    return (kernel if isinstance(kernel, np.ndarray) else kernel.toarray()).astype(np.float64)


def plainly(kernel: Kernel, phases: list[np.ndarray]) -> list[int]:
    """Plain greedy with every gain computed anew each time; the largest position wins a tie."""
    exact, order = written_out(kernel), []
    cover = np.zeros(len(exact))
    for phase in phases:
        left = set(phase.tolist())
        while left:
            best = max(left, key=lambda j: (np.maximum(exact[:, j] - cover, 0).sum(), j))
            cover = np.maximum(cover, exact[:, best])
            left.remove(best)
            order.append(best)
    return order


@settings(deadline=None, max_examples=60)
@given(
    stage=st.sampled_from(STAGES),
    form=st.sampled_from(["dense", "sparse"]),
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    split=st.integers(0, 12),
)
def test_lazy_is_plain_greedy_to_the_last_tie(stage: Stage, form: str, seed: int, n: int, split: int) -> None:
    kernel = represented(stage, form, seed, n, coarse=True)
    shuffled = np.random.default_rng(seed).permutation(n)
    phases = [shuffled[:split], shuffled[split:]]
    for engine in OURS:
        assert greedy_order(kernel, engine=engine).order.tolist() == plainly(kernel, [np.arange(n)])
        assert greedy_order(kernel, engine=engine, phases=phases).order.tolist() == plainly(kernel, phases)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 40), n=st.integers(1, 40), scale=st.floats(-30, 30))
def test_engines_agree_to_the_bit_on_any_numbers(seed: int, rows: int, n: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    kernel = np.maximum(generator.normal(size=(rows, n)) * np.exp(generator.normal(scale, 8, (rows, n))), 0)
    kernel = np.minimum(kernel, 1e30).astype(np.float32)
    one, *others = [greedy_order(kernel, engine=engine) for engine in OURS]
    for other in others:
        np.testing.assert_array_equal(other.order, one.order)
        np.testing.assert_array_equal(other.gains, one.gains)
    assert (np.diff(one.gains) <= 0).all() and one.gains.min() >= 0
    assert one.gains.sum() == pytest.approx(kernel.max(axis=1).astype(np.float64).sum(), rel=1e-12)
    # Sums are exact on the grid, so the order of the rows does not matter either.
    upside_down = greedy_order(kernel[::-1])
    np.testing.assert_array_equal(upside_down.order, one.order)


def least_lead(kernel: Kernel, order: np.ndarray) -> float:
    """By how much the gain of each pick exceeds the next best one, relative to it, at the least.

    A float32 sum of r numbers of one sign is off by at most r 2**-24 of itself in whatever order it is summed, so that
    an engine which sums in float32 cannot take another row where the lead is twice that.
    """
    exact, leads = written_out(kernel), []
    cover, left = np.zeros(len(exact)), set(range(exact.shape[1]))
    for pick in order.tolist():
        gain, next_best = (
            max(np.maximum(exact[:, j] - cover, 0).sum() for j in some) for some in ({pick}, left - {pick})
        )
        leads.append((gain - next_best) / gain)
        left.remove(pick)
        cover = np.maximum(cover, exact[:, pick])
    return float(min(leads))


@pytest.mark.usefixtures("submodlib")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_the_order_is_that_of_submodlib(stage: Stage, form: str) -> None:
    kernel = represented(stage, form, 3, 150)
    expected, got = greedy_order(kernel, engine="submodlib"), greedy_order(kernel)
    useful = expected.useful
    assert got.useful == useful > 30
    assert least_lead(kernel, got.order[:useful]) > 2 * kernel.shape[0] * 2.0**-24
    np.testing.assert_array_equal(got.order[:useful], expected.order[:useful])
    np.testing.assert_allclose(got.gains, expected.gains, rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(kernel=kernels, data=st.data())
def test_monotone_with_diminishing_returns(kernel: Kernel, data: st.DataObject) -> None:
    n = kernel.shape[1]
    order = np.array(data.draw(st.permutations(range(n))))
    small, large = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    few, many = residual_gains(kernel, order[:small]), residual_gains(kernel, order[:large])
    assert (many >= 0).all() and (many <= few + 1e-9).all()
    together = values(kernel, [order[:small], order[:large]])
    assert together[0] <= together[1] + 1e-9
    assert together.tolist() == pytest.approx([value(kernel, order[:small]), value(kernel, order[:large])], abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    stage=st.sampled_from(STAGES),
    form=st.sampled_from(["dense", "sparse"]),
    seed=st.integers(0, 10**6),
    names=st.permutations(range(12)),
)
def test_renumbering_the_samples_renumbers_the_picks(stage: Stage, form: str, seed: int, names: list[int]) -> None:
    kernel, new = represented(stage, form, seed, 12), np.array(names)
    before, after = greedy_order(kernel), greedy_order(kernel[:, new])
    np.testing.assert_array_equal(after.gains, before.gains)
    useful = before.useful
    if len(np.unique(before.gains[:useful])) == useful:  # up to ties
        np.testing.assert_array_equal(new[after.order[:useful]], before.order[:useful])


def best_value(kernel: Kernel, k: int) -> float:
    exact = written_out(kernel)
    return max(exact[:, list(subset)].max(axis=1).sum() for subset in combinations(range(exact.shape[1]), k))


@settings(deadline=None, max_examples=40)
@given(kernel=kernels, data=st.data())
def test_greedy_reaches_its_share_of_the_best_subset(kernel: Kernel, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, kernel.shape[1]))
    best = best_value(kernel, k)
    for engine in filter(is_installed, (*OURS, "submodlib")):
        chosen = greedy_order(kernel, engine=engine).order[:k]
        assert value(kernel, chosen) >= (1 - 1 / np.e) * best - 1e-6
        assert certify(kernel, chosen).upper_bound >= best - 1e-6


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_the_guarantees_on_twelve_samples(stage: Stage, form: str) -> None:
    kernel = represented(stage, form, 8, 12)
    for k in (1, 3, 6, 11, 12):
        best = best_value(kernel, k)
        assert value(kernel, greedy_order(kernel).order[:k]) >= (1 - 1 / np.e) * best - 1e-9


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SelectionError, match="Unknown engine 'magic'.*submodlib"):
        greedy_order(np.eye(2), engine="magic")  # type: ignore[arg-type]


def test_sessions_do_not_disturb_each_other() -> None:
    alone = [
        [greedy_order(represented(stage, "dense", seed, 120)).order.tolist() for stage in STAGES] for seed in range(6)
    ]

    def session(seed: int) -> list[list[int]]:
        return [greedy_order(represented(stage, "dense", seed, 120)).order.tolist() for stage in STAGES]

    with ThreadPoolExecutor(6) as sessions:
        assert list(sessions.map(session, range(6))) == alone


def test_loops_compile_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_it = numba.njit

    def refuses_a_cache(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it(**options)

    monkeypatch.setattr(numba, "njit", refuses_a_cache)

    def twice(number: float) -> float:
        return 2 * number

    assert compiled(twice)(4.0) == 8.0
