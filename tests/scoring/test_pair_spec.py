"""Budgets of pairs: read, written, and what they allow a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.errors import ScoringError
from delift_core.scoring.pair_spec import ALL_PAIRS, PairBudget, format_pairs, parse_pairs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", ALL_PAIRS),
        ("100%", ALL_PAIRS),
        (" 12% ", PairBudget("percent", 12)),
        ("0.25%", PairBudget("percent", 0.25)),
        ("k=32", PairBudget("per-row", 32)),
    ],
)
def test_what_is_read(text: str, expected: PairBudget) -> None:
    assert parse_pairs(text) == expected
    assert parse_pairs(format_pairs(expected)) == expected


@pytest.mark.parametrize("text", ["", "12", "k=0", "0%", "101%", "k=1.5", "-3%", "all of them", "k=٣"])
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ScoringError, match="pairs .* write"):
        parse_pairs(text)


@given(st.integers(1, 10**9), st.integers(1, 9_999))
def test_a_written_budget_is_read_back(count: int, hundredths: int) -> None:
    for budget in (PairBudget("per-row", count), PairBudget("percent", hundredths / 100)):
        assert parse_pairs(format_pairs(budget)) == budget


def test_what_a_row_is_allowed() -> None:
    assert ALL_PAIRS.per_row(7) == 7
    assert PairBudget("percent", 12).per_row(200) == pytest.approx(24)
    assert PairBudget("percent", 1).per_row(20) == 1
    assert PairBudget("per-row", 32).per_row(200) == 32
    assert PairBudget("per-row", 32).per_row(20) == 20
