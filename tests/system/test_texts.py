"""Lengths of time as people say them."""

import pytest

from delift_core.system.texts import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "under a second"),
        (1, "1 s"),
        (40.4, "40 s"),
        (89.4, "89 s"),
        (89.6, "1 min"),
        (150, "2 min"),
        (3_540, "59 min"),
        (3_599, "1 h"),
        (3_661, "1 h 1 min"),
        (7_800, "2 h 10 min"),
        (35_999, "10 h"),
        (100_000, "28 h"),
        (352_395, "4 days"),
        (200_000_000, "2,315 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_own_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words
