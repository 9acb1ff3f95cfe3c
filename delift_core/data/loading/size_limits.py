"""Limits on the unpacked size of a file, which refuse decompression bombs before they fill the memory.

A file may unpack to `FACTOR` times its size, or to `MIN_UNPACKED` if that is more, and at most to `MAX_UNPACKED`. The
environment variable `VARIABLE` sets another limit.
"""

import io
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from delift_core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

VARIABLE = "DELIFT_MAX_UNPACKED_MIB"
MIN_UNPACKED, MAX_UNPACKED = 256 << 20, 8 << 30
FACTOR = 100
MEASURED_BYTES = 64 << 20
ROW_COST, VALUE_COST = 256, 8  # bytes in memory for a row and for a value, without their texts
_VIEW_BYTES = 16
_SIZE_PREFIX = 8  # bytes at the start of a compressed Arrow buffer, its unpacked size


class Allowance:
    """The bytes that a file may still unpack to."""

    def __init__(self, source: str, packed: int) -> None:
        """Args:
        source: the file's name, for the error.
        packed: its size in bytes.

        Raises:
            DataError: the environment variable is not a whole number.
        """
        self._source = source
        self.most = _limit_from_environment() or min(MAX_UNPACKED, max(MIN_UNPACKED, FACTOR * packed))
        self._left = self.most

    def take(self, size: int) -> None:
        """Counts unpacked bytes; raises a `DataError` beyond the limit."""
        self._left -= size
        if self._left < 0:
            raise DataError(
                f"{self._source} unpacks to more than {self.most >> 20:,} MiB, as a file made to exhaust memory does; "
                f"if you trust it, set {VARIABLE} to the MiB that it may take, and start again"
            )


def stream_size(stream: BinaryIO) -> int:
    """Size of a stream in bytes; leaves it at its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size


def unpacked_bytes(array: "pa.Array") -> int:
    """Bytes of an array of n values with every reference to a shared value written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own, kind = VALUE_COST * len(array), array.type
    if isinstance(array, pa.ExtensionArray):
        return unpacked_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        lengths = _value_bytes(array.dictionary)
        return own + int(pc.sum(lengths.take(array.indices.drop_null())).as_py() or 0)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return own + int(_view_lengths(array).sum())
    if pa.types.is_run_end_encoded(kind):
        return own + _run_bytes(array)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        values = int(pc.sum(array.sizes).as_py() or 0)
        # Lists may share values: flattening them could itself fill the memory, so large counts are estimated.
        return own + (VALUE_COST * values if VALUE_COST * values > MEASURED_BYTES else unpacked_bytes(array.flatten()))
    if pa.types.is_struct(kind):
        return own + sum(unpacked_bytes(part) for part in array.flatten())
    if pa.types.is_map(kind):
        ends = array.offsets
        start = ends[0].as_py() if len(ends) else 0
        count = ends[-1].as_py() - start if len(ends) else 0
        return own + sum(unpacked_bytes(part.slice(start, count)) for part in (array.keys, array.items))
    if pa.types.is_nested(kind):
        return own + unpacked_bytes(array.flatten())
    return own + int(array.nbytes)


def without_dictionaries(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Replaces dictionaries by their values, which convert to Python several times faster."""
    import pyarrow as pa

    plain = pa.schema([field.with_type(_plain(field.type)) for field in batch.schema])
    return batch if plain == batch.schema else batch.cast(plain)


def refuse_unions(schema: "pa.Schema", source: str) -> None:
    """Raises a `DataError` for a column whose values are of several types."""
    for field in schema:
        if contains_type(field.type, lambda kind: "union" in str(kind).partition("<")[0]):
            words = f"the column {field.name!r} is of type {field.type}, which is not supported; cast it."
            raise DataError(f"{source}: {words}")


def contains_type(kind: "pa.DataType", predicate: Callable[["pa.DataType"], bool]) -> bool:
    """Whether a predicate holds for a type or for a type nested in it."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return contains_type(kind.value_type, predicate)
    return predicate(kind) or any(contains_type(kind.field(at).type, predicate) for at in range(kind.num_fields))


def check_buffers(stream: BinaryIO, allowance: Allowance, start: int) -> None:
    """Counts the unpacked sizes that the compressed buffers of the Arrow stream at `start` declare; returns to `start`.

    A damaged stream is left to its reader, which reports it.

    Raises:
        DataError: they exceed the allowance.
    """
    import pyarrow as pa

    stream.seek(start)
    try:
        for message in pa.ipc.MessageReader.open_stream(stream):
            if message.type in ("record batch", "dictionary"):
                body = message.body
                for at, length in _compressed_buffers(message.metadata.to_pybytes(), message.type):
                    if length > _SIZE_PREFIX and at >= 0 and at + length <= body.size:
                        allowance.take(max(0, *struct.unpack_from("<q", body[at : at + 8])))
    except (pa.ArrowException, OSError, ValueError, struct.error, MemoryError, OverflowError, TypeError):
        pass
    stream.seek(start)


def _value_bytes(values: "pa.Array") -> "pa.Array":
    """(n,) int64, the bytes of each value of an array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type) or pa.types.is_binary(values.type) or pa.types.is_large_string(values.type):
        return pc.binary_length(values).cast(pa.int64())
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        return pa.array(_view_lengths(values), pa.int64())
    return pa.array([unpacked_bytes(values.slice(at, 1)) for at in range(len(values))], pa.int64())


def _view_lengths(array: "pa.Array") -> "np.ndarray":
    """(n,) int64, the bytes of each value of a view array; a view begins with its int32 length."""
    import numpy as np

    views = array.buffers()[1]
    if views is None:
        return np.zeros(len(array), np.int64)
    lengths = np.frombuffer(views, np.int32)[:: _VIEW_BYTES // 4][array.offset : array.offset + len(array)]
    return np.maximum(lengths.astype(np.int64), 0)


def _run_bytes(array: "pa.Array") -> int:
    """Bytes of a run-end encoded array with every run written out."""
    import numpy as np

    first, count = array.find_physical_offset(), array.find_physical_length()
    ends = np.asarray(array.run_ends.slice(first, count)).astype(np.int64) - array.offset
    runs = np.diff(np.minimum(ends, len(array)), prepend=0)
    lengths = _value_bytes(array.values.slice(first, count)).fill_null(0)
    return int(runs @ np.asarray(lengths))


def _plain(kind: "pa.DataType") -> "pa.DataType":
    """A type without dictionaries."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        has_views = contains_type(kind.value_type, lambda inner: "view" in str(inner).partition("<")[0])
        return kind if has_views else kind.value_type  # pyarrow does not cast views
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(_plain(kind.field(at).type)) for at in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _compressed_buffers(metadata: bytes, kind: str) -> list[tuple[int, int]]:
    """(offset in the body, bytes) of each buffer of a compressed message; none if the message is not compressed.

    Reads the flat buffer by Message.fbs and Schema.fbs of the Arrow format. Fields, counted from 0: Message.header 2,
    DictionaryBatch.data 1, RecordBatch.buffers 2, RecordBatch.compression 3.
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
    """Position of a field of a flat-buffer table; 0 if it is absent."""
    (back,) = struct.unpack_from("<i", metadata, table)
    entries = table - back
    (size,) = struct.unpack_from("<H", metadata, entries)
    if 4 + 2 * number + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, entries + 4 + 2 * number)
    return int(table + offset) if offset else 0


def _limit_from_environment() -> int | None:
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 40):
        raise DataError(f"{VARIABLE} is {text!r}; set it to a whole number of MiB, or unset it")
    return int(text) << 20
