"""Atomic file writes, checksums, and checks of the paths that a user gives.

The `why_*` functions return a line that says what is wrong and what to do, or "" when nothing is.
"""

import errno
import os
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

_CHECKSUM_TAG = b"crc1"
CHECKSUM_BYTES = len(_CHECKSUM_TAG) + 4
_STEM_BYTES = 120  # file systems allow 255 bytes, suffixes included
_SHOWN_CHARACTERS = 160  # of a path in a message
_WINDOWS_NAME = 255
_BAD_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f]')
_RESERVED = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9\u00b9\u00b2\u00b3]", re.IGNORECASE)
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between tries to replace a file that is being read


def why_unreadable(path: Path, *, folder: bool = True) -> str:
    """Why a file, or a folder where one is accepted, cannot be read."""
    name = abbreviated(path)
    if problem := why_invalid_path(path) or _why_broken_link(path):
        return problem
    if not path.exists():
        return f"{name} does not exist; check the path and the file name."
    if path.is_dir():
        if not folder:
            return f"{name} is a folder; give the name of a file in it."
        readable = os.access(path, os.R_OK | os.X_OK)
        return "" if readable else f"the folder {name} cannot be read; check its permissions."
    if not path.is_file():  # opening a pipe would wait for a writer
        return f"{name} is a pipe or a device, not an ordinary file; write its content to a file and give that."
    return "" if os.access(path, os.R_OK) else f"{name} cannot be read; check its permissions."


def why_unwritable(path: Path, beside: Iterable[Path] = (), inputs: Iterable[Path] = ()) -> str:
    """Why a file cannot be written, whether it exists or not.

    Args:
        beside: files written together with it, such as its manifest.
        inputs: files that must not be overwritten, also through links.
    """
    outputs, name = (path, *beside), abbreviated(path)
    for output in outputs:
        if problem := _why_no_file(output):
            return (
                problem if output == path else f"{problem} ({abbreviated(Path(output.name))} is written beside {name})"
            )
    lost = next((file for file in inputs if any(is_same_file(file, output) for output in outputs)), None)
    return f"writing {name} would overwrite the input {abbreviated(lost)}; choose another name" if lost else ""


def why_folder_unusable(path: Path, *, new: bool = False) -> str:
    """Why a folder cannot be written to, or cannot be made.

    Args:
        new: the folder must be empty or not exist yet.
    """
    name = abbreviated(path)
    if problem := why_invalid_path(path) or _why_broken_link(path):
        return problem
    if path.exists() and not path.is_dir():
        return f"{name} is a file, not a folder; give another name"
    parent = nearest_existing(path)
    if not parent.is_dir():
        return f"{name} cannot be made, since {abbreviated(parent)} is a file; give another name"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"the folder {abbreviated(parent)} may not be written to; change its rights, or choose another folder"
    if path.exists() and not os.access(path, os.R_OK):
        return f"the folder {name} cannot be read; check its permissions."
    if new and path.exists() and any(path.iterdir()):
        return f"{name} is not empty and is left as it is; give the name of a new folder"
    return ""


def why_invalid_path(path: Path) -> str:
    """Why no file can have this path: its characters or length, or a file or a loop of links among its parents."""
    name, text = abbreviated(path), str(path)
    if "\0" in text:
        return f"{name} holds a NUL character, which no path can; leave it out"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of another encoding, which neither the database nor a manifest can store
        return f"the path {name} is not valid UTF-8; rename the file or the folder"
    if sys.platform == "win32":
        return _why_invalid_on_windows(path)
    try:
        found = next(one for one in (path.absolute(), *path.absolute().parents) if _exists(one))
        longest = os.pathconf(found if found.is_dir() else found.parent, "PC_NAME_MAX")
    except NotADirectoryError:
        return f"{name} leads through a file as if it were a folder; check the path"
    except PermissionError:
        return f"{name} is in a folder that may not be read; change its rights"
    except OSError as error:  # such as a loop of links
        return f"{name} cannot be used ({error.strerror}); check the path"
    long = next((part for part in path.parts if len(part.encode()) > longest), None)
    if long:
        size = len(long.encode())
        return f"the name {abbreviated(Path(long))} has {size:,} bytes and may have {longest:,}; shorten it"
    size, most = len(str(path.absolute()).encode()), os.pathconf("/", "PC_PATH_MAX")
    return f"the path {name} has {size:,} bytes and may have {most - 1:,}; shorten it" if size >= most else ""


def _why_invalid_on_windows(path: Path) -> str:
    """As `why_invalid_path`, where the rules are those of Windows."""
    name, parts = abbreviated(path), path.parts[1:] if path.anchor else path.parts
    for part in parts:
        shown = abbreviated(Path(part))
        if bad := _BAD_ON_WINDOWS.search(part):
            return f"the name {shown} holds {bad[0]!r}, which no file of Windows can; leave it out"
        if part not in (".", "..") and part.endswith((".", " ")):
            return f"the name {shown} ends with a full stop or a space, which Windows drops; leave it out"
        if is_reserved_name(part):
            return f"{shown} is a device on Windows, not a file; choose another name"
        if len(part) > _WINDOWS_NAME:
            return f"the name {shown} has {len(part):,} characters and may have {_WINDOWS_NAME}; shorten it"
    above = next(one for one in path.absolute().parents if one.exists())
    return "" if above.is_dir() else f"{name} leads through a file as if it were a folder; check the path"


def is_reserved_name(name: str) -> bool:
    """Whether a name, with or without a suffix, is that of a device on Windows, such as NUL or com1.txt."""
    return _RESERVED.fullmatch(name.partition(".")[0].rstrip()) is not None


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file: through links, and by another spelling where case makes no difference."""
    if _resolved(one) == _resolved(other):
        return True
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them does not exist
        return False


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def abbreviated(path: Path) -> str:
    """A path in a message; the middle of a very long one is left out."""
    text, half = str(path), _SHOWN_CHARACTERS // 2
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def temporary_prefix(path: Path) -> str:
    """Start of the name of a file's temporary, which leaves room for a random part and a suffix."""
    return f".{path.name.encode()[:_STEM_BYTES].decode(errors='ignore')}."


def _why_no_file(path: Path) -> str:
    name, parent = abbreviated(path), abbreviated(path.parent)
    if problem := why_invalid_path(path):
        return problem
    if path.is_dir():  # "" is the current folder
        return f"{name} is a folder; give the name of a file in it, such as {abbreviated(path / 'subset.jsonl')}"
    if problem := _why_broken_link(path):
        return problem
    if path.exists() and not path.is_file():  # a pipe or a device would be replaced by a file
        return f"{name} is not an ordinary file; give the name of a file"
    if not path.parent.exists():
        return f"the folder {parent} does not exist; make it, or write to another folder"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"the folder {parent} may not be written to; change its rights, or choose another folder"
    return ""


def _why_broken_link(path: Path) -> str:
    if not path.is_symlink() or path.exists():
        return ""
    target = abbreviated(path.readlink())
    return f"{abbreviated(path)} is a link to {target}, which leads to no file; correct or remove the link"


def _exists(path: Path) -> bool:
    """Whether there is a file, a folder or a link at a path.

    Raises:
        OSError: that cannot be found out, or the path is not valid.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return False
        raise
    return True


def _resolved(path: Path) -> Path:
    """The path with links followed; unchanged if they cannot be."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or an invalid name
        return path


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file atomically, also through a power cut: a temporary file is flushed to the disk and renamed.

    Raises:
        OSError: the disk is full or the folder may not be written to; an earlier file is unchanged.
    """
    handle, temporary = tempfile.mkstemp(prefix=temporary_prefix(path), dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        replace_file(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_file(new: Path, path: Path) -> None:
    """Renames a file, also over another one.

    Windows refuses that while another process reads the old file, which takes milliseconds here: it is tried again.

    Raises:
        OSError: the folder may not be written to, or the old file stays open.
    """
    for pause in _PAUSES if sys.platform == "win32" else ():
        try:
            new.replace(path)
            return
        except PermissionError:
            time.sleep(pause)
    new.replace(path)


def safe_stem(name: str) -> str:
    """A file name without suffix, made from a user's text: letters, digits and hyphens, so no path separators.

    Args:
        name: any text; one without letters or digits gives "subset", and so does the name of a device on Windows.
    """
    kept = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    short = "-".join(filter(None, kept.split("-"))).encode()[:_STEM_BYTES].decode(errors="ignore")
    stem = short.strip("-")
    return "subset" if not stem or is_reserved_name(stem) else stem


def sync_folder(folder: Path) -> None:
    """Flushes a folder's directory entries: otherwise a power cut can undo a rename."""
    if sys.platform == "win32":  # folders cannot be opened there; the file system logs renames
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def with_checksum(data: bytes) -> bytes:
    """Appends a CRC-32 checksum, which takes `CHECKSUM_BYTES`."""
    return data + _CHECKSUM_TAG + zlib.crc32(data).to_bytes(4, "little")


def content_if_intact(data: bytes) -> bytes | None:
    """Removes the checksum; None if the bytes do not match it. Bytes without a checksum are returned unchanged."""
    if data[-CHECKSUM_BYTES:-4] != _CHECKSUM_TAG:
        return data
    content, checksum = data[:-CHECKSUM_BYTES], int.from_bytes(data[-4:], "little")
    return content if zlib.crc32(content) == checksum else None
