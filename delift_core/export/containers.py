"""The file that rows are put into: JSON lines, Parquet or CSV, by the suffix of its name.

JSON lines hold every record as it is. Parquet and CSV are tables: what they cannot hold is refused before anything is
written, and only the difference between null, missing and (in CSV) empty is given up. Knows lines of JSON and one file.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from delift_core.errors import ExportError
from delift_core.export.writers import write_chunks, write_lines
from delift_core.formats.base import describe
from delift_core.sources.json_records import DECODER

Container = Literal["jsonl", "parquet", "csv"]
Formulas = Literal["keep", "quote"]
# A spreadsheet takes a cell that begins like this for a formula, which can run commands or fetch pages.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


def container_of(path: Path) -> Container:
    """What a file of this name is written as; JSON lines unless it ends in .parquet or .csv."""
    suffixes: dict[str, Container] = {".parquet": "parquet", ".csv": "csv"}
    return suffixes.get(path.suffix.lower(), "jsonl")


def write_rows(path: Path, lines: Iterable[str], *, formulas: Formulas = "keep") -> tuple[str, int]:
    """Writes one row for each line of JSON, as the name of the file says.

    Args:
        formulas: "quote" puts an apostrophe before CSV cells (and names of columns) that a spreadsheet would run as a
            formula; the trainer then sees the apostrophe too.

    Returns:
        (sha256, n): SHA-256 (hex) of the bytes, and how many rows there are.

    Raises:
        ExportError: a table cannot hold the rows, or as `write_lines`. Nothing is written then.
    """
    kind = container_of(path)
    if kind == "jsonl":
        return write_lines(path, lines)
    records = [_as_object(DECODER.decode(line), number) for number, line in enumerate(lines, start=1)]
    columns = list(dict.fromkeys(key for record in records for key in record))
    if kind == "csv":
        rows = [_csv_row(record, columns, number, formulas) for number, record in enumerate(records, start=1)]
        digest, _ = write_chunks(path, _csv_lines([[_text(name, formulas) for name in columns], *rows]))
    else:
        digest, _ = write_chunks(path, [_parquet(records, columns)])
    return digest, len(records)


def unquoted(cell: str) -> str:
    """A CSV cell without the apostrophe that `write_rows` put before a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell


def _as_object(record: object, number: int) -> Mapping[str, object]:
    if isinstance(record, dict):
        return record
    raise ExportError(
        f"row {number:,} is {describe(record)}, not an object, which a table cannot hold; write to a .jsonl file, or "
        "choose a format"
    )


def _csv_row(record: Mapping[str, object], columns: Sequence[str], number: int, formulas: Formulas) -> list[str]:
    return [_cell(record.get(column), column, number, formulas) for column in columns]


def _cell(value: object, column: str, number: int, formulas: Formulas) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise ExportError(
            f"row {number:,}, field {column!r} is {describe(value)}, which a CSV cell cannot hold; write to a .jsonl "
            "or .parquet file, or as alpaca"
        )
    if not isinstance(value, str):
        return json.dumps(value)
    return _text(value, formulas)


def _text(text: str, formulas: Formulas) -> str:
    return f"'{text}" if formulas == "quote" and text.startswith(FORMULA_STARTS) else text


def _csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(row)
        yield out.getvalue().encode("utf-8")


def _parquet(records: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for column in columns:
        values = [record.get(column) for record in records]
        try:
            array = pa.array(values)
            same = _without_nulls(array.to_pylist()) == _without_nulls(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            raise _no_column(column, " ".join(str(error).split())[:120]) from error
        if not same:
            raise _no_column(column, "values of several types")
        arrays[column] = array
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out)
    return out.getvalue()


def _no_column(column: str, reason: str) -> ExportError:
    return ExportError(
        f"the field {column!r} cannot be a Parquet column ({reason}); write to a .jsonl file, or choose a format"
    )


def _without_nulls(value: object) -> object:
    """Nulls of an object's keys taken out: in a table, a missing key and a null are the same."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
