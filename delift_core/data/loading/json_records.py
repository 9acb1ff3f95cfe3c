"""Raw records from JSON lines and JSON documents, told apart by content.

A document is an array of records, an object with one such array, a table as one object (see `json_scanner`), a single
record, or a sequence of records that span lines. Records keep their JSON text: numbers, escapes, key order and
duplicate keys stay byte for byte; the whitespace between tokens is removed if a record is not one line.
"""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import BinaryIO

from delift_core.data.formats import detect_format
from delift_core.data.formats.base import name_list
from delift_core.data.formats.platform_records import is_single_message
from delift_core.data.formats.turn_spellings import is_known_turn
from delift_core.data.formats.turns import is_turn
from delift_core.data.loading.json_scanner import (
    DECODER,
    STRING,
    WHITESPACE,
    compact,
    members,
    next_token,
    table_rows,
)
from delift_core.data.loading.raw_records import EXCERPT_CHARACTERS, RawRecord, check_encoding, problem
from delift_core.errors import DataError
from delift_core.samples import Problem

STRING_OR_MARK = re.compile(rf"{STRING}|[\[\]{{}},]", re.DOTALL)
NEXT_RECORD = re.compile(r"\n[ \t]*\{")


def read_json(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the records of a JSON or JSON-lines file, and a problem for each record that cannot be decoded.

    Args:
        stream: the file, at its start and seekable.
        source: the file's name, for problems.

    Raises:
        DataError: the document holds several lists, so that it is unclear which one has the records.
    """
    if _is_lines(stream):
        yield from _read_lines(stream, source)
        return
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    yield from _read_document(text, source)


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
        _, end = DECODER.raw_decode(first)
    except json.JSONDecodeError as error:
        if first[0] == "[":
            return False
        # The first line of a document is incomplete at its end; a broken JSON line breaks before its end.
        return error.pos < len(first) - 1 or not _opens_with_a_value(stream)
    except RecursionError:
        return more
    rest = first[end:].strip(WHITESPACE)
    if not rest or (rest == "," and more):
        return more
    # Several records on a single line are a document, as is a list followed by more text.
    return first[0] == "{" and (more or rest[0] not in "{,")


def _opens_with_a_value(stream: BinaryIO) -> bool:
    """Whether the text begins with a value that spans lines; leaves the stream at its start."""
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    stream.seek(0)
    try:
        DECODER.raw_decode(text, next_token(text, 0))
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
            record = _before_comma(text)
            if record is None:
                yield _not_json(error, text, 0, source, number, _remedy_of_line(text))
                continue
            text, value = record
        yield check_encoding(RawRecord(source, number, _one_line(text), value))


def _before_comma(text: str) -> tuple[str, object] | None:
    """The record on a line that ends with a comma, as in a list without its brackets."""
    try:
        value, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return (text[:end], value) if text[end:].strip(WHITESPACE) == "," else None


def _remedy_of_line(text: str) -> str:
    if re.match(r"[\[{]+\s*'", text):
        return "It is a Python literal; write the rows with json.dumps."
    return "Put each record on its own line." if re.search(r"\}\s*,?\s*\{", text) else "Fix the line, or remove it."


def _one_line(text: str) -> str:
    """A record's text, with the whitespace between tokens removed if it is not one line."""
    # A carriage return between tokens is legal JSON, but many readers take it for a line end.
    return compact(text) if "\n" in text or "\r" in text else text


def _read_document(text: str, source: str) -> Iterator[RawRecord | Problem]:
    start = next_token(text, 0)
    if text[start : start + 1] == "[":
        try:
            first = DECODER.raw_decode(text, next_token(text, start + 1))[0]
        except (ValueError, RecursionError):
            first = None
        is_bare_list = is_turn(first) or is_known_turn(first)
        if not is_bare_list or detect_format(first) is not None or is_single_message(first):
            rest = text[(yield from _walk_array(text, start, source)) :].strip(WHITESPACE)
            if rest:
                yield problem("not-json", source, 1, "", "text follows the list of records", "Remove it.", rest)
            return
    try:
        value, end = DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        yield _not_json(error, text[start:], start, source, 1, "Fix the file.")
        return
    if next_token(text, end) < len(text):
        yield from _walk(text, start, source, in_array=False)
        return
    rows = table_rows(text, start, value)
    if rows is not None:
        yield from (check_encoding(RawRecord(source, at, raw, row)) for at, (raw, row) in enumerate(rows, start=1))
        return
    key = _wrapped_list(value, source)
    if key is None:
        record = text.strip(WHITESPACE)
        # A record on a single line is counted as in JSON lines.
        number = 1 if "\n" in record else 1 + text[:start].count("\n")
        yield check_encoding(RawRecord(source, number, _one_line(record), value))
    else:
        # If the key occurs twice, the last one counts.
        yield from _walk_array(text, dict(members(text, start))[key][0], source)


def _wrapped_list(value: object, source: str) -> str | None:
    """The key of the only list of records in an object that is not a record itself."""
    if not isinstance(value, Mapping) or detect_format(value) is not None:
        return None
    keys = [key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict | list)]
    if len(keys) > 1:
        raise DataError(f"{source} holds several lists ({name_list(keys)}); save the one to load as its own file.")
    return keys[0] if keys else None


def _walk_array(text: str, start: int, source: str) -> Generator[RawRecord | Problem, None, int]:
    """Yields the elements of the array at `start`, and returns the position after it."""
    position, count, broken = yield from _walk(text, next_token(text, start + 1), source, in_array=True)
    if position >= len(text) and not broken:
        what = "the file ends before the list of records is closed"
        remedy = "Check that the download or the export was complete."
        yield problem("not-json", source, count + 1, "", what, remedy, text[-EXCERPT_CHARACTERS:])
    return position + 1


def _walk(
    text: str, position: int, source: str, *, in_array: bool
) -> Generator[RawRecord | Problem, None, tuple[int, int, bool]]:
    """Yields successive records from a position on, to the end of the text or of the array.

    A broken record becomes a problem and is skipped; a missing or superfluous comma costs no record.

    Returns:
        (position, count, broken): where the records end, how many there are, and whether the last one is broken.
    """
    number, broken = 0, False
    while position < len(text) and not (in_array and text[position] == "]"):
        number += 1
        begin = position
        try:
            value, position = DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            broken = True
            position = _skip_element(text, begin) if in_array else _skip_record(text, begin)
            yield _not_json(error, text[begin:position], begin, source, number, "Fix the record, or remove it.")
        else:
            broken = False
            yield check_encoding(RawRecord(source, number, compact(text[begin:position]), value))
        position = next_token(text, position)
        if text[position : position + 1] == ",":
            position = next_token(text, position + 1)
    return position, number, broken


def _skip_record(text: str, begin: int) -> int:
    """Position of the next line that begins a record."""
    found = NEXT_RECORD.search(text, begin + 1)
    return found.end() - 1 if found else len(text)


def _skip_element(text: str, begin: int) -> int:
    """Position of the comma or bracket that ends a broken element, inner brackets counted."""
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
