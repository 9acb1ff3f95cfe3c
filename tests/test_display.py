"""Texts of strangers are shown, never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.display import inert


@given(st.text())
def test_no_control_and_no_direction_mark_is_left(text: str) -> None:
    for character in inert(text):
        assert character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("a\nb\tc", "a\nb\tc"),
        ("a\rb\x00", "a\\rb\\x00"),
        ("\ud83d", "\\ud83d"),
        ("\u2066x\u2069\ufeff", "\\u2066x\\u2069\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_it_is_written_out(text: str, shown: str) -> None:
    assert inert(text) == shown


@pytest.mark.parametrize("text", ["plain", "مرحبا بالعالم", "שלום", "می‌خواهم", "👩‍🚀", "日本語", "e\u0301"])
def test_ordinary_writing_stays_as_it_is(text: str) -> None:
    assert inert(text) == text
