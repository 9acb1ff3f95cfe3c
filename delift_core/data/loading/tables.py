"""Raw records from the rows of CSV, TSV, Parquet and Arrow files.

CSV cells stay text ("NA" and "None" are words, "1.0" is not a number). In an Arrow table all objects of a column have
the same keys, so a tool call gets the arguments of all others as null; a missing number is NaN; and JSON may be text in
a type of its own: a record is the row without that.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from delift_core.data.formats.base import name_list
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.raw_records import RawRecord, check_encoding, dump, problem
from delift_core.data.loading.size_limits import (
    ROW_COST,
    VALUE_COST,
    Allowance,
    check_buffers,
    contains_type,
    refuse_unions,
    stream_size,
    unpacked_bytes,
    without_dictionaries,
)
from delift_core.errors import DataError
from delift_core.samples import Problem

if TYPE_CHECKING:
    from _csv import Reader

    import pyarrow as pa
    import pyarrow.parquet as pq

# The csv module's default limit of 128 KiB is too small for documents in a cell.
MAX_CELL_CHARACTERS = 2**31 - 1
PARQUET_BATCH_ROWS = 1024
PIECE_BYTES = 64 << 20  # limit on the rows that are converted at once
SEPARATOR_LINE = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=([,;|:\t ])"?\r?\n?', re.IGNORECASE)
ARROW_FILE_MARK = b"ARROW1"
ARROW_FILE_START = 8  # the mark, padded
ARROW_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
# Inside these keys a null has no meaning: arguments of calls, and definitions of tools.
FILLED_KEYS = frozenset({"arguments", "args", "parameters", "properties", "input_schema", "tools", "functions"})
CALL_INPUT = "input"  # the arguments of a tool_use block if it is an object; a prompt's input is text


def read_csv(stream: BinaryIO, source: str, suffix: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of a CSV or TSV file as objects of text; cells missing at the end of a row are null.

    Args:
        stream: the file, at its start and seekable.
        source: the file's name, for problems.
        suffix: ".tsv" for tabs; ".csv" for commas, or for semicolons or tabs if the header has more of them. A first
            line such as Excel's sep=; takes precedence.

    Raises:
        DataError: the header cannot be read, or names a column twice.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    announced = _read_separator_line(stream)
    delimiter = announced or ("\t" if suffix == ".tsv" else _guess_delimiter(stream))
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from _rows(csv.reader(text, delimiter=delimiter, strict=True), source)


def read_parquet(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of a Parquet file, nested values included.

    Raises:
        DataError: the file is not Parquet, is damaged, names a column twice, or unpacks to too much.
    """
    import pyarrow.parquet as pq

    allowance = Allowance(source, stream_size(stream))

    def batches() -> Iterator["pa.RecordBatch"]:
        table = pq.ParquetFile(stream)
        _refuse_repeated_names(table.schema_arrow.names, source)
        refuse_unions(table.schema_arrow, source)
        _read_one_row_each(table, Allowance(source, stream_size(stream)))
        chunks = _column_chunks(table.metadata)
        sizes = (max(chunk.total_uncompressed_size, VALUE_COST * chunk.num_values, 0) for chunk in chunks)
        Allowance(source, stream_size(stream)).take(sum(sizes))
        # As a dictionary, a text that a million rows repeat is held in memory once.
        repeated = {chunk.path_in_schema for chunk in chunks if "RLE_DICTIONARY" in chunk.encodings}
        texts = {chunk.path_in_schema for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"}
        stream.seek(0)
        packed = pq.ParquetFile(stream, read_dictionary=sorted(repeated & texts))
        for group in range(table.num_row_groups):  # a batch cannot hold the dictionaries of two groups
            yield from packed.iter_batches(batch_size=_batch_rows_for(chunks), row_groups=[group])

    return _batch_rows(batches(), source, "Parquet", allowance)


def read_arrow(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of an Arrow file or stream (which `datasets` saves), nested values included.

    A stream that was cut between two batches looks complete, so a missing end mark becomes a problem.

    Raises:
        DataError: the file is neither, is damaged, names a column twice, or unpacks to too much.
    """
    import pyarrow as pa

    allowance = Allowance(source, stream_size(stream))
    is_file = stream.read(len(ARROW_FILE_MARK)) == ARROW_FILE_MARK
    stream.seek(0)

    def batches() -> Iterator["pa.RecordBatch"]:
        wanted = None
        if is_file:  # a stream between a magic string and a footer; only the stream is checked and read
            with pa.ipc.open_file(stream) as file:
                wanted = file.num_record_batches
            stream.seek(ARROW_FILE_START)
        check_buffers(stream, Allowance(source, stream_size(stream)), ARROW_FILE_START if is_file else 0)
        found = 0
        with pa.ipc.open_stream(stream) as reader:
            _refuse_repeated_names(reader.schema.names, source)
            refuse_unions(reader.schema, source)
            for found, batch in enumerate(reader, start=1):  # noqa: B007  # counted on purpose
                yield batch
        if wanted is not None and found != wanted:
            raise ValueError(f"it holds {found} batches and names {wanted}")

    number, whole = 0, is_file or _ends_with(stream, ARROW_STREAM_END)
    for number, row in enumerate(_batch_rows(batches(), source, "Arrow", allowance), start=1):  # noqa: B007  # counted on purpose
        yield row
    if not whole:
        what, remedy = "the stream has no end mark, so rows may be missing", "Compare it with its source."
        yield problem("cut-short", source, number + 1, "", what, remedy, "")


def _batch_rows(
    batches: Iterator["pa.RecordBatch"], source: str, kind: str, allowance: Allowance
) -> Iterator[RawRecord | Problem]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            # A damaged file can hold offsets outside its data, which would crash the process.
            batch.validate(full=True)
            record = record_maker(batch.schema)
            for piece in _bounded_pieces(batch, allowance):
                for row in map(record, piece.to_pylist(maps_as_pydicts="strict")):
                    number += 1
                    yield check_encoding(RawRecord(source, number, dump(row), row))
    # A KeyError is raised if schema and data name a column differently.
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, KeyError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160]
        where = f" after row {number}" if number else ""
        raise DataError(f"{source} cannot be read as {kind}{where} ({reason}); write the file again.") from error


def _bounded_pieces(batch: "pa.RecordBatch", allowance: Allowance) -> Iterator["pa.RecordBatch"]:
    """Splits a batch into pieces of at most `PIECE_BYTES`, with dictionaries replaced by their values.

    Raises:
        DataError: the rows so far take more than is allowed.
    """
    for start in range(0, batch.num_rows, PARQUET_BATCH_ROWS):
        waiting = [batch.slice(start, PARQUET_BATCH_ROWS)]
        while waiting:
            part = waiting.pop()
            size = sum(unpacked_bytes(column) for column in part.columns)
            if size > PIECE_BYTES and part.num_rows > 1:
                half = part.num_rows // 2
                waiting += [part.slice(half), part.slice(0, half)]
                continue
            allowance.take(size + ROW_COST * part.num_rows)
            yield without_dictionaries(part)


def _read_one_row_each(table: "pq.ParquetFile", allowance: Allowance) -> None:
    """Reads one row of each group, which raises an error for damaged column metadata.

    Asking pyarrow for the metadata itself would crash the process.
    """
    groups = range(table.num_row_groups)
    allowance.take(sum(max(table.metadata.row_group(group).total_byte_size, 0) for group in groups))
    for group in groups:
        next(table.iter_batches(batch_size=1, row_groups=[group]), None)


def _column_chunks(metadata: "pq.FileMetaData") -> list["pq.ColumnChunkMetaData"]:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    return [group.column(at) for group in groups for at in range(group.num_columns)]


def _batch_rows_for(chunks: Sequence["pq.ColumnChunkMetaData"]) -> int:
    """Rows of a batch: few for delta encoding, in which a value shares its beginning with the one before it."""
    sharing = [chunk.total_uncompressed_size for chunk in chunks if "DELTA_BYTE_ARRAY" in chunk.encodings]
    return max(1, min(PARQUET_BATCH_ROWS, PIECE_BYTES // max(1, *sharing))) if sharing else PARQUET_BATCH_ROWS


def _rows(rows: "Reader", source: str) -> Iterator[RawRecord | Problem]:
    number = 0
    header: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                raise DataError(f"the header of {source} is not CSV ({error}); fix its quotes.") from error
            number += 1
            what = f"the row is not CSV ({error}, near line {rows.line_num} of the file)"
            yield problem("not-an-object", source, number, "", what, "Quote the cell and double the quotes in it.", "")
            continue
        if not row:
            continue
        if header is None:
            header = row
            _refuse_repeated_names(header, source)
            continue
        number += 1
        yield _row_record(header, row, number, source)


def _row_record(header: Sequence[str], row: Sequence[str], number: int, source: str) -> RawRecord | Problem:
    if len(row) > len(header):
        what = f"the row has {len(row)} cells and the header {len(header)}"
        remedy = "Put quotes around cells that contain the separator."
        return problem("not-an-object", source, number, "", what, remedy, ",".join(row))
    padded = [*row, *([None] * (len(header) - len(row)))]
    value = dict(zip(header, padded, strict=True))
    return check_encoding(RawRecord(source, number, dump(value), value))


def _ends_with(stream: BinaryIO, mark: bytes) -> bool:
    """Whether a stream ends with `mark`; leaves it at its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - len(mark)))
    found = stream.read() == mark
    stream.seek(0)
    return found


def _read_separator_line(stream: BinaryIO) -> str | None:
    """The delimiter that a line before the header announces; leaves the stream at the header."""
    line = SEPARATOR_LINE.fullmatch(stream.readline())
    if line is None:
        stream.seek(0)
    return line[1].decode("ascii") if line else None


def _guess_delimiter(stream: BinaryIO) -> str:
    start = stream.tell()
    header = stream.readline().decode("utf-8-sig", "surrogateescape")
    stream.seek(start)
    # max() returns the first of equals, so a single column is read as comma-separated.
    return max((",", ";", "\t"), key=header.count)


def _refuse_repeated_names(header: Sequence[str], source: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{source} names a column twice ({name_list(repeated)}); rename one of them.")


def record_maker(schema: "pa.Schema") -> Callable[[dict[str, object]], dict[str, object]]:
    """A function that converts rows of a schema, with maps as dictionaries, to records."""
    texts = {field.name: field.type for field in schema if contains_type(field.type, _is_json)}
    filled = {field.name for field in schema if field.name not in texts and contains_type(field.type, _may_be_filled)}

    def record(row: dict[str, object]) -> dict[str, object]:
        if not texts and not filled:
            return row
        decoded = {name: _decoded(row[name], kind) for name, kind in texts.items()}  # JSON keeps its own keys
        return {**row, **decoded, **remove_fill({name: row[name] for name in filled})}

    return record


def remove_fill(value: Mapping[str, object]) -> dict[str, object]:
    """A row with null for NaN, and without the nulls in tool calls and tool definitions."""
    return {key: _without_fill(item, _has_fill(key, item)) for key, item in value.items()}


def _without_fill(value: object, filled: bool) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        items = ((key, _without_fill(item, filled or _has_fill(key, item))) for key, item in value.items())
        return {key: item for key, item in items if not (filled and item is None)}
    if isinstance(value, list | tuple):
        return [_without_fill(item, filled) for item in value]
    return value


def _has_fill(key: str, value: object) -> bool:
    return key in FILLED_KEYS or (key == CALL_INPUT and isinstance(value, Mapping))


def _is_json(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.JsonType)


def _may_be_filled(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind))


def _decoded(value: object, kind: "pa.DataType") -> object:
    """A value with its JSON texts decoded; invalid JSON stays text."""
    import pyarrow as pa

    if value is None:
        return None
    if _is_json(kind):
        try:
            return DECODER.decode(str(value))
        except (ValueError, RecursionError):
            return value
    if isinstance(value, Mapping):
        if pa.types.is_map(kind):
            return {key: _decoded(item, kind.item_type) for key, item in value.items()}
        return {key: _decoded(item, kind.field(key).type) for key, item in value.items()}
    return [_decoded(item, kind.value_type) for item in value] if isinstance(value, list) else value
