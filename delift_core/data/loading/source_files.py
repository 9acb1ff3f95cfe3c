"""One file or upload: which kind it is, and its content, unpacked."""

import bz2
import errno
import gzip
import io
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from delift_core.data.loading.size_limits import Allowance, stream_size
from delift_core.errors import DataError
from delift_core.system.files import why_invalid_path, why_unreadable

IN_MEMORY = 64 << 20
CHUNK = 1 << 20
XZ_MEMORY = 1 << 30  # limit on the memory that an xz file may request


def unpack(stream: BinaryIO, compression: str, source: str) -> BinaryIO:
    """Unpacks a seekable stream into a temporary file, which stays in memory while it is small.

    Args:
        compression: ".gz", ".zst", ".bz2" or ".xz".
        source: the file's name, for errors.

    Raises:
        DataError: the content is damaged, or too large.
    """
    allowance = Allowance(source, stream_size(stream))
    target = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # the caller closes it
    try:
        for chunk in _DECOMPRESSORS[compression](stream):
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


def _decompress_gzip(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.open(stream) as content:
        while chunk := content.read(CHUNK):
            yield chunk


def _decompress_zstd(stream: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa  # its exceptions for damaged files are OSErrors

    with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd") as content:
        while chunk := content.read(CHUNK):
            yield chunk


_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor


def _decompress_streams(stream: BinaryIO, start: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Decompresses the streams of a bzip2 or xz file, which may hold several, a chunk at a time."""
    waiting = stream.read(CHUNK)
    while waiting:
        part = start()
        while not part.eof:
            content, waiting = part.decompress(waiting, CHUNK), b""
            if content:
                yield content
            if part.needs_input and not part.eof and not (waiting := stream.read(CHUNK)):
                raise EOFError("it ends before its end mark")
        waiting = (part.unused_data or stream.read(CHUNK)).lstrip(b"\0")  # xz pads with zeros


_DECOMPRESSORS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    ".gz": _decompress_gzip,
    ".zst": _decompress_zstd,
    ".bz2": lambda stream: _decompress_streams(stream, bz2.BZ2Decompressor),
    ".xz": lambda stream: _decompress_streams(stream, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)),
}


Kind = Literal["json", "csv", "parquet", "arrow"]
KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".jsonlines": "json",
}
SUFFIXES = tuple(KINDS)
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
HEAD_BYTES = 512
_PACKED_HEADS = ((b"\x1f\x8b\x08", ".gz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"\xfd7zXZ\0", ".xz"))
_BZIP2_HEAD = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_TABLE_HEADS: tuple[tuple[bytes, Kind], ...] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))
_JSON_HEAD = re.compile(rb'\s*(\{\s*("|\}|$)|\[\s*([\[{"\]\d-]|$))')

_WORKBOOK = "a spreadsheet, which is not supported; save the sheet as CSV in UTF-8"
_ARCHIVE = "an archive, which is not supported; unpack it, and give the file or folder in it"
_PICKLE = "a pickle, which can run code and is never opened; write the rows as JSON lines or Parquet"
_DATABASE = "a database, which is not supported; export the table as Parquet or CSV"
_TABLE = "a table of an unsupported kind; write the rows as Parquet"
_PAGE = "a web page, not data; download the file itself"
_POINTER = "a Git LFS pointer, not the data; fetch the data with `git lfs pull`"
_UNSUPPORTED_HEADS = (
    (b"version https://git-lfs", _POINTER),
    (b"SQLite format 3\0", _DATABASE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _WORKBOOK),
    (b"PK\x03\x04", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"\x89HDF\r\n\x1a\n", _TABLE),
    (b"Obj\x01", _TABLE),
    (b"<!DOCTYPE html", _PAGE),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
)
_UNSUPPORTED_SUFFIXES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), _WORKBOOK),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), _PICKLE),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb"), _DATABASE),
    **dict.fromkeys((".avro", ".orc", ".h5", ".hdf5", ".tfrecord"), _TABLE),
}


def detect_compression(head: bytes) -> str:
    """The suffix of the compression by a file's first bytes; "" for none."""
    if _BZIP2_HEAD.match(head):
        return ".bz2"
    return next((suffix for mark, suffix in _PACKED_HEADS if head.startswith(mark)), "")


def looks_like_json(head: bytes) -> bool:
    """Whether the first bytes are those of a JSON object or list."""
    return _JSON_HEAD.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def unsupported_kind(suffix: str, head: bytes) -> str:
    """What a file of a kind that is not read is, and what to do with it; "" for other files."""
    if suffix in (".xlsx", ".xlsm", ".ods") and head.startswith(b"PK"):
        return _WORKBOOK
    by_head = next((words for mark, words in _UNSUPPORTED_HEADS if head.startswith(mark)), "")
    return by_head or _UNSUPPORTED_SUFFIXES.get(suffix, "")


def detect_kind(name: str, suffix: str, head: bytes) -> Kind:
    """The kind of a file.

    Args:
        name: the file's name, for the error.
        suffix: its suffix without that of a compression, in lower case.
        head: its first bytes, unpacked.

    Raises:
        DataError: the kind is not read.
    """
    by_head = next((kind for mark, kind in _TABLE_HEADS if head.startswith(mark)), None)
    if by_head is not None:
        return by_head
    words = unsupported_kind(suffix, head)
    if words:
        raise DataError(f"{name} is {words}.")
    if suffix in KINDS:
        return KINDS[suffix]
    if looks_like_json(head):
        return "json"
    what = f"has the suffix {suffix}, which is not supported" if suffix else "has no suffix and is not JSON"
    raise DataError(f"{name} {what}; accepted are {', '.join(SUFFIXES)}, also with {', '.join(COMPRESSED)} behind.")


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on disk, or the name and bytes of an uploaded one."""

    name: str
    content: Path | bytes

    @property
    def compression(self) -> str:
        """The suffix of the compression, such as ".gz", or ""."""
        last = Path(self.name).suffix.lower()
        return last if last in COMPRESSED else ""

    @property
    def suffix(self) -> str:
        """The suffix without that of a compression, in lower case."""
        return Path(self._inner).suffix.lower()

    @property
    def size(self) -> int:
        """Bytes on disk or of the upload; 0 if there is no such file."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return self.content.stat().st_size if self.content.is_file() else 0

    @property
    def stem(self) -> str:
        """The name without its suffixes."""
        return Path(self._inner).stem

    def open(self) -> BinaryIO:
        """Opens the unpacked content, seekable; compression is detected by the suffix or the first bytes.

        Raises:
            DataError: the file does not exist, is a folder, cannot be read, is damaged or unpacks to too much.
        """
        stream = self._open_as_is()
        compression = self.compression or detect_compression(stream.read(HEAD_BYTES))
        stream.seek(0)
        if not compression:
            return stream
        with stream:
            return unpack(stream, compression, self.name)

    @property
    def _inner(self) -> str:
        return self.name[: -len(self.compression)] if self.compression else self.name

    def _open_as_is(self) -> BinaryIO:
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if self.content.is_dir():
            raise DataError(f"{self.content} is a folder inside a folder of files; give its path instead.")
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            raise DataError(why_not_readable(self.content)) from None
        except OSError as error:
            raise DataError(f"{self.content} cannot be read ({error.strerror}); check its permissions.") from error


def why_not_readable(path: Path) -> str:
    """Why a file or folder cannot be read, and what to do; "" if it can. Recognises addresses and hub ids."""
    words = why_unreadable(path)
    if not words or why_invalid_path(path) or path.exists() or path.is_symlink():
        return words
    if re.match(r"(https?|hf|s3|gs):/", str(path)):
        return (
            f"{path} is an address, and nothing is fetched from one; download the file, or name a data set of the "
            "Hugging Face hub as hub:owner/name."
        )
    if _HUB_ID.fullmatch(str(path)) and path.suffix.lower() not in (*SUFFIXES, *COMPRESSED):
        return f"{path} does not exist here; write hub:{path} for a data set of the hub, or check the path."
    return words
