"""The values of a JSON text and their positions, so that a part can be copied or replaced byte for byte.

A table written as one object, as pandas and `datasets` do, is split into one record per row. Its layouts: {column:
{label: cell}} (pandas' "columns"), {label: {column: cell}} ("index"), {column: [cells]}, and {"columns": [names],
"data": [[cells]]} ("split"). Cells keep their JSON text.
"""

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from delift_core.data.formats import RecordError, detect_format, parse_record

WHITESPACE = " \t\r\n"
STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKENS = re.compile(rf'{STRING}|[^" \t\r\n]+', re.DOTALL)
NON_SPACE = re.compile(r"[^ \t\r\n]|\Z")
# Python refuses to convert longer numbers. Their value is not used: the digits stay in the raw text.
MAX_DIGITS = 4000
MAX_DEPTH = 500

# Numbers that Python writes and reads, and that JSON does not have.
_STRING_OR_CONSTANT = re.compile(rf"{STRING}|(-?Infinity|NaN)", re.DOTALL)

TRIED_ROWS = 20  # at least one of the first rows of a table must be readable

Span = tuple[int, int]
Row = Mapping[str, Span]


def parse_int(digits: str) -> int | float:
    """Converts a whole number, to a float if Python would refuse its length."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


class _Decoder(json.JSONDecoder):
    """Refuses values that are nested deeper than a function that calls itself can follow in every Python."""

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        value, end = super().raw_decode(s, idx)
        if s.count("[", idx, end) + s.count("{", idx, end) > MAX_DEPTH:
            _check_depth(value)
        return value, end


def _check_depth(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        parts = chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [part for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise RecursionError(f"nested more than {MAX_DEPTH} deep")


DECODER = _Decoder(parse_int=parse_int)


def compact(text: str) -> str:
    """Removes the whitespace between the tokens of a JSON text."""
    return "".join(TOKENS.findall(text))


def to_strict_json(text: str) -> str:
    """Replaces NaN and Infinity, which JSON does not have, with null."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _STRING_OR_CONSTANT.sub(lambda match: "null" if match[1] else match[0], text)


def next_token(text: str, position: int) -> int:
    """Position of the next token, or the end of the text."""
    match = NON_SPACE.search(text, position)
    return match.start() if match else len(text)


def members(text: str, start: int) -> Iterator[tuple[str, Span]]:
    """Keys and value positions of the object at `start` in a valid JSON text."""
    position = next_token(text, start + 1)
    while text[position] != "}":
        name, position = DECODER.raw_decode(text, position)
        begin = next_token(text, next_token(text, position) + 1)
        _, end = DECODER.raw_decode(text, begin)
        yield name, (begin, end)
        position = _after_comma(text, end)


def elements(text: str, start: int) -> Iterator[Span]:
    """Positions of the elements of the list at `start` in a valid JSON text."""
    position = next_token(text, start + 1)
    while text[position] != "]":
        _, end = DECODER.raw_decode(text, position)
        yield position, end
        position = _after_comma(text, end)


def _after_comma(text: str, end: int) -> int:
    """Position of the next member, or of the closing bracket."""
    position = next_token(text, end)
    return next_token(text, position + 1) if text[position] == "," else position


@dataclass(frozen=True, slots=True)
class ValueSpan:
    """A value in the JSON text of a record.

    Attributes:
        path: such as "conversations[1].value"; "" for the record itself.
        start: position of its first character.
        end: position after its last character, quotes and brackets included.
        text: the decoded string; None for a value of another type.
    """

    path: str
    start: int
    end: int
    text: str | None = None


def value_spans(raw: str) -> Iterator[ValueSpan]:
    """Every value in a valid JSON text, without keys; a container comes after the values in it."""
    yield from _spans(raw, next_token(raw, 0), "")


def replace_spans(raw: str, values: Mapping[ValueSpan, str]) -> str:
    """Replaces values, none of which lies within another, by other JSON text."""
    for span in sorted(values, key=lambda span: -span.start):  # from the end, so that positions stay valid
        raw = raw[: span.start] + values[span] + raw[span.end :]
    return raw


def replace_texts(raw: str, texts: Mapping[ValueSpan, str]) -> str:
    """Replaces strings, escaped as the record is: with ASCII alone only if the record is ASCII.

    A string that is equal to the present one keeps its spelling.
    """
    changed = {span: text for span, text in texts.items() if text != span.text}
    return replace_spans(raw, {span: json.dumps(text, ensure_ascii=raw.isascii()) for span, text in changed.items()})


def _spans(raw: str, start: int, path: str) -> Generator[ValueSpan, None, int]:
    """The values in the one at `start`, and then this one; returns its end. Each character is decoded once, however
    deep it is nested."""
    text = None
    if raw[start] not in "{[":
        value, end = DECODER.raw_decode(raw, start)
        text = value if isinstance(value, str) else None
    else:
        index, position = 0, next_token(raw, start + 1)
        while raw[position] not in "}]":
            inner = f"{path}[{index}]"
            if raw[start] == "{":
                name, position = DECODER.raw_decode(raw, position)
                position = next_token(raw, next_token(raw, position) + 1)
                inner = f"{path}.{name}" if path else name
            inner_end = yield from _spans(raw, position, inner)
            index, position = index + 1, _after_comma(raw, inner_end)
        end = position + 1
    yield ValueSpan(path, start, end, text)
    return end


def table_rows(text: str, start: int, value: object) -> Iterator[tuple[str, object]] | None:
    """The JSON text and the value of each row; None if an object is not a table.

    Args:
        text: the JSON text.
        start: position of the object in it.
        value: the decoded object.
    """
    if not isinstance(value, Mapping) or len(value) == 0:
        return None
    if _is_split(value):
        return _records(text, _split_rows(text, start, value))
    if is_readable(value):
        return None
    cells = list(value.values())
    if all(isinstance(one, Mapping) and one for one in cells):
        labels = [str(label) for label in cells[0]]
        if all(list(one) == labels for one in cells) and _are_columns(value, labels):
            return _records(text, _from_columns(text, start, labels))
        if _are_rows(value):
            return _records(text, (dict(members(text, span[0])) for _, span in members(text, start)))
    elif all(isinstance(one, list) and len(one) == len(cells[0]) > 0 for one in cells) and _are_lists(value):
        return _records(text, _from_lists(text, start))
    return None


def is_readable(record: object) -> bool:
    """Whether a record can be read, if necessary once an answer is chosen."""
    format = detect_format(record)
    if format is None or format == "preference":
        return format is not None
    try:
        parse_record(format, record, text_only=True)
    except RecordError:
        return False
    return True


def _is_split(value: Mapping[str, object]) -> bool:
    names, data = value.get("columns"), value.get("data")
    return (
        isinstance(names, list)
        and isinstance(data, list)
        and len(data) > 0
        and all(isinstance(name, str) for name in names)
        and all(isinstance(row, list) and len(row) == len(names) for row in data)
    )


def _are_columns(value: Mapping[str, Mapping[str, object]], labels: Sequence[str]) -> bool:
    rows = ({name: column[label] for name, column in value.items()} for label in labels)
    return _any_readable(rows) or _are_numbers(labels)


def _are_rows(value: Mapping[str, object]) -> bool:
    return _any_readable(value.values()) or _are_numbers(value)


def _are_lists(value: Mapping[str, Sequence[object]]) -> bool:
    lists = list(value.values())
    if _any_readable(dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)):
        return True
    several = len(lists) > 1 and len(lists[0]) > 1
    return several and not any(isinstance(cell, dict | list) for one in lists for cell in one)


def _any_readable(rows: Iterable[object]) -> bool:
    return any(is_readable(row) for row in islice(rows, TRIED_ROWS))


def _are_numbers(labels: Iterable[str]) -> bool:
    """Whether row labels are the numbers that pandas assigns."""
    return all(label.isascii() and label.removeprefix("-").isdigit() for label in labels)


def _split_rows(text: str, start: int, value: Mapping[str, object]) -> Iterator[Row]:
    names = value["columns"]
    data = dict(members(text, start))["data"]
    for begin, _ in elements(text, data[0]):
        yield dict(zip(names, elements(text, begin), strict=True))  # type: ignore[call-overload]


def _from_columns(text: str, start: int, labels: Iterable[str]) -> Iterator[Row]:
    columns = {name: dict(members(text, span[0])) for name, span in members(text, start)}
    return ({name: cells[label] for name, cells in columns.items()} for label in labels)


def _from_lists(text: str, start: int) -> Iterator[Row]:
    columns = {name: list(elements(text, span[0])) for name, span in members(text, start)}
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _records(text: str, rows: Iterable[Row]) -> Iterator[tuple[str, object]]:
    for row in rows:
        cells = (f"{json.dumps(name)}: {compact(text[begin:end])}" for name, (begin, end) in row.items())
        raw = f"{{{', '.join(cells)}}}"
        yield raw, DECODER.decode(raw)
