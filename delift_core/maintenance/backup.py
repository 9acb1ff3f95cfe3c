"""A workspace in one file: `backup` writes a consistent copy, `restore` makes a workspace from it.

    tar: the database, the folders of the workspace, and last "backup.json", the size and SHA-256 of each file

Both are atomic, and a restored workspace is verified byte for byte.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from delift_core import __version__
from delift_core.errors import WorkspaceError
from delift_core.jobs.folder import PROCESS_FILES
from delift_core.system.files import (
    is_same_file,
    replace_file,
    sync_folder,
    temporary_prefix,
    why_folder_unusable,
    why_invalid_path,
    why_unreadable,
    why_unwritable,
)
from delift_core.system.texts import byte_size
from delift_core.workspace import Workspace
from delift_core.workspace.workspace import DATABASE_NAME, FOLDERS, utc_now

INDEX = "backup.json"
_VERSION = 1
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was backed up or restored; `size` in bytes, `created_at` ISO 8601 with a time zone."""

    path: Path
    workspace: Path
    files: int
    size: int
    created_at: str


@dataclass(frozen=True, slots=True)
class _Entry:
    size: int
    sha256: str


def backup(folder: Path, out: Path) -> BackupReport:
    """Writes a copy of a workspace, which is locked meanwhile.

    Args:
        folder: the workspace.
        out: the file to write; it must not exist.

    Raises:
        WorkspaceError: there is no workspace or it is in use, `out` exists or is inside the workspace, or the disk is
            full. Nothing is written then.
    """
    folder, out = _expanded(folder), _expanded(out)
    _require_backup_place(folder, out)
    with Workspace.open(folder) as workspace:  # applies migrations, and replays the write-ahead log after a crash
        workspace.checkpoint()
    created = utc_now().isoformat()
    entries: dict[str, _Entry] = {}
    with _locked(folder), _new_file(out) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for path in _files(folder):
            entries[path.relative_to(folder).as_posix()] = _add(archive, path, path.relative_to(folder).as_posix())
        index: dict[str, object] = {"version": _VERSION, "program": __version__, "created_at": created}
        index["files"] = {name: [entry.size, entry.sha256] for name, entry in entries.items()}
        _add_bytes(archive, INDEX, json.dumps(index).encode())
    return BackupReport(out, folder, len(entries), sum(entry.size for entry in entries.values()), created)


def restore(file: Path, folder: Path) -> BackupReport:
    """Makes a workspace from a backup.

    Args:
        folder: the new workspace; it must be empty or not exist yet.

    Raises:
        WorkspaceError: the file is no backup or is damaged, the folder is not empty, or the disk is full. The folder
            is unchanged then.
    """
    folder = _expanded(folder)
    if problem := why_unreadable(file, folder=False) or why_folder_unusable(folder, new=True):
        raise WorkspaceError(problem)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(file, mode="r:") as archive:
            members, entries, created = _index(archive, file)
            _require_room(folder.parent, entries)
            with _new_folder(folder) as temporary:
                for name, entry in entries.items():
                    _extract(archive, members[name], temporary / name, entry)
                Workspace.open(temporary).close()  # only one that opens is put in place
    except (tarfile.TarError, KeyError, ValueError, TypeError, EOFError) as error:
        raise WorkspaceError(f"{file} is no backup, or is damaged ({error}); nothing was restored") from error
    except OSError as error:
        what = error.filename or file
        raise WorkspaceError(f"{what}: {error.strerror or error}; nothing was restored") from error
    return BackupReport(file, folder, len(entries), sum(entry.size for entry in entries.values()), created)


def _expanded(path: Path) -> Path:
    """The absolute path, with ~ replaced by the home folder."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise WorkspaceError(f"{path}: there is no such home folder; write the whole path") from error


def _require_backup_place(folder: Path, out: Path) -> None:
    if problem := why_invalid_path(folder) or why_unwritable(out):
        raise WorkspaceError(problem)
    if not (folder / DATABASE_NAME).exists():
        raise WorkspaceError(f"there is no workspace in {folder}; name one with --workspace")
    if out.exists():
        raise WorkspaceError(f"{out} exists already and is not overwritten; give the backup another name")
    if any(is_same_file(parent, folder) for parent in out.resolve().parents):
        raise WorkspaceError(f"{out} is inside the workspace; write the backup to another folder, or another disk")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from opening the workspace: DuckDB asks for the lock that is held here."""
    path = folder / DATABASE_NAME
    with ExitStack() as stack:
        try:
            _lock(stack.enter_context(path.open("rb")))
        except OSError as error:
            raise WorkspaceError(f"workspace {folder} is open in another process; close it, then try again") from error
        if path.with_name(f"{DATABASE_NAME}.wal").exists():
            raise WorkspaceError(f"workspace {folder} was written by another process meanwhile; try again")
        yield


def _lock(stream: IO[bytes]) -> None:
    if sys.platform != "win32":  # on Windows, DuckDB does not open a file that is open here, nor the other way round
        import fcntl

        fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextmanager
def _new_file(out: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name once it is complete and on the disk."""
    temporary = out.with_name(f"{temporary_prefix(out)}part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        out.open("xb").close()  # unlike a rename, this never replaces a file
        replace_file(temporary, out)
        sync_folder(out.parent)
    except OSError as error:
        raise WorkspaceError(f"{out} could not be written ({error.strerror or error}); nothing was kept") from error
    finally:
        with suppress(OSError):  # in a read-only folder it was never made
            temporary.unlink(missing_ok=True)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that gets its name once it is complete and on the disk."""
    temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(folder), dir=folder.parent))
    try:
        yield temporary
        for inner in (path for path in temporary.rglob("*") if path.is_dir()):
            sync_folder(inner)
        temporary.replace(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    """The database and all finished files of the workspace; no links, which may lead out of it."""
    yield folder / DATABASE_NAME
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_file() and not path.is_symlink() and not hidden and path.name not in PROCESS_FILES:
                yield path


def _add(archive: tarfile.TarFile, path: Path, name: str) -> _Entry:
    with path.open("rb") as stream:
        info = tarfile.TarInfo(name)
        info.size = os.fstat(stream.fileno()).st_size
        reader = _Hashing(stream)
        archive.addfile(info, reader)
    return _Entry(info.size, reader.digest.hexdigest())


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


class _Hashing:
    """A stream that computes the SHA-256 of what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes."""
        data = self._stream.read(size)
        self.digest.update(data)
        return data


def _index(archive: tarfile.TarFile, file: Path) -> tuple[dict[str, tarfile.TarInfo], dict[str, _Entry], str]:
    """The members by name, their sizes and hashes, and when the backup was made.

    Raises:
        WorkspaceError: the index is missing (the backup was cut short), or names a file that no workspace has.
    """
    # A sparse member is small in the archive and may be of any size on the disk.
    members = {member.name: member for member in archive.getmembers() if member.isreg() and not member.issparse()}
    stream = archive.extractfile(members[INDEX]) if INDEX in members else None
    if stream is None:
        raise WorkspaceError(f"{file} is no backup of a workspace, or was cut short; nothing was restored")
    index = json.load(stream)
    if index["version"] != _VERSION:
        raise WorkspaceError(f"{file} was written by DELIFT Studio {index['program']}; restore it with that version")
    entries = {name: _Entry(int(size), str(sha256)) for name, (size, sha256) in index["files"].items()}
    for name, entry in entries.items():
        parts = PurePosixPath(name).parts
        inside = len(parts) > 1 and parts[0] in FOLDERS and ".." not in parts
        if name != DATABASE_NAME and not inside:
            raise WorkspaceError(f"{file} holds {name!r}, which is not part of a workspace; nothing was restored")
        if members[name].size != entry.size:
            raise WorkspaceError(f"{file}: {name} has {members[name].size:,} bytes, not {entry.size:,}; it is damaged")
    return members, entries, str(index["created_at"])


def _require_room(folder: Path, entries: dict[str, _Entry]) -> None:
    needed, free = sum(entry.size for entry in entries.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise WorkspaceError(
            f"the backup holds {byte_size(needed)} and {byte_size(free)} are free in {folder}; make room"
        )


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, entry: _Entry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = archive.extractfile(member)
    assert stream is not None  # a regular file
    reader = _Hashing(stream)
    with path.open("wb") as out:
        shutil.copyfileobj(reader, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())
    if reader.digest.hexdigest() != entry.sha256:
        raise WorkspaceError(f"{member.name} differs from what was backed up; the backup is damaged")
