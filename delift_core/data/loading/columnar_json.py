"""A table written as one JSON object, as pandas and `datasets` do, split into one record per row.

Layouts: {column: {label: cell}} (pandas' "columns"), {label: {column: cell}} ("index"), {column: [cells]}, and
{"columns": [names], "data": [[cells]]} ("split"). Cells keep their JSON text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.loading.json_scanner import DECODER, Span, compact, elements, members

TRIED_ROWS = 20  # at least one of the first rows must be readable
Row = Mapping[str, Span]


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
        parse_record(format, record)
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
