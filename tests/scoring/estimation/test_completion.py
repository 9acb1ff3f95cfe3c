"""The completion model against its posterior mean, computed from the whole covariance matrix; its accuracy by rank."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from delift_core.scoring.estimation.completion import Completion, Variances
from delift_core.scoring.estimation.partial_matrix import _spearman_within


def measured(rows: int, each: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cues (rows, width), and each row's most alike others with drawn utilities."""
    generator = np.random.default_rng(seed)
    cues = generator.normal(size=(rows, width)) * 0.8 ** np.arange(width) + 0.7 * (np.arange(width) == 0)
    cues /= np.linalg.norm(cues, axis=1, keepdims=True)
    columns = np.argsort(-(cues @ cues.T), axis=1)[:, 1 : each + 1].ravel()
    helped = np.repeat(np.arange(rows), each)
    values = 0.02 * ((cues[helped] * cues[columns][:, ::-1]).sum(axis=1) + 0.3 * generator.normal(size=len(helped)))
    return cues.astype(np.float32), helped, columns, values


def from_whole_covariance(cues: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n, n) posterior mean, by the formula in the module's head."""
    v, alike = Variances(), (cues @ cues.T).astype(np.float64)
    spread = Completion(cues, cues, rows, columns, values).row_scale
    scaled = values / spread[rows]
    mean, unit = scaled.mean(), scaled.std()

    def covariance(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        same_row, same_column = i[:, None] == rows, j[:, None] == columns
        others = alike[np.ix_(j, columns)]
        found: np.ndarray = v.row * same_row + v.column * same_column
        found = found + v.similarity * alike[i, j][:, None] * alike[rows, columns]
        found += v.common * alike[np.ix_(i, rows)] * others + v.row_slope * same_row * others
        return found

    noise = v.noise * np.exp(v.noise_similarity * alike[rows, columns])
    weights = np.linalg.solve(covariance(rows, columns) + np.diag(noise), (scaled - mean) / unit)
    every = np.indices((len(cues), len(cues))).reshape(2, -1)
    estimate = mean + unit * (covariance(*every) @ weights)
    whole: np.ndarray = spread[:, None] * estimate.reshape(len(cues), -1)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "each", "width"), [(12, 3, 4), (30, 29, 8), (100, 30, 40)])
def test_estimates_are_the_posterior_mean(rows: int, each: int, width: int) -> None:
    cues, helped, columns, values = measured(rows, each, width, 0)
    model = Completion(cues, cues, helped, columns, values)
    exact = from_whole_covariance(cues, helped, columns, values)
    np.testing.assert_allclose(model.mean().block(slice(None)), exact, atol=0.02 * values.std())


def test_rank_correlations_within_rows_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 60, 300)  # some rows have fewer than three pairs
    values = generator.normal(size=300).round(1)  # with ties
    estimates = (values + generator.normal(size=300)).round(1)
    values[rows == 7] = 0.5
    apart = [rows == row for row in np.unique(rows)]
    usable = [one for one in apart if one.sum() >= 3 and np.ptp(values[one]) and np.ptp(estimates[one])]
    assert 1 < len(usable) < len(apart)
    expected = np.mean([spearmanr(values[one], estimates[one]).statistic for one in usable])
    assert _spearman_within(rows, values, estimates) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(_spearman_within(rows[:2], values[:2], estimates[:2]))
