"""Diagnosis of utilities that do and do not say something."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection import diagnose as module
from delift_core.selection.diagnose import diagnose, second_set_warning
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import ObjectiveConfig

NAN = np.nan


def test_useful_by_hand() -> None:
    pool = np.array([[9.0, 0.5, -0.2], [-0.3, NAN, 0.1], [0.0, 0.4, NAN]])
    diagnosis = diagnose(pool)
    assert diagnosis.verdict == "useful"
    assert diagnosis.positive_share == pytest.approx(3 / 6)
    assert diagnosis.median_size == pytest.approx(0.25)
    assert diagnosis.typical_best == pytest.approx(0.4)
    assert (
        diagnosis.sentence == "In 50% of the pairs the example helps. With its best example, a typical row gains 0.4."
    )


@pytest.mark.parametrize(
    ("pool", "verdict"),
    [
        (np.zeros((3, 3)), "all-zero"),
        (np.eye(3), "all-zero"),
        (np.array([[1.0]]), "all-zero"),
        (np.full((3, 3), NAN), "all-zero"),
        (-np.ones((3, 3)), "none-positive"),
        (np.full((3, 3), 1e-5), "near-zero"),
        (np.array([[0.0, -1.0], [-1.0, 0.0]]), "none-positive"),
        (np.array([[0.0, 0.1], [0.1, 0.0]]), "useful"),
    ],
)
def test_verdicts(pool: np.ndarray, verdict: str) -> None:
    diagnosis = diagnose(pool)
    assert diagnosis.verdict == verdict
    assert diagnosis.sentence.endswith(".") and "\n" not in diagnosis.sentence


def test_pairs_that_were_not_measured_do_not_count() -> None:
    pool = np.full((4, 4), NAN)
    pool[0, 1], pool[1, 0], pool[2, 3], pool[3, 2] = 0.2, 0.2, -0.4, 0.2
    diagnosis = diagnose(pool)
    assert diagnosis.positive_share == pytest.approx(0.75)
    assert diagnosis.median_size == pytest.approx(0.2)


def test_large_matrices_take_the_median_over_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = np.random.default_rng(0).normal(size=(60, 60))
    np.fill_diagonal(pool, 1e6)
    whole = diagnose(pool)
    monkeypatch.setattr(module, "_MEDIAN_ENTRIES", 900)
    some = diagnose(pool)
    assert some.median_size != whole.median_size
    assert some.median_size == pytest.approx(whole.median_size, rel=0.2)
    assert (some.positive_share, some.typical_best) == (whole.positive_share, whole.typical_best)


def test_what_is_no_square_matrix_is_refused() -> None:
    for shape in ((2, 3), (0, 0), (4,)):
        with pytest.raises(SelectionError, match="square"):
            diagnose(np.zeros(shape))


@pytest.mark.parametrize("form", [np.array, csr_array])
def test_a_second_set_that_tells_nothing_is_said_in_words(form: Callable[[np.ndarray], Kernel]) -> None:
    pool = form(np.array([[0.0, 0.5, 0.1], [0.2, 0.0, 0.0], [0.0, 0.3, 0.0]]))
    task, continual = ObjectiveConfig("task"), ObjectiveConfig("continual")

    def caution(config: ObjectiveConfig, **second: np.ndarray) -> str | None:
        forms = {name: form(matrix) for name, matrix in second.items()}
        return second_set_warning(config, represented_kernel(config, pool, **forms))

    apart = caution(task, target=-np.ones((2, 3)))
    assert apart is not None and apart.startswith("No pool row helps the model with any target row")
    assert caution(task, target=np.eye(2, 3)) is None
    assert caution(replace(task, eta=0), target=-np.ones((2, 3))) is None
    covered = caution(continual, existing=np.ones((3, 1)))
    assert covered is not None and covered.startswith("The existing rows help every pool row as much")
    assert caution(continual, existing=np.zeros((3, 1))) is None
    assert second_set_warning(ObjectiveConfig("instruction"), np.zeros((3, 3))) is None
