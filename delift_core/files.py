"""Files that are there whole or not at all, also after a power cut; and bytes that know when they were damaged.

It knows bytes and folders; it knows nothing of what they mean.
"""

import os
import tempfile
import zlib
from pathlib import Path

_SEAL = b"crc1"
SEAL_BYTES = len(_SEAL) + 4
_STEM_BYTES = 120  # file systems end at 255, and suffixes come behind it


def write_whole(path: Path, data: bytes) -> None:
    """Puts a file in place of any earlier one: a temporary beside it, flushed to the disk, renamed, the folder flushed.

    Raises:
        OSError: the disk is full or the folder may not be written to; an earlier file is as it was.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def plain_stem(name: str) -> str:
    """A file name without its suffix, of letters, digits and hyphens: whatever the text, it stays in its folder.

    Args:
        name: what somebody called a thing; "subset" where it holds no letter or digit.
    """
    kept = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    short = "-".join(filter(None, kept.split("-"))).encode()[:_STEM_BYTES].decode(errors="ignore")
    return short.strip("-") or "subset"


def sync_folder(folder: Path) -> None:
    """Flushes a folder's list of names: without it a power cut can take back a rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sealed(data: bytes) -> bytes:
    """The bytes with their checksum (CRC-32) behind them, in `SEAL_BYTES` more."""
    return data + _SEAL + zlib.crc32(data).to_bytes(4, "little")


def unsealed(data: bytes) -> bytes | None:
    """The bytes that were sealed; None where they are not those any more, and as they are where they have no seal."""
    if data[-SEAL_BYTES:-4] != _SEAL:
        return data
    content, checksum = data[:-SEAL_BYTES], int.from_bytes(data[-4:], "little")
    return content if zlib.crc32(content) == checksum else None
