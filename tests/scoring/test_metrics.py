import numpy as np
import pytest

from delift_core.scoring.metrics import distance, utility

TOKENS = np.array([2, 1])
# Row 0: p = (0.5, 1.0) alone, (1.0, 1.0) with the example. Row 1: p = 0.8 alone, 0.2 with it.
ALONE = np.array([[0.25 + 0.0, np.log(0.5)], [0.04, np.log(0.8)]])
WITH = np.array([[0.0, 0.0], [0.64, np.log(0.2)]])


def test_euclidean_by_hand() -> None:
    expected = [np.sqrt(0.25 / 2) - 0.0, 0.2 - 0.8]
    assert utility(ALONE, WITH, TOKENS, "euclidean") == pytest.approx(expected, abs=1e-7)


def test_pmi_is_a_log_ratio_of_sequence_probabilities() -> None:
    expected = [np.log(1.0 / 0.5), np.log(0.2 / 0.8)]
    assert utility(ALONE, WITH, TOKENS, "pmi") == pytest.approx(expected, abs=1e-6)
    assert utility(ALONE, WITH, TOKENS, "pmi-per-token") == pytest.approx([np.log(2) / 2, np.log(0.25)], abs=1e-6)


def test_pairs_that_were_not_scored_stay_unknown() -> None:
    unknown = np.full((2, 2), np.nan)
    for metric in ("euclidean", "pmi", "pmi-per-token"):
        assert np.isnan(utility(ALONE, unknown, TOKENS, metric)).all()


def test_distance_lies_between_sure_and_hopeless() -> None:
    statistics = np.array([[0.0, 0.0], [3.0, -100.0]])
    assert distance(statistics, np.array([3, 3])) == pytest.approx([0.0, 1.0])


def test_utility_under_kl_is_the_conditional_pmi() -> None:
    """With d = KL(one-hot || p) summed over tokens, d(alone) - d(with example) is the PMI metric (design 2)."""
    rng = np.random.default_rng(0)
    alone, helped = (np.log(rng.uniform(0.01, 1, size=(4, 7))) for _ in range(2))
    kl_utility = (-alone).sum(axis=1) - (-helped).sum(axis=1)
    sums = [np.stack([((1 - np.exp(p)) ** 2).sum(axis=1), p.sum(axis=1)], axis=1) for p in (alone, helped)]
    assert utility(sums[0], sums[1], np.full(4, 7), "pmi") == pytest.approx(kl_utility, abs=1e-5)
