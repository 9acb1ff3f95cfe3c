"""The parts of a JSON text and where they stand in it, so that each can be kept as it is spelt."""

import json
import re
from collections.abc import Iterator

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
