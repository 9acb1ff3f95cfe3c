"""Texts of strangers are shown, never obeyed; paths and counts read as people write them."""

import ast
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.ui.shell.display import printable, short_path

ROOT = Path(__file__).parents[2]


@given(st.text())
def test_no_control_and_no_direction_mark_is_left(text: str) -> None:
    for character in printable(text):
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
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["plain", "مرحبا بالعالم", "שלום", "می‌خواهم", "👩‍🚀", "日本語", "e\u0301"])
def test_ordinary_writing_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_path_in_the_home_folder_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/ada")
    assert short_path("/somewhere/ada/data/pool.jsonl") == "~/data/pool.jsonl"
    assert short_path("/elsewhere/pool.jsonl") == "/elsewhere/pool.jsonl"
    assert short_path("/somewhere/adam/x") == "/somewhere/adam/x"


COUNTED = re.compile(r"^ (rows|samples|pairs|tokens|records|selections|lines|columns|labels)\b")
COUNT = re.compile(
    r"^(len\(.*\)|(.*\.)?n_\w+|(.*\.)?(count|counts|total|rows|tokens|pairs)|.*\.(sum|size|shape\[\d\])(\(\))?)$"
)


def unseparated(path: Path) -> Iterator[str]:
    """Counts in texts without a thousands separator: `{len(rows)} rows` instead of `{len(rows):,} rows`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        for part, after in pairwise(node.values):
            if not isinstance(part, ast.FormattedValue) or part.format_spec or not isinstance(after, ast.Constant):
                continue
            if COUNT.fullmatch(ast.unparse(part.value)) and COUNTED.match(after.value):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(part.value)}{after.value[:20]}"


def test_counts_have_thousands_separators_everywhere() -> None:
    files = [*(ROOT / "pages").rglob("*.py"), *(ROOT / "delift_core").rglob("*.py")]
    assert [found for path in files for found in unseparated(path)] == []


def test_bold_text_has_no_stray_star() -> None:
    assert [path.name for path in (ROOT / "pages").rglob("*.py") if "***" in path.read_text()] == []
