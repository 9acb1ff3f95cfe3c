"""Where each value stands in the text of a JSON record, so that one can be changed and all else stays as found."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

from delift_core.sources.json_records import DECODER, WHITESPACE


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a record's text.

    Attributes:
        path: such as "conversations[1].value"; "" for the record itself.
        start, end: its span, quotes and brackets included.
        text: what a string says; None for a value of another type.
    """

    path: str
    start: int
    end: int
    text: str | None = None


def places(raw: str) -> Iterator[Place]:
    """Every value of a record, those inside another before it; keys are no values.

    Args:
        raw: JSON text that is known to decode.
    """
    yield from _walk(raw, 0, "", [])


def put(raw: str, values: Mapping[Place, str]) -> str:
    """The text with other JSON text at some places, none of which lies within another."""
    for place in sorted(values, key=lambda place: -place.start):  # from the end, so that places stay true
        raw = raw[: place.start] + values[place] + raw[place.end :]
    return raw


def put_texts(raw: str, texts: Mapping[Place, str]) -> str:
    """The text with other strings at some places, spelt with or without escapes as the record is.

    A string that stays the same keeps its own spelling: a character may be written in several ways.
    """
    changed = {place: text for place, text in texts.items() if text != place.text}
    return put(raw, {place: json.dumps(text, ensure_ascii=raw.isascii()) for place, text in changed.items()})


def _walk(raw: str, at: int, path: str, ends: list[int]) -> Iterator[Place]:
    """Goes through one value; its end is left in `ends`."""
    at = begin = _skip(raw, at)
    if raw[at] == '"':
        text, end = scanstring(raw, at + 1)
        yield Place(path, at, end, text)
    elif raw[at] in "{[":
        closing, index = "}" if raw[at] == "{" else "]", 0
        at = _skip(raw, at + 1)
        while raw[at] != closing:
            inner = f"{path}[{index}]"
            if closing == "}":
                key, at = scanstring(raw, at + 1)
                at = _skip(raw, at) + 1  # the colon
                inner = f"{path}.{key}" if path else key
            yield from _walk(raw, at, inner, ends)
            at = _skip(raw, ends.pop())
            if raw[at] == ",":
                at = _skip(raw, at + 1)
            index += 1
        end = at + 1
        yield Place(path, begin, end)
    else:
        end = DECODER.raw_decode(raw, at)[1]
        yield Place(path, begin, end)
    ends.append(end)


def _skip(raw: str, at: int) -> int:
    while at < len(raw) and raw[at] in WHITESPACE:
        at += 1
    return at
