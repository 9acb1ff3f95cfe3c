"""The greedy order against a plain greedy, exhaustive search and the theory."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.errors import SelectionError
from delift_core.selection.coverage import gains_along, residual_gains, value
from delift_core.selection.greedy import greedy_order
from delift_core.system import memory
from delift_core.system.memory import ensure_fits
from tests.selection.whole import certify


def random_kernel(seed: int, rows: int, n: int) -> np.ndarray:
    kernel = np.random.default_rng(seed).normal(size=(rows, n)).astype(np.float32)
    return np.maximum(kernel, 0)


def naive_gains(kernel: np.ndarray) -> list[float]:
    """Plain greedy in float64: gain of each pick."""
    exact = kernel.astype(np.float64)
    cover, left, gains = np.zeros(len(exact)), set(range(exact.shape[1])), []
    while left:
        gain_of = {j: np.maximum(exact[:, j] - cover, 0).sum() for j in left}
        best = max(left, key=gain_of.__getitem__)
        gains.append(gain_of[best])
        cover = np.maximum(cover, exact[:, best])
        left.remove(best)
    return gains


def test_order_by_hand() -> None:
    kernel = np.array([[0, 0.5, 0.2], [0, 0, 0.1], [0, 0.4, 0]], dtype=np.float32)
    greedy = greedy_order(kernel)
    assert greedy.order.tolist() == [1, 2, 0]
    assert greedy.order.dtype == np.int64 and greedy.gains.dtype == np.float64
    np.testing.assert_allclose(greedy.gains, [0.9, 0.1, 0.0], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2])
def test_tiny_pools(n: int) -> None:
    greedy = greedy_order(np.array([[0.25, 0.5]], dtype=np.float32)[:, :n])
    assert greedy.order.tolist() == ([0] if n == 1 else [1, 0])
    assert greedy.gains.tolist() == ([0.25] if n == 1 else [0.5, 0.0])


def test_nothing_to_gain_still_orders_everything() -> None:
    greedy = greedy_order(np.zeros((4, 4)))
    assert greedy.order.tolist() == [3, 2, 1, 0]
    assert not greedy.gains.any()
    assert greedy.useful == 0


def test_useful_counts_the_picks_that_add_anything() -> None:
    # Column 0 covers both rows best; 1 and 2 add nothing to it.
    assert greedy_order(np.array([[0.5, 0.4, 0.1], [0.5, 0.2, 0.5]])).useful == 1
    assert greedy_order(np.eye(3)).useful == 3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), n=st.integers(1, 12))
def test_order_is_greedy(seed: int, rows: int, n: int) -> None:
    kernel = random_kernel(seed, rows, n)
    greedy = greedy_order(kernel)
    assert sorted(greedy.order.tolist()) == list(range(n))
    np.testing.assert_allclose(greedy.gains, naive_gains(kernel), rtol=1e-6, atol=1e-7)
    assert (np.diff(greedy.gains) <= 1e-7).all()
    again = greedy_order(kernel)
    assert again.order.tolist() == greedy.order.tolist()


def test_a_view_is_answered_like_its_copy() -> None:
    kernel = random_kernel(1, 30, 30)
    turned = greedy_order(kernel.T)
    assert turned.order.tolist() == greedy_order(kernel.T.copy()).order.tolist()
    assert turned.order.tolist() != greedy_order(kernel).order.tolist()
    flipped = greedy_order(kernel[::-1])
    np.testing.assert_array_equal(flipped.order, greedy_order(kernel[::-1].copy()).order)
    wide = greedy_order(kernel.astype(np.float64))
    np.testing.assert_array_equal(wide.order, greedy_order(kernel).order)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 9), n=st.integers(2, 9), data=st.data())
def test_guarantee_and_certificate_against_exhaustive_search(seed: int, rows: int, n: int, data: st.DataObject) -> None:
    kernel = random_kernel(seed, rows, n)
    k = data.draw(st.integers(1, n))
    best = max(value(kernel, np.array(subset)) for subset in combinations(range(n), k))
    chosen = greedy_order(kernel).order[:k]
    reached = value(kernel, chosen)
    assert reached >= (1 - 1 / np.e) * best - 1e-9
    anything = np.array(data.draw(st.permutations(range(n)))[:k])
    for subset in (chosen, anything):
        certificate = certify(kernel, subset)
        assert certificate.value == pytest.approx(value(kernel, subset))
        assert certificate.upper_bound >= best - 1e-9
        assert best == 0 or certificate.ratio <= value(kernel, subset) / best + 1e-9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8), data=st.data())
def test_token_certificate_bounds_the_best_subset_within_the_tokens(seed: int, n: int, data: st.DataObject) -> None:
    kernel = random_kernel(seed, 6, n)
    counts = np.array(data.draw(st.lists(st.integers(1, 30), min_size=n, max_size=n)))
    limit = data.draw(st.integers(int(counts.min()), int(counts.sum())))
    allowed = [s for k in range(n + 1) for s in combinations(range(n), k) if counts[list(s)].sum() <= limit]
    best = max(value(kernel, np.array(subset, dtype=int)) for subset in allowed)
    some = np.array(data.draw(st.sampled_from(allowed)), dtype=int)
    certificate = certify(kernel, some, token_counts=counts, token_budget=limit)
    assert certificate.upper_bound >= best - 1e-9


def test_certificate_by_hand() -> None:
    kernel = np.array([[0.5, 0.0, 0.8], [0.0, 0.4, 0.0]], dtype=np.float32)
    certificate = certify(kernel, np.array([0]))
    assert certificate.value == pytest.approx(0.5)
    assert certificate.upper_bound == pytest.approx(0.5 + 0.4)
    np.testing.assert_allclose(residual_gains(kernel, np.array([0])), [0, 0.4, 0.3], rtol=1e-6)
    # 0.4 at 4 tokens goes in whole, the other 2 of 6 tokens hold 2/10 of the 0.3 that cost 10: but 10 > 6 never fits.
    counts = np.array([1, 4, 10])
    assert certify(kernel, np.array([0]), token_counts=counts, token_budget=6).upper_bound == pytest.approx(0.9)
    # Within 12 tokens it does, and 8 of its 10 tokens are left for it.
    assert certify(kernel, np.array([0]), token_counts=counts, token_budget=12).upper_bound == pytest.approx(1.14)
    assert certify(np.zeros((2, 2)), np.array([0])).ratio == 1
    with pytest.raises(SelectionError, match="both"):
        certify(kernel, np.array([0]), token_budget=6)


@given(seed=st.integers(0, 10**6), data=st.data())
def test_monotone_with_diminishing_returns(seed: int, data: st.DataObject) -> None:
    kernel = random_kernel(seed, 6, 7)
    order = np.array(data.draw(st.permutations(range(7))))
    small, large = sorted(data.draw(st.tuples(st.integers(0, 7), st.integers(0, 7))))
    assert value(kernel, order[:small]) <= value(kernel, order[:large])
    few, many = residual_gains(kernel, order[:small]), residual_gains(kernel, order[:large])
    assert (many <= few + 1e-12).all()
    assert not many[order[:large]].any()
    for j in range(7):
        direct = value(kernel, np.union1d(order[:small], [j])) - value(kernel, order[:small])
        assert few[j] == pytest.approx(direct, abs=1e-9)


@given(seed=st.integers(0, 10**6), order=st.permutations(range(6)), length=st.integers(0, 6))
def test_gains_along_any_order_add_up_to_the_value(seed: int, order: list[int], length: int) -> None:
    kernel = random_kernel(seed, 5, 6)
    gains = gains_along(kernel, np.array(order))
    assert gains[:length].sum() == pytest.approx(value(kernel, np.array(order[:length], dtype=int)), abs=1e-9)


@pytest.mark.parametrize(
    "kernel",
    [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), -np.eye(2), np.full((2, 2), np.nan), np.full((2, 2), np.inf)],
)
def test_what_is_no_kernel_is_refused(kernel: np.ndarray) -> None:
    with pytest.raises(SelectionError, match="kernel"):
        greedy_order(kernel)


@pytest.mark.usefixtures("submodlib")
def test_a_kernel_too_large_for_memory_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SelectionError, match=r"1,000,000 x 1,000,000 needs 3,725\.3 GiB"):
        ensure_fits(1_000_000, 1_000_000, 4)
    monkeypatch.setattr(memory, "available_memory", lambda: 400)
    ensure_fits(10, 10, 4)
    monkeypatch.setattr(memory, "available_memory", lambda: 399)
    with pytest.raises(SelectionError, match="smaller pool"):
        ensure_fits(10, 10, 4)
    monkeypatch.setattr(memory, "available_memory", lambda: 3)
    with pytest.raises(SelectionError, match="memory"):
        greedy_order(np.ones((2, 2), dtype=np.float32), engine="submodlib")
    assert greedy_order(np.ones((2, 2), dtype=np.float32)).order.tolist() == [1, 0]  # no copy is made


@pytest.mark.usefixtures("submodlib")
def test_submodlib_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    greedy_order(random_kernel(0, 5, 5), engine="submodlib")
    assert capfd.readouterr() == ("", "")
