"""Map coordinates: repeatable, true to neighbourhoods, and defined for very few points."""

import warnings

import numpy as np
import pytest

from delift_core.curation.umap_layout import map_coordinates, principal_coordinates
from delift_core.errors import DeliftError

pytestmark = pytest.mark.slow  # UMAP takes seconds to start


def clusters(each: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three groups of directions in 16 dimensions, well apart under the cosine."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(3), each)
    return (np.eye(3, 16)[group] + rng.normal(0, 0.05, (3 * each, 16))).astype(np.float32), group


def test_sixty_points_are_laid_out_the_same_way_twice_and_groups_stay_together() -> None:
    points, group = clusters()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        first = map_coordinates(points, seed=3)
    assert first.shape == (60, 2) and first.dtype == np.float32 and np.isfinite(first).all()
    np.testing.assert_array_equal(first, map_coordinates(points, seed=3))
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-4)
    assert not np.array_equal(first, map_coordinates(points, seed=4))
    distance = np.linalg.norm(first[:, None] - first[None, :], axis=-1) + 1e9 * np.eye(60)
    assert np.mean(group[distance.argmin(axis=1)] == group) >= 0.95


def test_the_length_of_an_embedding_does_not_matter() -> None:
    points, _ = clusters(8)
    np.testing.assert_array_equal(map_coordinates(points), map_coordinates(points * np.float32(4.0)))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 11, 13])
@pytest.mark.parametrize("width", [1, 8])
def test_few_points_have_coordinates(count: int, width: int) -> None:
    points = np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)
    found = map_coordinates(points)
    assert found.shape == (count, 2) and found.dtype == np.float32 and np.isfinite(found).all()


def test_up_to_three_points_keep_their_distances() -> None:
    points = np.random.default_rng(5).normal(size=(3, 7)).astype(np.float32)
    found = map_coordinates(points)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = np.linalg.norm(points[i] - points[j])
        assert np.linalg.norm(found[i] - found[j]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [2, 6, 20])
def test_equal_points_are_no_trouble(count: int) -> None:
    assert np.isfinite(map_coordinates(np.ones((count, 4), dtype=np.float32))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_embeddings_are_named(bad: float) -> None:
    points = np.ones((5, 3), dtype=np.float32)
    points[3, 1] = bad
    with pytest.raises(DeliftError, match="first at row 3"):
        map_coordinates(points)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DeliftError, match="not a matrix"):
        map_coordinates(np.ones(4, dtype=np.float32))


def test_many_points_stand_among_those_that_umap_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delift_core.curation.umap_layout.MAX_UMAP_POINTS", 60)
    points, group = clusters(each=100)
    found = map_coordinates(points)
    assert found.shape == (300, 2) and np.isfinite(found).all() and len(np.unique(found, axis=0)) == 300
    distance = np.linalg.norm(found[:, None] - found[None, :], axis=-1) + 1e9 * np.eye(300)
    assert np.mean(group[distance.argmin(axis=1)] == group) >= 0.95
    np.testing.assert_array_equal(found, map_coordinates(points))


def test_the_first_map_is_the_two_widest_directions_whatever_the_lengths() -> None:
    points, group = clusters(each=30)
    first = principal_coordinates(points)
    assert first.shape == (90, 2) and first.dtype == np.float32
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(first, principal_coordinates(points * np.float32(8)), atol=1e-4)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    lengths = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), lengths[:2], rtol=1e-3)
    for few in (0, 1, 2):
        assert principal_coordinates(points[:few]).shape == (few, 2)
    assert principal_coordinates(points[:, :1]).shape == (90, 2)
