"""Files that are there whole or not at all, also after a power cut; bytes that know when they were damaged; and whether
a path that a user gave can be read or written, before any work is done for it.

It knows bytes and folders; it knows nothing of what they mean.
"""

import errno
import os
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

_SEAL = b"crc1"
SEAL_BYTES = len(_SEAL) + 4
_STEM_BYTES = 120  # file systems end at 255, and suffixes come behind it
_SHOWN_CHARACTERS = 160  # of a path in a message


def why_unreadable(path: Path, *, folder: bool = True) -> str:
    """Why a file, or a folder if one may be given, cannot be read, and what to do; "" when it can."""
    name = shown(path)
    if words := why_no_name(path) or _why_leads_nowhere(path):
        return words
    if not path.exists():
        return f"{name} does not exist; check the path and the file name."
    if path.is_dir():
        if not folder:
            return f"{name} is a folder; give the name of a file in it."
        readable = os.access(path, os.R_OK | os.X_OK)
        return "" if readable else f"the folder {name} cannot be read; check its permissions."
    if not path.is_file():  # opening a pipe would wait for whoever writes to it
        return f"{name} is a pipe or a device, not an ordinary file; write its content to a file and give that."
    return "" if os.access(path, os.R_OK) else f"{name} cannot be read; check its permissions."


def why_unwritable(path: Path, beside: Iterable[Path] = (), inputs: Iterable[Path] = ()) -> str:
    """Why a file cannot be written, in place of an earlier one or new, and what to do; "" when it can.

    Args:
        beside: files that are written with it, such as its manifest.
        inputs: files that must stay as they are, whatever names lead to them.
    """
    outputs = (path, *beside)
    for one in outputs:
        if words := _why_no_file(one):
            return words if one == path else f"{words} ({shown(Path(one.name))} is written beside {shown(path)})"
    written = {_place(one) for one in outputs}
    lost = next((one for one in inputs if _place(one) in written), None)
    return f"writing {shown(path)} would overwrite the input {shown(lost)}; choose another name" if lost else ""


def why_no_folder(path: Path, *, new: bool = False) -> str:
    """Why a folder, there already or yet to be made, cannot be written to, and what to do; "" when it can.

    Args:
        new: it must not exist, or be empty.
    """
    name = shown(path)
    if words := why_no_name(path) or _why_leads_nowhere(path):
        return words
    if path.exists() and not path.is_dir():
        return f"{name} is a file, not a folder; give another name"
    there = existing(path)
    if not there.is_dir():
        return f"{name} cannot be made, since {shown(there)} is a file; give another name"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"the folder {shown(there)} may not be written to; change its rights, or choose another folder"
    if path.exists() and not os.access(path, os.R_OK):
        return f"the folder {name} cannot be read; check its permissions."
    if new and path.exists() and any(path.iterdir()):
        return f"{name} is not empty and is left as it is; give the name of a new folder"
    return ""


def why_no_name(path: Path) -> str:
    """Why a path can name nothing on this machine (characters, length, a file or a loop of links on its way), and what
    to do; "" when it can."""
    name, text = shown(path), str(path)
    if "\0" in text:
        return f"{name} holds a NUL character, which no path can; leave it out"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of another encoding; neither the database nor a manifest could name it
        return f"the path {name} is not valid UTF-8; rename the file or the folder"
    try:
        there = next(one for one in (path.absolute(), *path.absolute().parents) if _is_there(one))
        longest = os.pathconf(there if there.is_dir() else there.parent, "PC_NAME_MAX")
    except NotADirectoryError:
        return f"{name} leads through a file as if it were a folder; check the path"
    except PermissionError:
        return f"{name} lies in a folder that may not be looked into; change its rights"
    except OSError as error:  # such as a loop of links
        return f"{name} cannot be used ({error.strerror}); check the path"
    long = next((part for part in path.parts if len(part.encode()) > longest), None)
    if long:
        return f"the name {shown(Path(long))} has {len(long.encode()):,} bytes and may have {longest:,}; shorten it"
    size, most = len(str(path.absolute()).encode()), os.pathconf("/", "PC_PATH_MAX")
    return f"the path {name} has {size:,} bytes and may have {most - 1:,}; shorten it" if size >= most else ""


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def shown(path: Path) -> str:
    """A path in a message; the middle of a very long one is left out."""
    text, half = str(path), _SHOWN_CHARACTERS // 2
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def temporary_prefix(path: Path) -> str:
    """What the name of a file's temporary begins with: short enough for a random part and a suffix behind it."""
    return f".{path.name.encode()[:_STEM_BYTES].decode(errors='ignore')}."


def _why_no_file(path: Path) -> str:
    name, parent = shown(path), shown(path.parent)
    if words := why_no_name(path):
        return words
    if path.is_dir():  # "" names the folder where we are
        return f"{name} is a folder; give the name of a file in it, such as {shown(path / 'subset.jsonl')}"
    if words := _why_leads_nowhere(path):
        return words
    if path.exists() and not path.is_file():  # a pipe or a device would be replaced by a file
        return f"{name} is not an ordinary file; give the name of a file"
    if not path.parent.exists():
        return f"the folder {parent} does not exist; make it, or write to another folder"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"the folder {parent} may not be written to; change its rights, or choose another folder"
    return ""


def _why_leads_nowhere(path: Path) -> str:
    if not path.is_symlink() or path.exists():
        return ""
    return f"{shown(path)} is a link to {shown(path.readlink())}, which leads to no file; mend or remove the link"


def _is_there(path: Path) -> bool:
    """Whether a path names something, a link included.

    Raises:
        OSError: it cannot be known, or the path cannot be one.
    """
    try:
        path.lstat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return False
        raise
    return True


def _place(path: Path) -> Path:
    """Where a path leads in the end; as it is where it cannot lead anywhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that cannot be one
        return path


def write_whole(path: Path, data: bytes) -> None:
    """Puts a file in place of any earlier one: a temporary beside it, flushed to the disk, renamed, the folder flushed.

    Raises:
        OSError: the disk is full or the folder may not be written to; an earlier file is as it was.
    """
    handle, temporary = tempfile.mkstemp(prefix=temporary_prefix(path), dir=path.parent)
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
