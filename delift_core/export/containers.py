"""Writes rows as JSON lines, Parquet or CSV, by the suffix of the file.

JSON lines hold every record unchanged. Tables lose the difference between null, missing and (in CSV) empty; anything
else that they cannot hold is refused before writing. In a table all objects of a column have the same keys, so a column
whose objects differ is written as JSON text, in Arrow's type for it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from delift_core.data.formats.base import ROLE_KEYS, describe
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.source_files import COMPRESSED
from delift_core.data.loading.tables import remove_fill
from delift_core.errors import ExportError
from delift_core.export.writers import write_chunks, write_lines
from delift_core.samples import ExportFormat, Formulas, Sample

if TYPE_CHECKING:
    import pyarrow as pa

_UNSUPPORTED_SUFFIXES = (".tsv", ".arrow", ".feather", ".xlsx", ".xls", ".zip", ".tar", ".tgz", *COMPRESSED)
Container = Literal["jsonl", "parquet", "csv"]
_MANIFEST_BYTES_PER_ROW = 300  # a lower bound: the manifest has an entry for every row of the pool
# A spreadsheet runs a cell that begins like this (full-width forms too) as a formula, which can execute commands.
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written."""

    sha256: str  # of the file (hex)
    rows: int
    json_columns: tuple[str, ...] = ()  # the columns of a table that hold JSON text


def container_of(path: Path) -> Container:
    """The container for a file name: JSON lines unless it ends in .parquet or .csv.

    Raises:
        ExportError: the suffix is that of another kind of file.
    """
    suffix = path.suffix.lower()
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise ExportError(f"{path.name}: files ending in {suffix} are not written; end it in .jsonl, .parquet or .csv")
    suffixes: dict[str, Container] = {".parquet": "parquet", ".csv": "csv"}
    return suffixes.get(suffix, "jsonl")


def json_text_columns(container: Container, lines: Iterable[str]) -> tuple[str, ...]:
    """The columns that would be written as JSON text.

    Raises:
        ExportError: a table cannot hold the rows.
    """
    if container == "jsonl":
        return ()
    records = _decode_objects(lines)
    if container == "parquet":
        return _json_columns(table_of(records))
    columns = _columns(records)
    for number, record in enumerate(records, start=1):
        _csv_row(record, columns, number, "keep")
    return ()


def describe_json_columns(columns: Iterable[str]) -> str:
    """A sentence about columns that hold JSON text, and how to read them."""
    return (
        f"{', '.join(columns)}: written as JSON text, since a table would give their objects the keys of all others; "
        "datasets from version 4.7 on reads it as objects, other readers need json.loads"
    )


def min_export_bytes(path: Path, samples: Sequence[Sample], rows: int, format: ExportFormat) -> int:
    """A lower bound for the size of an export of some rows of a pool, with its manifest."""
    unchanged = format == "same" and container_of(path) == "jsonl"  # tables compress rows, formats drop fields
    written = sorted(len(sample.raw) for sample in samples)[:rows] if unchanged else []
    return sum(written) + _MANIFEST_BYTES_PER_ROW * len(samples)


def write_rows(path: Path, lines: Iterable[str], *, formulas: Formulas = "keep") -> WrittenFile:
    """Writes one row for each line of JSON, in the container for the path.

    Args:
        formulas: "quote" puts an apostrophe before CSV cells and column names that a spreadsheet would run as a
            formula; the trainer sees the apostrophe too.

    Raises:
        ExportError: a table cannot hold the rows, or as `write_lines`. Nothing is written then.
    """
    kind = container_of(path)
    if kind == "jsonl":
        return WrittenFile(*write_lines(path, lines))
    records = _decode_objects(lines)
    if kind == "csv":
        columns = _columns(records)
        rows = [_csv_row(record, columns, number, formulas) for number, record in enumerate(records, start=1)]
        digest, _ = write_chunks(path, _csv_lines([[_text(name, formulas) for name in columns], *rows]))
        return WrittenFile(digest, len(records))
    table = table_of(records)
    digest, _ = write_chunks(path, [_parquet(table)])
    return WrittenFile(digest, len(records), _json_columns(table))


def table_of(records: Sequence[Mapping[str, object]]) -> "pa.Table":
    """Converts records to a table; a column whose objects differ in keys or types holds JSON text.

    Raises:
        ExportError: the values of a column are of several types.
    """
    import pyarrow as pa

    return pa.table({name: _to_array(name, [record.get(name) for record in records]) for name in _columns(records)})


def unquote_formula(cell: str) -> str:
    """Removes the apostrophe that `write_rows` puts before a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell


def _decode_objects(lines: Iterable[str]) -> list[Mapping[str, object]]:
    records: list[Mapping[str, object]] = []
    for number, line in enumerate(lines, start=1):
        record = DECODER.decode(line)
        if not isinstance(record, dict):
            raise ExportError(
                f"row {number:,} is {describe(record)}, not an object, which a table cannot hold; write to a .jsonl "
                "file, or choose a format"
            )
        records.append(record)
    return records


def _columns(records: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


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


def _parquet(table: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    # Without Arrow's schema, readers that do not know its JSON type read the column as text.
    pq.write_table(table, out, store_schema=False)
    return out.getvalue()


def _json_columns(table: "pa.Table") -> tuple[str, ...]:
    import pyarrow as pa

    return tuple(field.name for field in table.schema if isinstance(field.type, pa.JsonType))


def _to_array(column: str, values: Sequence[object]) -> "pa.Array":
    import pyarrow as pa

    nested = any(isinstance(value, dict | list) for value in values)
    reason = "values of several types"
    try:
        array = pa.array(values)
        if not nested or (_is_storable(array.type) and _round_trips(column, array.to_pylist(), values)):
            return array
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
    if not nested:
        raise ExportError(
            f"the field {column!r} cannot be a Parquet column ({reason}); write to a .jsonl file, or choose a format"
        )
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def _is_storable(kind: "pa.DataType") -> bool:
    """Whether Parquet can hold a type: not if an object in it has no keys."""
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return False
    return all(_is_storable(kind.field(at).type) for at in range(kind.num_fields))


def _round_trips(column: str, found: Sequence[object], values: Sequence[object]) -> bool:
    """Whether the values of a column are read back from a table unchanged, apart from null fields of turns."""
    pairs = zip(found, values, strict=True)
    kept = all(json.dumps(_without_null_fields(one)) == json.dumps(_without_null_fields(other)) for one, other in pairs)
    return kept and all(remove_fill({column: value})[column] == value for value in values)


def _without_null_fields(value: object) -> object:
    """A list of turns with sorted keys and without null fields, which readers treat as missing."""
    if not isinstance(value, list):
        return value
    return [
        {key: turn[key] for key in sorted(turn) if turn[key] is not None}
        if isinstance(turn, Mapping) and any(key in turn for key in ROLE_KEYS)
        else turn
        for turn in value
    ]
