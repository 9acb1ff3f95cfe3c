"""A whole selection: parts agree with each other, chance is fair, views and seeds behave."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.assessment import random_baseline, random_curves
from delift_core.selection.greedy import greedy_order, order_around
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import evaluate, represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig
from tests.selection.whole import select


def utilities(seed: int = 0, n: int = 20) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    pool = generator.normal(size=(n, n)).astype(np.float32)
    np.fill_diagonal(pool, np.nan)
    return {
        "pool": pool,
        "diagonal": generator.uniform(size=n).astype(np.float32),
        "target": generator.normal(size=(4, n)).astype(np.float32),
        "existing": generator.normal(size=(n, 5)).astype(np.float32),
    }


STAGES = {
    "instruction": ("pool", "diagonal"),
    "task": ("pool", "diagonal", "target"),
    "continual": ("pool", "diagonal", "existing"),
}


@pytest.mark.parametrize("stage", list(STAGES))
@pytest.mark.parametrize("budget", [Budget("percent", 30), Budget("tokens", 60), Budget("rows", 20)])
def test_parts_of_a_selection_agree(stage: str, budget: Budget) -> None:
    given = {name: array for name, array in utilities().items() if name in STAGES[stage]}
    config = ObjectiveConfig(stage, self_coverage=0.2)  # type: ignore[arg-type]
    counts = np.arange(1, 21)
    selection = select(config, budget, **given, token_counts=counts)
    reached = evaluate(config, selection.chosen, **given)
    assert selection.certificate.value == pytest.approx(reached, rel=1e-5)
    assert selection.chosen_gains.sum() == pytest.approx(reached, rel=1e-5)
    # k residual gains, none above the last pick's gain, cannot exceed what k picks reached.
    assert 0.5 <= selection.certificate.ratio <= 1 or budget.unit == "tokens"
    assert len(selection.random.values) == 20
    assert max(selection.random.values) <= selection.certificate.upper_bound + 1e-9
    assert selection.random.mean <= reached + 1e-9
    extra = selection.residual_gains
    assert extra.shape == (20,) and not extra[selection.chosen].any()
    for j in np.setdiff1d(np.arange(20), selection.chosen):
        grown = evaluate(config, [*selection.chosen, j], **given)
        assert extra[j] == pytest.approx(grown - reached, abs=1e-5)
    if budget.unit == "tokens":
        assert counts[selection.chosen].sum() <= 60
    if budget.amount == 20:
        assert sorted(selection.chosen) == list(range(20)) and selection.certificate.ratio == 1
        assert selection.random.std == pytest.approx(0, abs=1e-9)


def test_a_transposed_view_is_answered_like_its_copy() -> None:
    pool = utilities()["pool"]
    config, budget = ObjectiveConfig("instruction"), Budget("rows", 6)
    view, copy = select(config, budget, pool=pool.T), select(config, budget, pool=pool.T.copy())
    np.testing.assert_array_equal(view.chosen, copy.chosen)
    assert view.chosen.tolist() != select(config, budget, pool=pool).chosen.tolist()


def test_another_budget_needs_no_second_optimisation() -> None:
    pool = utilities()["pool"]
    config = ObjectiveConfig("instruction")
    kernel = represented_kernel(config, pool)
    greedy = greedy_order(kernel)
    for rows in (1, 5, 20):
        direct = select(config, Budget("rows", rows), pool=pool, seed=4)
        again = select_from_kernel(SelectionRequest(config, Budget("rows", rows), seed=4), kernel, greedy)
        np.testing.assert_array_equal(again.chosen, direct.chosen)
        assert (again.certificate, again.random) == (direct.certificate, direct.random)


def test_the_seed_moves_the_baseline_only() -> None:
    pool = utilities()["pool"]
    one, two = (select(ObjectiveConfig("instruction"), Budget("rows", 5), pool=pool, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(one.chosen, two.chosen)
    assert one.random != two.random


def test_random_baseline_has_the_right_mean() -> None:
    # f({j}) = j + 1, so single random samples average (1 + 2 + 3 + 4) / 4.
    kernel = np.diag([1.0, 2.0, 3.0, 4.0]).astype(np.float32)
    baseline = random_baseline(kernel, 1, draws=4000, seed=3)
    assert set(baseline.values) == {1.0, 2.0, 3.0, 4.0}
    assert baseline.mean == pytest.approx(2.5, abs=0.1)
    assert random_baseline(kernel, 4, draws=2).values == (10.0, 10.0)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("fixed", [FixedRows(), FixedRows((3, 5), (0,))])
def test_random_curves_hold_the_baseline_of_every_size(form: Callable[[np.ndarray], Kernel], fixed: FixedRows) -> None:
    kernel = form(np.maximum(np.random.default_rng(0).normal(size=(12, 12)), 0).astype(np.float32))
    curves = random_curves(kernel, seed=6)
    assert curves.objective.shape == (20, 13)
    for k in range(max(1, len(fixed.kept)), 13 - len(fixed.dropped)):
        plain, baseline = random_baseline(kernel, k, seed=6), random_baseline(kernel, k, seed=6, fixed=fixed)
        assert curves.at(k) == plain
        assert curves.around(kernel, k, fixed).values == pytest.approx(baseline.values, rel=1e-9)
        mean, std = curves.band(np.array([k]))
        assert (mean[0], std[0]) == (pytest.approx(plain.mean), pytest.approx(plain.std))
        budget = Budget("rows", k)
        config, greedy = ObjectiveConfig("instruction"), order_around(kernel, fixed)
        selection = select_from_kernel(SelectionRequest(config, budget, fixed=fixed, seed=6), kernel, greedy)
        assert selection.random == baseline
        given = select_from_kernel(SelectionRequest(config, budget, fixed=fixed), kernel, greedy, random=curves)
        assert given.random.values == pytest.approx(baseline.values, rel=1e-9)


def test_random_baseline_fills_tokens() -> None:
    # Within 3 tokens fit either sample 0 alone or 1 and 2 together.
    kernel, counts = np.diag([5.0, 1.0, 1.0]).astype(np.float32), np.array([3, 1, 2])
    baseline = random_baseline(kernel, 1, draws=50, token_counts=counts, token_budget=3)
    assert set(baseline.values) == {5.0, 2.0}


def test_baselines_that_cannot_be_drawn() -> None:
    kernel = np.eye(3, dtype=np.float32)
    for k, draws in ((0, 1), (4, 1), (1, 0)):
        with pytest.raises(SelectionError):
            random_baseline(kernel, k, draws=draws)
    with pytest.raises(SelectionError, match="both"):
        random_baseline(kernel, 1, token_budget=5)


def test_importing_selection_stays_quick() -> None:
    code = (
        "import sys, delift_core.selection.select, delift_core.selection.explain; "
        "print({'submodlib', 'numba'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
