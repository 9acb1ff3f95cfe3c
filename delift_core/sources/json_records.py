"""Raw records from JSON lines and JSON documents, told apart by their content.

A document is an array of records, an object that wraps one such list, or a single record. Each record keeps its text:
what has a line to itself as it is, what spans lines or stands in an array as the slice of the file with the whitespace
between tokens removed, so that numbers, escapes, key order and duplicate keys stay byte for byte. Knows nothing of
what the records mean, except that a bare list of turns is one record.
"""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import BinaryIO

from delift_core.errors import DataError
from delift_core.formats import detect_format
from delift_core.formats.base import name_list
from delift_core.formats.turns import is_turn
from delift_core.samples import Problem
from delift_core.sources.records import EXCERPT_CHARACTERS, RawRecord, checked, problem

WHITESPACE = " \t\r\n"
STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKENS = re.compile(rf'{STRING}|[^" \t\r\n]+', re.DOTALL)
STRING_OR_MARK = re.compile(rf"{STRING}|[\[\]{{}},]", re.DOTALL)
NOT_SPACE = re.compile(r"[^ \t\r\n]|\Z")
# Python refuses to convert longer runs of digits; the value is only looked at, the digits stay in the raw text.
MAX_DIGITS = 4000


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


DECODER = json.JSONDecoder(parse_int=_parse_int)


def read_json(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the records of a JSON or JSON-lines file, and a problem for each one that cannot be decoded.

    Args:
        stream: the file, at its start and seekable.
        source: the file's name, for problems.

    Raises:
        DataError: the document wraps several lists, so that it is unclear which one holds the records.
    """
    if _is_lines(stream):
        yield from _read_lines(stream, source)
        return
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    yield from _read_document(text, source)


def compact(text: str) -> str:
    """Removes the whitespace between the tokens of a JSON text; strings and all other tokens stay as they are."""
    return "".join(TOKENS.findall(text))


def _is_lines(stream: BinaryIO) -> bool:
    """Whether each line is a record; leaves the stream at its start."""
    first = ""
    while not first:
        line = stream.readline()
        if not line:
            break
        first = _line_text(line)
    more = any(_line_text(line) for line in stream)
    stream.seek(0)
    if first[:1] not in ("{", "["):
        return True
    try:
        DECODER.decode(first)
    except json.JSONDecodeError as error:
        if first[0] == "[":
            return False
        # A document's first line stops short at its end; a broken line of a JSON-lines file breaks before that.
        return error.pos < len(first) - 1 or not _decodes_whole(stream)
    except RecursionError:
        return more
    return more


def _decodes_whole(stream: BinaryIO) -> bool:
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    stream.seek(0)
    try:
        DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _line_text(line: bytes) -> str:
    return line.decode("utf-8-sig", "surrogateescape").strip(WHITESPACE)


def _read_lines(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    # A binary stream ends its lines at b"\n" only; U+2028 and U+0085 inside a string stay where they are.
    for number, line in enumerate(stream, start=1):
        text = _line_text(line)
        if not text:
            continue
        try:
            value = DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            yield _not_json(error, text, 0, source, number, "Mend the line, or remove it.")
            continue
        yield checked(RawRecord(source, number, _one_line(text), value))


def _one_line(text: str) -> str:
    """A record's text as it is when it is one line already, else with the whitespace between its tokens removed."""
    # A carriage return between tokens is legal JSON, but many readers would see two lines.
    return compact(text) if "\n" in text or "\r" in text else text


def _read_document(text: str, source: str) -> Iterator[RawRecord | Problem]:
    start = _next(text, 0)
    if text[start : start + 1] == "[":
        try:
            first = DECODER.raw_decode(text, _next(text, start + 1))[0]
        except (ValueError, RecursionError):
            first = None
        if not (is_turn(first) and detect_format(first) is None):
            rest = text[(yield from _walk_array(text, start, source)) :].strip(WHITESPACE)
            if rest:
                yield problem("not-json", source, 1, "", "text follows the list of records", "Remove it.", rest)
            return
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        yield _not_json(error, text[start:], 0, source, 1, "Mend the file.")
        return
    key = _wrapped_list(value, source)
    if key is None:
        record = text.strip(WHITESPACE)
        # Alone on its line it is a record of JSON lines, and counted as one.
        number = 1 if "\n" in record else 1 + text[:start].count("\n")
        yield checked(RawRecord(source, number, _one_line(record), value))
    else:
        yield from _walk_array(text, _value_start(text, start, key), source)


def _wrapped_list(value: object, source: str) -> str | None:
    """The key of the one list of records inside an object that is not a record itself."""
    if not isinstance(value, Mapping) or detect_format(value) is not None:
        return None
    keys = [key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict | list)]
    if len(keys) > 1:
        raise DataError(f"{source} holds several lists ({name_list(keys)}); save the one to load as its own file.")
    return keys[0] if keys else None


def _value_start(text: str, start: int, key: str) -> int:
    """Position of the value of a top-level key in an object known to decode; the last one, if the key repeats."""
    found = start
    position = _next(text, start + 1)
    while text[position] != "}":
        name, position = DECODER.raw_decode(text, position)
        position = _next(text, _next(text, position) + 1)
        if name == key:
            found = position
        _, position = DECODER.raw_decode(text, position)
        position = _next(text, position)
        if text[position] == ",":
            position = _next(text, position + 1)
    return found


def _walk_array(text: str, start: int, source: str) -> Generator[RawRecord | Problem, None, int]:
    """Yields the elements of the array that opens at `start`, and returns the position after it.

    A broken element becomes a problem and is stepped over; a missing or a superfluous comma costs no record.
    """
    number = 0
    broken = False
    position = _next(text, start + 1)
    while position < len(text) and text[position] != "]":
        number += 1
        begin = position
        try:
            value, position = DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            broken = True
            position = _skip_element(text, begin)
            yield _not_json(error, text[begin:position], begin, source, number, "Mend the record, or remove it.")
        else:
            broken = False
            yield checked(RawRecord(source, number, compact(text[begin:position]), value))
        position = _next(text, position)
        if text[position : position + 1] == ",":
            position = _next(text, position + 1)
    if position >= len(text) and not broken:
        what = "the file ends before the list of records is closed"
        remedy = "Check that the download or the export was complete."
        yield problem("not-json", source, number + 1, "", what, remedy, text[-EXCERPT_CHARACTERS:])
    return position + 1


def _skip_element(text: str, begin: int) -> int:
    """End of a broken element: the comma or bracket that ends it, brackets inside it being counted."""
    depth = 0
    for match in STRING_OR_MARK.finditer(text, begin):
        mark = match.group()
        if mark in "[{":
            depth += 1
        elif depth == 0 and mark in ",]}":
            # A stray "}" belongs to the broken element; a comma or "]" ends it.
            if mark != "}":
                return match.start()
        elif mark in "]}":
            depth -= 1
    return len(text)


def _next(text: str, position: int) -> int:
    match = NOT_SPACE.search(text, position)
    return match.start() if match else len(text)


def _not_json(
    error: ValueError | RecursionError, text: str, offset: int, source: str, number: int, remedy: str
) -> Problem:
    if isinstance(error, RecursionError):
        what = "the record is nested too deeply to be read"
    elif isinstance(error, json.JSONDecodeError):
        what = f"the record is not JSON ({error.msg} at character {error.pos - offset + 1})"
    else:
        what = f"the record is not JSON ({error})"
    return problem("not-json", source, number, "", what, remedy, text)
