"""Objectives against hand-computed numbers, submodlib's own classes and the published formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import value
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import CLAMP, evaluate, represented_kernel
from delift_core.selection.request import objective_of
from delift_core.selection.types import ObjectiveConfig

NAN = np.nan
# Row i is helped, column j helps. Sample 1 helps 0 and 2; sample 0 hurts 1; sample 2 helps 1 a little.
POOL = np.array([[NAN, 0.5, 0.2], [-0.3, NAN, 0.1], [0.0, 0.4, NAN]])
DIAGONAL = np.array([0.8, -0.1, 0.6])
TARGET = np.array([[0.1, -0.2, 0.3], [0.2, 0.05, 0.0]])
EXISTING = np.array([[0.3, -0.5], [0.0, 0.05], [-0.1, -0.1]])


def random_case(seed: int, n: int = 7, t: int = 4, e: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    pool = generator.normal(size=(n, n)).astype(np.float32)
    diagonal = pool.diagonal().copy()
    np.fill_diagonal(pool, NAN)
    target = generator.normal(size=(t, n)).astype(np.float32)
    existing = generator.normal(size=(n, e)).astype(np.float32)
    return pool, diagonal, target, existing


def test_clamp_counts_harm_and_missing_as_no_help() -> None:
    np.testing.assert_array_equal(CLAMP.apply(np.array([-1.0, NAN, 0.0, 0.25])), [0, 0, 0, 0.25])


def test_instruction_by_hand() -> None:
    config = ObjectiveConfig("instruction")
    expected = [[0, 0.5, 0.2], [0, 0, 0.1], [0, 0.4, 0]]
    np.testing.assert_allclose(represented_kernel(config, POOL), expected, rtol=1e-7)
    assert evaluate(config, [0], POOL) == 0
    assert evaluate(config, [1], POOL) == pytest.approx(0.9)
    assert evaluate(config, [1, 2], POOL) == pytest.approx(0.5 + 0.1 + 0.4)
    assert evaluate(config, [], POOL) == 0


def test_self_coverage_by_hand() -> None:
    config = ObjectiveConfig("instruction", self_coverage=0.5)
    kernel = represented_kernel(config, POOL, diagonal=DIAGONAL)
    np.testing.assert_allclose(np.diagonal(kernel), [0.4, 0.0, 0.3], rtol=1e-7)
    assert evaluate(config, [0, 2], POOL, diagonal=DIAGONAL) == pytest.approx(0.4 + 0.1 + 0.3)


def test_task_by_hand() -> None:
    config = ObjectiveConfig("task", eta=2.0)
    kernel = represented_kernel(config, POOL, target=TARGET)
    assert kernel.shape == (6, 3)
    np.testing.assert_allclose(kernel[3:], np.diag([0.4, 0.1, 0.6]), rtol=1e-6)
    assert evaluate(config, [0, 1], POOL, target=TARGET) == pytest.approx(0.9 + 2 * (0.2 + 0.05))


def test_continual_by_hand() -> None:
    config = ObjectiveConfig("continual", nu=0.5)
    kernel = represented_kernel(config, POOL, existing=EXISTING)
    np.testing.assert_allclose(kernel, [[0, 0.35, 0.05], [0, 0, 0.075], [0, 0.4, 0]], rtol=1e-6)
    assert evaluate(config, [1, 2], POOL, existing=EXISTING) == pytest.approx(0.35 + 0.075 + 0.4)


def all_subsets(n: int) -> list[list[int]]:
    return [[j for j in range(n) if mask >> j & 1] for mask in range(2**n)]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    stage=st.sampled_from(["instruction", "task", "continual"]),
    weight=st.floats(0, 4),
    own=st.floats(0, 1),
    scaling=st.sampled_from(["clamp", "min-max"]),
    target_help=st.sampled_from(["bonus", "coverage"]),
)
def test_kernel_equals_the_published_formula_on_every_subset(
    seed: int, stage: str, weight: float, own: float, scaling: str, target_help: str
) -> None:
    """Oracle: the formulas of the paper as nested Python loops, over s by the definition of the scaling."""
    pool, diagonal, target, existing = random_case(seed, n=5)
    config = ObjectiveConfig(stage, weight, weight, own, scaling, target_help)  # type: ignore[arg-type]
    inputs = {
        "diagonal": diagonal,
        "target": target if stage == "task" else None,
        "existing": existing if stage == "continual" else None,
    }
    measured, kernel = pool, represented_kernel(config, pool, **inputs)
    assert kernel.dtype == np.float32 and kernel.flags.c_contiguous
    if scaling == "min-max":
        whole = np.where(np.eye(5, dtype=bool), diagonal, pool)
        pool, target, existing = (
            (matrix - matrix.min()) / (matrix.max() - matrix.min()) for matrix in (whole, target, existing)
        )
        diagonal = pool.diagonal()
    everything = np.where(np.eye(5, dtype=bool), own * np.maximum(diagonal, 0), np.maximum(pool, 0))
    whole_pool = sum(max(row) for row in everything)
    for subset in all_subsets(5):
        expected = 0.0
        for i in range(5):
            help_of = [own * max(diagonal[i], 0.0) if i == j else max(pool[i, j], 0.0) for j in subset]
            already = weight * max(max(u, 0.0) for u in existing[i]) if stage == "continual" else 0.0
            expected += max(max(help_of, default=0.0) - already, 0.0)
        if stage == "task":
            positive = np.maximum(target, 0)
            if target_help == "bonus":
                expected += weight * sum(max(positive[:, j]) for j in subset)
            elif positive.any():
                ratio = whole_pool / sum(max(row) for row in positive)
                expected += weight * ratio * sum(max((row[j] for j in subset), default=0.0) for row in positive)
        assert value(kernel, np.array(subset, dtype=int)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert evaluate(config, subset, measured, **inputs) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.usefixtures("submodlib")
@pytest.mark.parametrize("nu", [0.0, 0.7, 1.0, 3.0])
def test_continual_equals_submodlib_conditional_gain(nu: float) -> None:
    from submodlib import FacilityLocationConditionalGainFunction

    pool, _, _, existing = random_case(3)
    function = FacilityLocationConditionalGainFunction(
        n=7, num_privates=3, data_sijs=CLAMP.apply(pool), private_sijs=CLAMP.apply(existing), privacyHardness=nu
    )
    kernel = represented_kernel(ObjectiveConfig("continual", nu=nu), pool, existing=existing)
    for subset in all_subsets(7)[1:]:
        assert value(kernel, np.array(subset)) == pytest.approx(function.evaluate(set(subset)), abs=1e-5)


@pytest.mark.usefixtures("submodlib")
def test_instruction_equals_submodlib_facility_location() -> None:
    from submodlib import FacilityLocationFunction

    pool, _, _, _ = random_case(4)
    function = FacilityLocationFunction(n=7, mode="dense", sijs=CLAMP.apply(pool), separate_rep=False)
    for subset in all_subsets(7)[1:]:
        assert evaluate(ObjectiveConfig("instruction"), subset, pool) == pytest.approx(function.evaluate(set(subset)))


@pytest.mark.usefixtures("submodlib")
@pytest.mark.parametrize("seed", range(5))
def test_min_max_with_the_diagonal_in_is_what_the_published_code_maximises(seed: int) -> None:
    """submodlib over the scaled matrix, as the published code calls it; after the first pick, greedy on U unclamped."""
    from submodlib import FacilityLocationFunction

    pool, diagonal, _, _ = random_case(seed, n=9)
    whole = np.where(np.eye(9, dtype=bool), diagonal, pool).astype(np.float64)
    scaled = ((whole - whole.min()) / (whole.max() - whole.min())).astype(np.float32)
    function = FacilityLocationFunction(n=9, mode="dense", sijs=scaled, separate_rep=False)
    config = objective_of("published", "instruction")
    kernel = represented_kernel(config, pool, diagonal=diagonal)
    np.testing.assert_allclose(kernel, scaled, atol=1e-6)
    order = greedy_order(kernel).order.tolist()
    assert order[:5] == [pick for pick, _ in function.maximize(budget=5, optimizer="NaiveGreedy")]
    built = order[:1]
    for _ in range(4):
        left = [j for j in range(9) if j not in built]
        built.append(max(left, key=lambda j: np.maximum(whole[:, [*built, j]].max(axis=1), -np.inf).sum()))
    assert built == order[:5]


def test_min_max_by_hand_and_where_it_cannot_be() -> None:
    config = ObjectiveConfig("instruction", self_coverage=1.0, scaling="min-max")
    kernel = represented_kernel(config, POOL, diagonal=DIAGONAL)  # from -0.3 to 0.8
    np.testing.assert_allclose(kernel[0], [1, 0.8 / 1.1, 0.5 / 1.1], rtol=1e-6)
    same = represented_kernel(config, np.full((3, 3), 0.2), diagonal=np.full(3, 0.2))
    assert not same.any()  # nothing tells the rows apart
    with pytest.raises(SelectionError, match="min-max, but the diagonal was not given"):
        represented_kernel(ObjectiveConfig("instruction", scaling="min-max"), POOL)
    with pytest.raises(SelectionError, match="not all were scored"):
        represented_kernel(config, csr_array(np.eye(3)), diagonal=DIAGONAL)
    with pytest.raises(SelectionError, match="no target help 'z'"):
        represented_kernel(ObjectiveConfig("instruction", target_help="z"), POOL)  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="no scaling 'z'"):
        represented_kernel(ObjectiveConfig("instruction", scaling="z"), POOL)  # type: ignore[arg-type]


@given(seed=st.integers(0, 10**6))
def test_weight_zero_is_plain_facility_location(seed: int) -> None:
    pool, _, target, existing = random_case(seed)
    plain = represented_kernel(ObjectiveConfig("instruction"), pool)
    task = represented_kernel(ObjectiveConfig("task", eta=0), pool, target=target)
    continual = represented_kernel(ObjectiveConfig("continual", nu=0), pool, existing=existing)
    np.testing.assert_array_equal(task[:7], plain)
    assert not task[7:].any()
    np.testing.assert_array_equal(continual, plain)


@given(seed=st.integers(0, 10**6), order=st.permutations(range(7)), size=st.integers(1, 7))
def test_renumbering_the_pool_changes_no_value(seed: int, order: list[int], size: int) -> None:
    pool, diagonal, target, _ = random_case(seed)
    config = ObjectiveConfig("task", self_coverage=0.3)
    renamed = {"pool": pool[np.ix_(order, order)], "diagonal": diagonal[order], "target": target[:, order]}
    subset = list(range(size))
    original = evaluate(config, [order[j] for j in subset], pool, diagonal=diagonal, target=target)
    assert evaluate(config, subset, **renamed) == pytest.approx(original)


def test_a_view_is_answered_like_its_copy() -> None:
    pool, _, target, existing = random_case(5)
    config = ObjectiveConfig("task")
    turned = represented_kernel(config, pool.T, target=np.asfortranarray(target))
    np.testing.assert_array_equal(turned, represented_kernel(config, pool.T.copy(), target=target))
    assert (turned != represented_kernel(config, pool, target=target)).any()
    kernel = represented_kernel(ObjectiveConfig("continual"), pool[::-1, ::-1], existing=existing[::-1])
    copied = represented_kernel(ObjectiveConfig("continual"), pool[::-1, ::-1].copy(), existing=existing[::-1].copy())
    np.testing.assert_array_equal(kernel, copied)


def test_the_pool_diagonal_is_never_read() -> None:
    filled = POOL.copy()
    np.fill_diagonal(filled, np.inf)
    config = ObjectiveConfig("instruction")
    np.testing.assert_array_equal(represented_kernel(config, filled), represented_kernel(config, POOL))


def broken(row: int, column: int, entry: float, matrix: np.ndarray) -> np.ndarray:
    copy = matrix.copy()
    copy[row, column] = entry
    return copy


FL, FLMI, FLCG = ObjectiveConfig("instruction"), ObjectiveConfig("task"), ObjectiveConfig("continual")


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        (FL, {"pool": broken(0, 2, NAN, POOL)}, r"pool utility at row 0, column 2 is missing \(NaN\)"),
        (FL, {"pool": broken(2, 1, -np.inf, POOL)}, "row 2, column 1 is -inf"),
        (FL, {"pool": POOL[:2]}, "square"),
        (FL, {"pool": np.zeros((0, 0))}, "square"),
        (FL, {"pool": POOL, "target": TARGET}, "does not use target"),
        (FL, {"pool": POOL, "existing": EXISTING}, "does not use existing"),
        (FLMI, {"pool": POOL}, "needs the target"),
        (FLMI, {"pool": POOL, "target": TARGET.T}, "target utilities have shape"),
        (FLMI, {"pool": POOL, "target": TARGET[:0]}, "target utilities have shape"),
        (FLMI, {"pool": POOL, "target": broken(1, 2, NAN, TARGET)}, "target utility at row 1, column 2"),
        (FLCG, {"pool": POOL}, "needs the existing"),
        (FLCG, {"pool": POOL, "existing": EXISTING[:2]}, "existing utilities have shape"),
        (FLCG, {"pool": POOL, "existing": EXISTING[:, :0]}, "existing utilities have shape"),
        (ObjectiveConfig("task", eta=-1), {"pool": POOL, "target": TARGET}, "eta is -1"),
        (ObjectiveConfig("continual", nu=NAN), {"pool": POOL, "existing": EXISTING}, "nu is nan"),
        (ObjectiveConfig("task", eta=1e40), {"pool": POOL, "target": TARGET}, "too large"),
        (FL, {"pool": broken(0, 1, 1e300, POOL)}, "too large"),
        (ObjectiveConfig("instruction", self_coverage=1.5), {"pool": POOL, "diagonal": DIAGONAL}, "from 0 to 1"),
        (ObjectiveConfig("instruction", self_coverage=1), {"pool": POOL}, "diagonal was not given"),
        (ObjectiveConfig("instruction", self_coverage=1), {"pool": POOL, "diagonal": DIAGONAL[:2]}, "has shape"),
        (ObjectiveConfig("instruction", self_coverage=1), {"pool": POOL, "diagonal": DIAGONAL * NAN}, "NaN"),
        (ObjectiveConfig("warm-up"), {"pool": POOL}, "no stage 'warm-up'"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_refused(config: ObjectiveConfig, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        represented_kernel(config, **inputs)


@pytest.mark.parametrize("subset", [[0, 0], [3], [-1], [0.5]])
def test_a_subset_outside_the_pool_is_refused(subset: list[int]) -> None:
    with pytest.raises(SelectionError):
        evaluate(FL, subset, POOL)


def test_walking_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, diagonal, _, existing = random_case(6)
    config = ObjectiveConfig("continual", self_coverage=0.5)
    whole = represented_kernel(config, pool, diagonal=diagonal, existing=existing)
    monkeypatch.setattr("delift_core.selection.kernels._BLOCK_ENTRIES", 10)
    np.testing.assert_array_equal(represented_kernel(config, pool, diagonal=diagonal, existing=existing), whole)
