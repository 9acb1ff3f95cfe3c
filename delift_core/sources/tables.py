"""Raw records from CSV, TSV, Parquet and Arrow: one row, one record.

CSV cells stay text ("NA" and "None" are words, "1.0" is not a number). Knows nothing of what the columns mean.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from delift_core.errors import DataError
from delift_core.formats.base import name_list
from delift_core.samples import Problem
from delift_core.sources.records import RawRecord, checked, dump, problem

if TYPE_CHECKING:
    from _csv import Reader

    import pyarrow as pa

# The csv module refuses cells beyond 128 KiB unless told; whole documents in a cell are ordinary here.
MAX_CELL_CHARACTERS = 2**31 - 1
PARQUET_BATCH_ROWS = 1024
ARROW_FILE_MARK = b"ARROW1"
ARROW_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_csv(stream: BinaryIO, source: str, suffix: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of a CSV or TSV file as objects of text; cells missing at the end of a row are null.

    Args:
        stream: the file, at its start and seekable.
        source: the file's name, for problems.
        suffix: ".tsv" reads tabs; ".csv" reads commas, or semicolons or tabs where the header has more of them.

    Raises:
        DataError: the header cannot be read, or names a column twice.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    delimiter = "\t" if suffix == ".tsv" else _delimiter(stream)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from _rows(csv.reader(text, delimiter=delimiter, strict=True), source)


def read_parquet(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of a Parquet file, nested values included.

    Raises:
        DataError: the file is not Parquet, is damaged, or names a column twice.
    """
    import pyarrow.parquet as pq

    def batches() -> Iterator["pa.RecordBatch"]:
        table = pq.ParquetFile(stream)
        _refuse_repeats(table.schema_arrow.names, source)
        yield from table.iter_batches(batch_size=PARQUET_BATCH_ROWS)

    return _batch_rows(batches(), source, "Parquet")


def read_arrow(stream: BinaryIO, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows of an Arrow file or stream (which `datasets` saves), nested values included.

    A stream that was cut between two batches reads as if it were whole; one that lacks the mark of its end is reported.

    Raises:
        DataError: the file is neither, is damaged, or names a column twice.
    """
    import pyarrow as pa

    is_file = stream.read(len(ARROW_FILE_MARK)) == ARROW_FILE_MARK
    stream.seek(0)

    def batches() -> Iterator["pa.RecordBatch"]:
        if not is_file:
            with pa.ipc.open_stream(stream) as reader:
                _refuse_repeats(reader.schema.names, source)
                yield from reader
            return
        with pa.ipc.open_file(stream) as reader:
            _refuse_repeats(reader.schema.names, source)
            yield from (reader.get_batch(at) for at in range(reader.num_record_batches))

    number, whole = 0, is_file or _ends_with(stream, ARROW_STREAM_END)
    for number, row in enumerate(_batch_rows(batches(), source, "Arrow"), start=1):  # noqa: B007  # counted on purpose
        yield row
    if not whole:
        what, remedy = "the stream has no mark of its end, so that rows may be missing", "Check it against its source."
        yield problem("cut-short", source, number + 1, "", what, remedy, "")


def _batch_rows(batches: Iterator["pa.RecordBatch"], source: str, kind: str) -> Iterator[RawRecord | Problem]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            # A damaged file can hold offsets that point outside its data, and reading those ends the process.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, PARQUET_BATCH_ROWS):
                for row in batch.slice(start, PARQUET_BATCH_ROWS).to_pylist():
                    number += 1
                    yield checked(RawRecord(source, number, dump(row), row))
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160]
        where = f" after row {number}" if number else ""
        raise DataError(f"{source} cannot be read as {kind}{where} ({reason}); write the file anew.") from error


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
                raise DataError(f"the header of {source} is not CSV ({error}); mend its quotes.") from error
            number += 1
            what = f"the row is not CSV ({error}, near line {rows.line_num} of the file)"
            yield problem("not-an-object", source, number, "", what, "Quote the cell and double the quotes in it.", "")
            continue
        if not row:
            continue
        if header is None:
            header = row
            _refuse_repeats(header, source)
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
    return checked(RawRecord(source, number, dump(value), value))


def _ends_with(stream: BinaryIO, mark: bytes) -> bool:
    """Whether a stream ends with these bytes; leaves it at its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - len(mark)))
    found = stream.read() == mark
    stream.seek(0)
    return found


def _delimiter(stream: BinaryIO) -> str:
    header = stream.readline().decode("utf-8-sig", "surrogateescape")
    stream.seek(0)
    # max() keeps the first of equals, so a single column is read as comma-separated.
    return max((",", ";", "\t"), key=header.count)


def _refuse_repeats(header: Sequence[str], source: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{source} names a column twice ({name_list(repeated)}); rename one of them.")
