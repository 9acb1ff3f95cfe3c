"""Two subsets side by side."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from delift_core.selection.coverage import compare

subsets = st.sets(st.integers(0, 11)).map(lambda rows: np.array(sorted(rows), dtype=np.int64))


@given(subsets, subsets)
def test_parts_are_set_algebra_and_sides_name_every_row(first: np.ndarray, second: np.ndarray) -> None:
    found = compare(12, first, second)
    a, b = set(first.tolist()), set(second.tolist())
    assert (set(found.both), set(found.only_first), set(found.only_second)) == (a & b, a - b, b - a)
    assert found.overlap == (len(a & b) / len(a | b) if a | b else 1.0)
    want = {(True, True): "both", (True, False): "only-first", (False, True): "only-second", (False, False): "neither"}
    assert found.sides == tuple(want[row in a, row in b] for row in range(12))


def test_overlap_by_chance_is_that_of_random_subsets() -> None:
    generator = np.random.default_rng(0)
    drawn = [compare(60, generator.permutation(60)[:20], generator.permutation(60)[:30]).overlap for _ in range(2_000)]
    assert abs(np.mean(drawn) - compare(60, np.arange(20), np.arange(30)).expected_overlap) < 0.01
    assert compare(10, np.arange(10), np.arange(10)).expected_overlap == 1.0
