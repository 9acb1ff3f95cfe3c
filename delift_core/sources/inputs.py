"""What is to be read: one file, or uploaded bytes; compressed ones are unpacked first.

Knows names and bytes; knows nothing of records. What of a folder is read: see `folders`.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from delift_core.errors import DataError
from delift_core.files import why_no_name, why_unreadable
from delift_core.sources.kinds import COMPRESSED, HEAD_BYTES, SUFFIXES, packing
from delift_core.sources.unpacking import unpacked

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Input:
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
        """Opens the content for reading, unpacked (also where the name does not say that it is packed) and seekable.

        Raises:
            DataError: the file does not exist, is a folder, cannot be read, is damaged, or unpacks to too much.
        """
        stream = self._open_as_is()
        compression = self.compression or packing(stream.read(HEAD_BYTES))
        stream.seek(0)
        if not compression:
            return stream
        with stream:
            return unpacked(stream, compression, self.name)

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
            raise DataError(why_no_input(self.content)) from None
        except OSError as error:
            raise DataError(f"{self.content} cannot be read ({error.strerror}); check its permissions.") from error


def why_no_input(path: Path) -> str:
    """Why a file or a folder cannot be read, and what to do; "" when it can. An address and a hub id are often given in
    the place of a path."""
    words = why_unreadable(path)
    if not words or why_no_name(path) or path.exists() or path.is_symlink():
        return words
    if re.match(r"(https?|hf|s3|gs):/", str(path)):
        return (
            f"{path} is an address, and nothing is fetched from one; download the file, or name a data set of the "
            "Hugging Face hub as hub:owner/name."
        )
    if _HUB_ID.fullmatch(str(path)) and path.suffix.lower() not in (*SUFFIXES, *COMPRESSED):
        return f"{path} does not exist here; write hub:{path} for a data set of the hub, or check the path."
    return words
