"""The error bar of a selection from some of the pairs, against matrices that are known in full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from delift_core.curation.reliability import error_bar, share_needed
from delift_core.scoring.estimation import partial_matrix as partial
from delift_core.scoring.estimation.pair_choice import MatrixPlan, Measured, next_round, opening_rounds, pair_keys
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import CLAMP
from delift_core.selection.types import ErrorBar

N = 60


def world(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Cues (N, 6) and the utilities (N, N) that follow from them, but for noise."""
    generator = np.random.default_rng(seed)
    cues = generator.normal(size=(N, 6))
    cues /= np.linalg.norm(cues, axis=1, keepdims=True)
    bilinear = cues @ generator.normal(size=(6, 6)) @ cues.T
    rows = generator.normal(size=(N, 1))
    return cues.astype(np.float32), 0.02 * (bilinear + 0.5 * rows + noise * generator.normal(size=(N, N)))


def scored_in_part(cues: np.ndarray, utilities: np.ndarray, share: float) -> PartialMatrix:
    part = MatrixPlan(cues, cues, round(share * N * (N - 1)), np.ones(N), same=True)
    rounds = opening_rounds(part, 0)
    while True:
        fit = [one for one in rounds if one.kind != "held-out"]
        rows, columns = (np.concatenate([getattr(one, name) for one in fit]) for name in ("rows", "columns"))
        fitted = Measured(rows, columns, utilities[rows, columns])
        more = next_round(part, fitted, pair_keys(part, rounds), 0)
        if more is None:
            break
        rounds = (*rounds, more)
    held = Measured(rounds[0].rows, rounds[0].columns, utilities[rounds[0].rows, rounds[0].columns])
    return PartialMatrix(part, rounds, held, fitted)


def reached(matrix: PartialMatrix, utilities: np.ndarray) -> tuple[float, ErrorBar | None]:
    """What a selection of 30 % from the measured pairs truly reaches, of that from all, and what is said of it."""
    measured = matrix.measured()
    kernel = csr_array((CLAMP.apply(measured.data), measured.indices, measured.indptr), shape=measured.shape)
    exact = CLAMP.apply(utilities).astype(np.float32)
    np.fill_diagonal(exact, 0)
    chosen, best = (greedy_order(one).order[: N * 3 // 10] for one in (kernel, exact))
    truth = exact[:, chosen].max(axis=1).sum() / exact[:, best].max(axis=1).sum()
    return float(truth), error_bar(matrix, kernel, np.arange(N), chosen)


@pytest.mark.parametrize("noise", [0.1, 0.6])
def test_the_estimated_ratio_is_near_the_truth_on_smooth_worlds(noise: float) -> None:
    found = [reached(scored_in_part(*world(seed, noise), 0.25), world(seed, noise)[1]) for seed in range(4)]
    truths, bars = zip(*found, strict=True)
    assert min(truths) > 0.9
    assert all(bar is not None and bar.low <= bar.ratio <= bar.high <= 1 for bar in bars)
    assert np.mean([bar.ratio for bar in bars]) == pytest.approx(np.mean(truths), abs=0.05)
    assert all(bar.r2 > 0.3 for bar in bars)


def test_a_world_without_order_has_no_explained_variance_and_asks_for_more_pairs() -> None:
    generator = np.random.default_rng(0)
    cues, _ = world(0, 0)
    utilities = 0.02 * generator.normal(size=(N, N))
    truth, bar = reached(scored_in_part(cues, utilities, 0.1), utilities)
    assert bar is not None and bar.r2 < 0.1 and not bar.enough
    assert bar.ratio == pytest.approx(truth, abs=0.1)
    assert bar.share < bar.share_needed <= 1
    assert f"score about {bar.share_needed:.0%} of the pairs" in bar.sentence


def test_errors_are_of_fits_that_did_not_know_the_pair_and_of_many_pairs_a_part_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cues, utilities = world(0, 0.3)
    matrix = scored_in_part(cues, utilities, 0.25)
    held_out_errors, known = matrix.held_out_errors, matrix.completion
    assert len(held_out_errors.errors) == matrix.plan.budget
    of_known = utilities[matrix.fitted.rows, matrix.fitted.columns] - known.mean().at(
        matrix.fitted.rows, matrix.fitted.columns
    )
    unknown = held_out_errors.errors[len(matrix.held_out.values) :]
    assert np.abs(unknown).mean() > 1.2 * np.abs(of_known / known.row_scale[matrix.fitted.rows]).mean()
    monkeypatch.setattr(partial, "ENOUGH_TESTED", 10)
    fewer = scored_in_part(cues, utilities, 0.25)
    assert len(fewer.held_out_errors.errors) < 0.4 * len(held_out_errors.errors)
    whole, part = reached(matrix, utilities)[1], reached(fewer, utilities)[1]
    assert whole is not None and part is not None
    assert part.ratio == pytest.approx(whole.ratio, abs=0.03)


def test_all_pairs_need_no_error_bar() -> None:
    cues, utilities = world(1, 0.1)
    matrix = scored_in_part(cues, utilities, 1.0)
    assert matrix.complete
    assert reached(matrix, utilities)[1] is None


def bar_of(share: float, ratio: float, low: float, high: float, bound: bool) -> ErrorBar:
    """An error bar as `error_bar` makes it, without a rank correlation."""
    return ErrorBar(10, share, ratio, low, high, bound, 100, 0.5, None, share_needed(share, ratio, low))


def test_what_is_enough_is_not_asked_to_grow() -> None:
    good, poor = bar_of(0.2, 0.98, 0.97, 0.99, False), bar_of(0.2, 0.94, 0.9, 0.95, True)
    assert good.enough and good.share_needed == 0.2 and "Spearman" not in good.sentence
    assert not poor.enough and poor.share_needed == pytest.approx(
        0.25 * (0.1 / 0.03) ** 2 / (1 + 0.25 * (0.1 / 0.03) ** 2)
    )
    assert "Likely at least 94%" in poor.sentence and "score at most about 74% of the pairs" in poor.sentence


@given(share=st.floats(0.0001, 0.99), more=st.floats(0, 0.009), ratio=st.floats(0, 0.969, exclude_max=True))
def test_what_is_asked_for_is_more_and_possible_and_the_more_the_more_is_lost(
    share: float, more: float, ratio: float
) -> None:
    def needed(of: float, reached: float) -> float:
        return share_needed(of, reached, reached)

    assert share < needed(share, ratio) < 1
    assert needed(share, ratio) <= needed(share, ratio * 0.9) and needed(share, ratio) <= needed(share + more, ratio)


def test_small_shares_are_told_apart_from_none() -> None:
    bar = bar_of(0.00032, 0.5, 0.4, 0.6, True)
    assert bar.sentence.startswith("Based on 0.032% of the pairs.")
    assert "score at most about 11% of the pairs" in bar.sentence
