"""Compressed files, unpacked before they are read.

Knows bytes; knows nothing of what is in them.
"""

import bz2
import errno
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from delift_core.errors import DataError
from delift_core.sources.bounds import Allowance, size_of

IN_MEMORY = 64 << 20
CHUNK = 1 << 20
XZ_MEMORY = 1 << 30  # a file may ask for more to be unpacked


def unpacked(stream: BinaryIO, compression: str, source: str) -> BinaryIO:
    """The unpacked content as a temporary file, which stays in memory while it is small.

    Args:
        stream: the packed content, seekable.
        compression: ".gz", ".zst", ".bz2" or ".xz".
        source: the file's name, for errors.

    Raises:
        DataError: the content is damaged, or unpacks to too much.
    """
    allowance = Allowance(source, size_of(stream))
    target = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # the caller closes it
    try:
        for chunk in _UNPACKERS[compression](stream):
            allowance.take(len(chunk))
            target.write(chunk)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:  # a damaged gzip file is an OSError
        target.close()
        reason = " ".join(str(error).split())[:160]
        no_space = getattr(error, "errno", None) == errno.ENOSPC
        remedy = "make room" if no_space else "check that the download was complete"
        raise DataError(f"{source} cannot be unpacked ({reason}); {remedy}.") from error
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return cast(BinaryIO, target)


def _gunzip(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.open(stream) as content:
        while chunk := content.read(CHUNK):
            yield chunk


def _unzstd(stream: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa  # its exceptions for damaged files are OSErrors

    with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd") as content:
        while chunk := content.read(CHUNK):
            yield chunk


_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor


def _streams(stream: BinaryIO, start: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """The content of streams one behind another, as bzip2 and xz files may be, at most a chunk at once."""
    waiting = stream.read(CHUNK)
    while waiting:
        part = start()
        while not part.eof:
            content, waiting = part.decompress(waiting, CHUNK), b""
            if content:
                yield content
            if part.needs_input and not part.eof and not (waiting := stream.read(CHUNK)):
                raise EOFError("it ends before the mark of its end")
        waiting = (part.unused_data or stream.read(CHUNK)).lstrip(b"\0")  # xz may pad with zeros


_UNPACKERS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    ".gz": _gunzip,
    ".zst": _unzstd,
    ".bz2": lambda stream: _streams(stream, bz2.BZ2Decompressor),
    ".xz": lambda stream: _streams(stream, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)),
}
