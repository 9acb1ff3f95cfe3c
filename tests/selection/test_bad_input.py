"""What cannot be selected from, or to, is said in one clear line; what is merely empty is answered."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.explain import Explainer
from delift_core.selection.explain_text import as_sentence
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import Budget, ObjectiveConfig
from tests.selection.whole import select

FL, FLMI, FLCG = ObjectiveConfig("instruction"), ObjectiveConfig("task"), ObjectiveConfig("continual")
POOL = np.array([[0.0, 0.5, 0.1], [0.2, 0.0, 0.3], [0.4, 0.3, 0.0]])
forms = pytest.mark.parametrize("form", [np.array, csr_array])
Form = Callable[[np.ndarray], Kernel]


def broken(entry: float) -> np.ndarray:
    pool = POOL.copy()
    pool[2, 1] = entry
    return pool


@forms
@pytest.mark.parametrize(
    ("pool", "budget", "message"),
    [
        (broken(np.nan), Budget("rows", 1), r"pool utility at row 2, column 1 is missing \(NaN\): score that pair"),
        (broken(np.inf), Budget("rows", 1), "pool utility at row 2, column 1 is inf: score that pair"),
        (POOL, Budget("rows", 0), "above 0, not 0"),
        (POOL, Budget("percent", 0), "above 0, not 0"),
        (POOL, Budget("tokens", 0), "above 0, not 0"),
        (POOL, Budget("rows", 4), "asks for 4 rows but the pool has 3: ask for at most 3"),
        (POOL, Budget("percent", 101), "more than the whole pool"),
        (POOL, Budget("tokens", 4), "below the shortest sample, which has 5"),
        (POOL[:2], Budget("rows", 1), "must be a square matrix"),
    ],
)
def test_one_line_says_what_and_what_to_do(form: Form, pool: np.ndarray, budget: Budget, message: str) -> None:
    with pytest.raises(SelectionError, match=message) as caught:
        select(FL, budget, pool=form(pool), token_counts=np.array([5, 6, 7]))
    assert "\n" not in str(caught.value)


@forms
@pytest.mark.parametrize("budget", [Budget("rows", 3), Budget("percent", 100), Budget("tokens", 18)])
def test_a_budget_of_everything_takes_everything(form: Form, budget: Budget) -> None:
    selection = select(FL, budget, pool=form(POOL), token_counts=np.array([5, 6, 7]))
    assert sorted(selection.chosen.tolist()) == [0, 1, 2]
    assert selection.certificate.ratio == 1


@forms
@pytest.mark.parametrize(
    ("config", "second"),
    [(FL, {}), (FLMI, {"target": -np.ones((2, 3))}), (FLCG, {"existing": np.full((3, 2), 9.0)})],
)
def test_nothing_to_gain_is_answered_with_a_fixed_order_and_no_false_certainty(
    form: Form, config: ObjectiveConfig, second: dict[str, np.ndarray]
) -> None:
    pool = form(np.zeros((3, 3)))
    others = {name: form(matrix) for name, matrix in second.items()}
    selection = select(config, Budget("rows", 2), pool=pool, **others)
    assert selection.chosen.tolist() == [2, 1] and selection.greedy.useful == 0
    assert (selection.certificate.value, selection.certificate.upper_bound) == (0, 0)
    assert selection.random.mean == 0
    kernel = represented_kernel(config, pool, **others)
    assert "adds nothing" in as_sentence(Explainer(selection, kernel).reason(2), str)
    assert "add nothing to the coverage" in as_sentence(Explainer(selection, kernel).reason(0), str)


@forms
def test_a_target_with_no_overlap_leaves_the_selection_as_it_is_without_one(form: Form) -> None:
    plain = select(FL, Budget("rows", 2), pool=form(POOL))
    apart = select(FLMI, Budget("rows", 2), pool=form(POOL), target=form(-np.ones((2, 3))))
    assert apart.chosen.tolist() == plain.chosen.tolist()
    assert apart.certificate == plain.certificate
