"""Groups of alike samples: true to the data, repeatable, largest first, named by their own words."""

import numpy as np
import pytest

from delift_core.data.quality.signals import cluster_codes, cluster_facet


def grouped(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (np.eye(len(sizes), 12)[group] + rng.normal(0, 0.03, (len(group), 12))).astype(np.float32), group


def test_groups_of_the_data_are_found_largest_first_and_lengths_do_not_matter() -> None:
    points, group = grouped((3, 9, 6))  # 18 samples: 3 groups
    codes = cluster_codes(points)
    assert np.bincount(codes).tolist() == [9, 6, 3]
    assert {(int(one), int(other)) for one, other in zip(codes, group, strict=True)} == {(0, 1), (1, 2), (2, 0)}
    lengths = np.random.default_rng(1).uniform(0.1, 9, (18, 1)).astype(np.float32)
    np.testing.assert_array_equal(cluster_codes(points * lengths), codes)


def test_large_sets_are_grouped_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delift_core.data.quality.signals._FULL_KMEANS_ROWS", 10)
    points, group = grouped((120, 60, 20))
    codes = cluster_codes(points)
    assert codes.max() <= 8
    assert all(len(set(group[codes == code])) == 1 for code in np.unique(codes))
    np.testing.assert_array_equal(codes, cluster_codes(points))


@pytest.mark.parametrize("points", [np.ones((5, 3)), np.zeros((4, 2)), np.ones((1, 2)), np.zeros((0, 2))])
def test_what_is_all_alike_is_one_group(points: np.ndarray) -> None:
    assert cluster_codes(points.astype(np.float32)).tolist() == [0] * len(points)


def test_a_group_is_named_by_the_words_that_only_it_has() -> None:
    prompts = ["Write a loop please", "Fix this loop please", "Boil water please", "Boil pasta in water please"]
    facet = cluster_facet(np.array([0, 0, 1, 1]), prompts)
    assert facet.name == "Cluster" and facet.labels == ("1: loop, this", "2: boil, water")
    assert cluster_facet(np.zeros(2, dtype=np.int64), ["", ""]).labels == ("1",)
