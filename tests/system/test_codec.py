"""Dataclasses as JSON and back: every field is checked, older files are read, and an error says where."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

import pytest

from delift_core.system.codec import DecodeError, decode, encode


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    gain: float | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    kind: Literal["plain", "rich"]
    rows: tuple[Row, ...]
    size: int = 3


PAGE = Page("rich", (Row("é \u202e \U0001f33b", 0.1 + 0.2, ("a", "b")), Row("", None)))


@pytest.mark.parametrize("indent", [0, 1])
def test_what_is_written_is_read_back(indent: int) -> None:
    written = encode(PAGE, indent=indent)
    assert (written.count(b"\n") == 0) == (indent == 0)
    assert json.loads(written) == json.loads(json.dumps(asdict(PAGE)))
    for document in (written, written.decode(), json.loads(written)):
        assert decode(Page, document) == PAGE


def test_older_and_newer_files_are_read() -> None:
    found = decode(Page, {"kind": "plain", "rows": [{"name": "a", "gain": 1, "colour": "red"}], "later": {}})
    assert found == Page("plain", (Row("a", 1.0),)) and type(found.rows[0].gain) is float


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "poor", "rows": []}, "kind: Invalid enum value 'poor'"),
        ({"kind": "rich", "rows": [{"name": "a", "gain": 1}, {"name": "b"}]}, r"rows\[1\]: .* missing .* `gain`"),
        (
            {"kind": "rich", "rows": [{"name": "a", "gain": "1"}]},
            r"rows\[0\]\.gain: Expected `float \| null`",
        ),
        ({"kind": "rich", "rows": [], "size": True}, "size: Expected `int`, got `bool`"),
        ({"kind": "rich", "rows": [], "size": 1.5}, "size: Expected `int`, got `float`"),
        ({"kind": "rich", "rows": "ab"}, "rows: Expected `array`, got `str`"),
        ([], "the top: Expected `object`, got `array`"),
        (b"", "not JSON"),
        ("{'kind'", "not JSON"),
        (b'{"kind": "rich", "rows": ' + b"[" * 100_000, r"rows\[0\]: Expected `object`|not JSON"),
        (b'{"later": ' + b"[" * 100_000, "not JSON"),
        (b'{"kind": "\xff"}', "not JSON|kind"),
    ],
)
def test_what_does_not_fit_says_where(document: object, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(Page, document)
