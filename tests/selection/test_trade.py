"""What the weights trade, against the objectives' own formulas."""

import numpy as np
import pytest

from delift_core.selection.explain_text import count_helpable_rows, coverage_shares
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import evaluate, represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import Budget, ObjectiveConfig, Selection


def utilities(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def three_of(kernel: np.ndarray, config: ObjectiveConfig) -> Selection:
    return select_from_kernel(SelectionRequest(config, Budget("rows", 3)), kernel, greedy_order(kernel))


@pytest.mark.parametrize("eta", [0.3, 1.0, 4.0])
def test_shares_of_pool_and_target_are_those_of_the_two_terms(eta: float) -> None:
    pool, target, config = utilities(9, 9), utilities(4, 9, seed=1), ObjectiveConfig("task", eta=eta)
    kernel = represented_kernel(config, pool, target=target)
    selection = three_of(kernel, config)
    alone = ObjectiveConfig("instruction")
    helped = evaluate(alone, selection.chosen, pool) / evaluate(alone, np.arange(9), pool)
    best = np.maximum(target, 0).max(axis=0)
    assert coverage_shares(kernel, selection) == pytest.approx(
        (helped, best[selection.chosen].sum() / best.sum()), rel=1e-5
    )


def test_a_larger_eta_gives_up_the_pool_for_the_target() -> None:
    pool, target = utilities(12, 12), utilities(4, 12, seed=1)
    shares = []
    for eta in (0.0, 50.0):
        config = ObjectiveConfig("task", eta=eta)
        kernel = represented_kernel(config, pool, target=target)
        shares.append(coverage_shares(kernel, three_of(kernel, config)))
    assert shares[1][0] < shares[0][0] and shares[0][1] == 1.0  # without a weight there is nothing to give


def test_rows_left_to_help_are_those_that_the_existing_rows_do_not_help_as_much() -> None:
    pool, existing = utilities(8, 8), utilities(8, 3, seed=2)
    np.fill_diagonal(pool, np.nan)
    for nu in (0.0, 1.0, 2.0):
        kernel = represented_kernel(ObjectiveConfig("continual", nu=nu), pool, existing=existing)
        beyond = np.nanmax(pool, axis=1) - nu * np.maximum(existing.max(axis=1), 0)
        assert count_helpable_rows(kernel) == np.count_nonzero(beyond > 0)
