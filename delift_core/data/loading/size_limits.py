"""How much a file may unpack to: one of a megabyte can hold terabytes, and is refused before they are read.

What is read is bounded by what was packed: a hundredfold of it, or `ALWAYS` where that is more, and never more than
`MOST`. The environment variable `VARIABLE` sets another bound. Plain text needs none: it is as large as it is.
"""

import io
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from delift_core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

VARIABLE = "DELIFT_MAX_UNPACKED_MIB"
ALWAYS, MOST = 256 << 20, 8 << 30
FACTOR = 100
MUCH = 64 << 20
ROW_COST, VALUE_COST = 256, 8  # bytes that a row, and a value, take in memory beside their texts
_VIEW_BYTES = 16
_LEAST_COMPRESSED = 8  # a compressed Arrow buffer begins with its size


class Allowance:
    """The bytes that a source may still unpack to."""

    def __init__(self, source: str, packed: int) -> None:
        """Args:
        source: the file's name, for the error.
        packed: its size in bytes.

        Raises:
            DataError: the variable is set to something else than a whole number.
        """
        self._source = source
        self.most = _set_by_hand() or min(MOST, max(ALWAYS, FACTOR * packed))
        self._left = self.most

    def take(self, size: int) -> None:
        """Counts bytes that are about to be read, or were.

        Raises:
            DataError: they are more than is left.
        """
        self._left -= size
        if self._left < 0:
            raise DataError(
                f"{self._source} unpacks to more than {self.most >> 20:,} MiB, as a file made to exhaust memory does; "
                f"if you trust it, set {VARIABLE} to the MiB that it may take, and start again"
            )


def size_of(stream: BinaryIO) -> int:
    """Bytes in a stream; leaves it at its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size


def written_out(array: "pa.Array") -> int:
    """Bytes that an array takes with each value written out: a shared one as often as it is referred to."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own, kind = VALUE_COST * len(array), array.type
    if isinstance(array, pa.ExtensionArray):
        return written_out(array.storage)
    if pa.types.is_dictionary(kind):
        lengths = _lengths(array.dictionary)
        return own + int(pc.sum(lengths.take(array.indices.drop_null())).as_py() or 0)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return own + int(_view_lengths(array).sum())
    if pa.types.is_run_end_encoded(kind):
        return own + _run_bytes(array)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        values = int(pc.sum(array.sizes).as_py() or 0)
        # Lists may share their values: what is much by its count alone is not put together to be measured.
        return own + (VALUE_COST * values if VALUE_COST * values > MUCH else written_out(array.flatten()))
    if pa.types.is_struct(kind):
        return own + sum(written_out(part) for part in array.flatten())
    if pa.types.is_map(kind):
        ends = array.offsets
        start = ends[0].as_py() if len(ends) else 0
        count = ends[-1].as_py() - start if len(ends) else 0
        return own + sum(written_out(part.slice(start, count)) for part in (array.keys, array.items))
    if pa.types.is_nested(kind):
        return own + written_out(array.flatten())
    return own + int(array.nbytes)


def without_dictionaries(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """The same rows with dictionaries replaced by their values, which are read several times faster."""
    import pyarrow as pa

    plain = pa.schema([field.with_type(_plain(field.type)) for field in batch.schema])
    return batch if plain == batch.schema else batch.cast(plain)


def refuse_unions(schema: "pa.Schema", source: str) -> None:
    """Refuses columns whose values are of several types.

    Raises:
        DataError: there is one.
    """
    for field in schema:
        if _holds(field.type, "union"):
            raise DataError(f"{source}: the column {field.name!r} is of type {field.type}, which is not read; cast it.")


def check_buffers(stream: BinaryIO, allowance: Allowance, start: int) -> None:
    """Adds up what the compressed buffers of an Arrow stream, which begins at `start`, say they unpack to, and returns
    there. A damaged one is left to its reader, which says so.

    Raises:
        DataError: more than is allowed.
    """
    import pyarrow as pa

    stream.seek(start)
    try:
        for message in pa.ipc.MessageReader.open_stream(stream):
            if message.type in ("record batch", "dictionary"):
                body = message.body
                for at, length in _compressed_buffers(message.metadata.to_pybytes(), message.type):
                    if length > _LEAST_COMPRESSED and at >= 0 and at + length <= body.size:
                        allowance.take(max(0, *struct.unpack_from("<q", body[at : at + 8])))
    except (pa.ArrowException, OSError, ValueError, struct.error, MemoryError, OverflowError, TypeError):
        pass
    stream.seek(start)


def _lengths(values: "pa.Array") -> "pa.Array":
    """(d,) the bytes of each value of a dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type) or pa.types.is_binary(values.type) or pa.types.is_large_string(values.type):
        return pc.binary_length(values).cast(pa.int64())
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        return pa.array(_view_lengths(values), pa.int64())
    return pa.array([written_out(values.slice(at, 1)) for at in range(len(values))], pa.int64())


def _view_lengths(array: "pa.Array") -> "np.ndarray":
    """(n,) int64, the bytes of each value of a view array: a view begins with its length."""
    import numpy as np

    views = array.buffers()[1]
    if views is None:
        return np.zeros(len(array), np.int64)
    lengths = np.frombuffer(views, np.int32)[:: _VIEW_BYTES // 4][array.offset : array.offset + len(array)]
    return np.maximum(lengths.astype(np.int64), 0)


def _run_bytes(array: "pa.Array") -> int:
    """Bytes of a run-end encoded array with each run written out."""
    import numpy as np

    first, count = array.find_physical_offset(), array.find_physical_length()
    ends = np.asarray(array.run_ends.slice(first, count)).astype(np.int64) - array.offset
    runs = np.diff(np.minimum(ends, len(array)), prepend=0)
    lengths = _lengths(array.values.slice(first, count)).fill_null(0)
    return int(runs @ np.asarray(lengths))


def _holds(kind: "pa.DataType", word: str) -> bool:
    """Whether a type has a word in its name, or a type inside it has."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _holds(kind.value_type, word)
    return word in str(kind).partition("<")[0] or any(
        _holds(kind.field(at).type, word) for at in range(kind.num_fields)
    )


def _plain(kind: "pa.DataType") -> "pa.DataType":
    """A type without dictionaries."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return kind if _holds(kind.value_type, "view") else kind.value_type  # views are not cast
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(_plain(kind.field(at).type)) for at in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _compressed_buffers(metadata: bytes, kind: str) -> list[tuple[int, int]]:
    """(offset in the body, bytes) of each buffer of a message, read from its flat buffer; none if not compressed.

    The layout is that of Message.fbs and Schema.fbs in the Arrow format: Message.header is its third field;
    DictionaryBatch.data its second; RecordBatch.buffers its third and RecordBatch.compression its fourth.
    """
    table = _field(metadata, _follow(metadata, 0), 2)
    batch = _follow(metadata, table) if table else 0
    if kind == "dictionary" and batch:
        inner = _field(metadata, batch, 1)
        batch = _follow(metadata, inner) if inner else 0
    if not batch or not _field(metadata, batch, 3):
        return []
    buffers = _field(metadata, batch, 2)
    if not buffers:
        return []
    vector = _follow(metadata, buffers)
    (count,) = struct.unpack_from("<I", metadata, vector)
    return [struct.unpack_from("<qq", metadata, vector + 4 + 16 * number) for number in range(count)]


def _follow(metadata: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<I", metadata, at)
    return int(at + offset)


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where a field of a flat-buffer table lies; 0 where it is absent."""
    (back,) = struct.unpack_from("<i", metadata, table)
    entries = table - back
    (size,) = struct.unpack_from("<H", metadata, entries)
    if 4 + 2 * number + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, entries + 4 + 2 * number)
    return int(table + offset) if offset else 0


def _set_by_hand() -> int | None:
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 40):
        raise DataError(f"{VARIABLE} is {text!r}; set it to a whole number of MiB, or unset it")
    return int(text) << 20
