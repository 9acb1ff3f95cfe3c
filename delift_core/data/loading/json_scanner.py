"""The parts of a JSON text and where they stand in it, so that each can be kept as it is spelt."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]

WHITESPACE = " \t\r\n"
STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKENS = re.compile(rf'{STRING}|[^" \t\r\n]+', re.DOTALL)
NOT_SPACE = re.compile(r"[^ \t\r\n]|\Z")
# Python refuses to convert longer runs of digits; the value is only looked at, the digits stay in the raw text.
MAX_DIGITS = 4000

# Words that Python writes and reads for numbers, and JSON does not have.
_STRING_OR_CONSTANT = re.compile(rf"{STRING}|(-?Infinity|NaN)", re.DOTALL)

Span = tuple[int, int]


def parse_int(digits: str) -> int | float:
    """A whole number, or one near it where Python would refuse its length."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


DECODER = json.JSONDecoder(parse_int=parse_int)


def compact(text: str) -> str:
    """Removes the whitespace between the tokens of a JSON text; strings and all other tokens stay as they are."""
    return "".join(TOKENS.findall(text))


def strict(text: str) -> str:
    """A JSON text with null in the place of NaN and Infinity, which many readers refuse; the same one without any."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _STRING_OR_CONSTANT.sub(lambda match: "null" if match[1] else match[0], text)


def next_token(text: str, position: int) -> int:
    """Where the next token begins; the end of the text where there is none."""
    match = NOT_SPACE.search(text, position)
    return match.start() if match else len(text)


def members(text: str, start: int) -> Iterator[tuple[str, Span]]:
    """The keys of the object that opens at `start`, and where their values stand; the text is known to decode."""
    position = next_token(text, start + 1)
    while text[position] != "}":
        name, position = DECODER.raw_decode(text, position)
        begin = next_token(text, next_token(text, position) + 1)
        _, end = DECODER.raw_decode(text, begin)
        yield name, (begin, end)
        position = _behind(text, end)


def elements(text: str, start: int) -> Iterator[Span]:
    """Where the elements of the list that opens at `start` stand; the text is known to decode."""
    position = next_token(text, start + 1)
    while text[position] != "]":
        _, end = DECODER.raw_decode(text, position)
        yield position, end
        position = _behind(text, end)


def _behind(text: str, end: int) -> int:
    """Where the next member begins, or the closing bracket stands."""
    position = next_token(text, end)
    return next_token(text, position + 1) if text[position] == "," else position


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
