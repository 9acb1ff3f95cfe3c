"""What is to be read: one file, a folder of files, or uploaded bytes; compressed ones are unpacked first.

Knows names and bytes; knows nothing of records.
"""

import errno
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from delift_core.errors import DataError
from delift_core.sources.bounds import Allowance, size_of

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
CSV_SUFFIXES = (".csv", ".tsv")
ARROW_SUFFIXES = (".arrow", ".feather")
SUFFIXES = (*JSON_SUFFIXES, *CSV_SUFFIXES, ".parquet", *ARROW_SUFFIXES)
COMPRESSED = (".gz", ".zst")
# What `datasets` and this program write beside the rows.
SIDE_FILES = ("dataset_info.json", "state.json", "dataset_infos.json")
MANIFEST_END = ".manifest.json"
IN_MEMORY = 64 << 20
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Input:
    """A file on disk, or the name and bytes of an uploaded one."""

    name: str
    content: Path | bytes

    @property
    def compression(self) -> str:
        """ ".gz", ".zst" or ""."""
        last = Path(self.name).suffix.lower()
        return last if last in COMPRESSED else ""

    @property
    def suffix(self) -> str:
        """The suffix that says what is inside, in lower case."""
        return Path(self._inner).suffix.lower()

    @property
    def size(self) -> int:
        """Bytes as they lie on disk or were uploaded; 0 where there is no such file."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return self.content.stat().st_size if self.content.is_file() else 0

    @property
    def stem(self) -> str:
        """The name without its suffixes."""
        return Path(self._inner).stem

    def open(self) -> BinaryIO:
        """Opens the content for reading, unpacked and seekable.

        Raises:
            DataError: the file does not exist, is a folder, cannot be read, is damaged, or unpacks to too much.
        """
        stream = self._open_as_is()
        if not self.compression:
            return stream
        with stream:
            return _unpacked(stream, self.compression, self.name)

    @property
    def _inner(self) -> str:
        return self.name[: -len(self.compression)] if self.compression else self.name

    def _open_as_is(self) -> BinaryIO:
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if self.content.is_dir():
            raise DataError(f"{self.content} is a folder inside a folder of files; give it by itself.")
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            raise DataError(f"{self.content} does not exist; check the path and the file name.") from None
        except OSError as error:
            raise DataError(f"{self.content} cannot be read ({error.strerror}); check its permissions.") from error


def inputs_of(path: Path) -> tuple[Input, ...]:
    """A file as it is, or the data files of a folder and the folders in it, by name.

    Hidden files, files of other kinds, manifests and the notes that `datasets` keeps beside its rows are passed over.

    Raises:
        DataError: the folder cannot be read, holds no data file, or holds the splits of a saved data set.
    """
    if not path.is_dir():
        return (Input(path.name, path),)
    if (path / "dataset_dict.json").exists():
        raise DataError(f"{path} holds several splits of a data set; give one of the folders in it, such as train.")
    try:
        found = [one for one in sorted(path.rglob("*")) if one.is_file() and _is_data(one.relative_to(path))]
    except OSError as error:
        raise DataError(f"the folder {path} cannot be read ({error.strerror}); check its permissions.") from error
    if not found:
        raise DataError(f"the folder {path} has no data file in it; accepted are {', '.join(SUFFIXES)}.")
    return tuple(Input(one.relative_to(path).as_posix(), one) for one in found)


def _is_data(name: Path) -> bool:
    if any(part.startswith((".", "_")) for part in name.parts) or name.name in SIDE_FILES:
        return False
    return Input(name.name, b"").suffix in SUFFIXES and not name.name.endswith(MANIFEST_END)


def _unpacked(stream: BinaryIO, compression: str, source: str) -> BinaryIO:
    """The unpacked content as a temporary file, which stays in memory while it is small."""
    allowance = Allowance(source, size_of(stream))
    target = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # the caller closes it
    try:
        for chunk in _gunzip(stream) if compression == ".gz" else _unzstd(stream):
            allowance.take(len(chunk))
            target.write(chunk)
    except (OSError, EOFError, zlib.error) as error:  # a damaged gzip file is an OSError
        target.close()
        reason = " ".join(str(error).split())[:160]
        remedy = (
            "make room" if getattr(error, "errno", None) == errno.ENOSPC else "check that the download was complete"
        )
        raise DataError(f"{source} cannot be unpacked ({reason}); {remedy}.") from error
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return cast(BinaryIO, target)


def _gunzip(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.open(stream) as unpacked:
        while chunk := unpacked.read(CHUNK):
            yield chunk


def _unzstd(stream: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa  # its exceptions for damaged files are OSErrors

    with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd") as unpacked:
        while chunk := unpacked.read(CHUNK):
            yield chunk
