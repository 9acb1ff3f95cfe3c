"""Lists the data files of a folder, and every other file with the reason why it is not read; reads their records.

Splits are never mixed: if a folder holds several, train is read. A listing looks at names and first bytes only.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from delift_core.data.formats.base import name_list
from delift_core.data.loading.json_records import read_json
from delift_core.data.loading.raw_records import (
    Meter,
    RawRecord,
    Records,
    Watch,
    check_head,
    join_answers,
    join_messages,
    problem,
)
from delift_core.data.loading.source_files import (
    HEAD_BYTES,
    KINDS,
    SUFFIXES,
    Kind,
    SourceFile,
    detect_kind,
    looks_like_json,
    unsupported_kind,
    why_not_readable,
)
from delift_core.data.loading.tables import read_arrow, read_csv, read_parquet
from delift_core.errors import DataError
from delift_core.samples import Problem

# Files that `datasets` and this program write beside the data.
SIDE_FILES = ("dataset_info.json", "state.json", "dataset_infos.json", "dataset_dict.json")
MANIFEST_END = ".manifest.json"
MOST_NAMED = 8  # unread files of one folder, suffix and reason are summed up beyond this number
TRAIN = "train"
_GIVE_PATH = "Give its path to read it."
_RENAME = "Rename it, or give its path, to read it."
_IGNORE = "Ignore this unless the file holds rows."
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("eval", "evaluation"), "evaluation"),
    **dict.fromkeys(("heldout", "held-out", "held_out", "holdout"), "held-out"),
}
_WORD = rf"(?P<word>{'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})(set|data|split)?"
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?", re.IGNORECASE)
_FOLDER = re.compile(rf"{_WORD}([-_. ](set|data|split|files))?([-_. ]?v?\d+)*", re.IGNORECASE)
_FIRST_WORD = re.compile(rf"{_WORD}(?![a-z])", re.IGNORECASE)
_LAST_WORD = re.compile(rf".*[-_. ]{_WORD}([-_. ]?v?\d+)*", re.IGNORECASE)
_ANY_WORD = re.compile(rf"(.*[-_. ])?{_WORD}([-_. \d].*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileListing:
    """The files to read, in order, and a problem for each file that is not read."""

    read: tuple[SourceFile, ...]
    not_read: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unread:
    """A file that is not read: its path in the folder, why, and what to do."""

    name: Path
    reason: str
    remedy: str


def list_files(path: Path) -> FileListing:
    """Lists a single file, or the data files of a folder and its subfolders in the order of their names.

    Raises:
        DataError: the path cannot be read, or the folder holds no data file, or several splits of which not exactly
            one is for training.
    """
    if words := why_not_readable(path):
        raise DataError(words)
    if not path.is_dir():
        return FileListing((SourceFile(path.name, path),))
    try:
        found, unread = _walk(path)
    except OSError as error:
        raise DataError(f"the folder {path} cannot be read ({error.strerror}); check its permissions.") from error
    read = _select_split(path, found)
    unread += [_from_other_split(name) for name in found if name not in read]
    if not read:
        beside = f"; in it are {name_list(one.name for one in unread)}" if unread else ""
        raise DataError(f"the folder {path} has no data file in it{beside}; accepted are {', '.join(SUFFIXES)}.")
    files = tuple(SourceFile(name.as_posix(), path / name) for name in read)
    return FileListing(files, tuple(_problems(sorted(unread, key=lambda one: one.name))))


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes or, for a folder, of the names and hashes of its data files in order.

    Raises:
        OSError: the file cannot be read.
        DataError: the folder has no data files.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for source in list_files(path).read:
            digest.update(json.dumps([source.name, file_hash(path / source.name)]).encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_records(path: Path) -> Records:
    """Yields the records of a file in order, and a problem in place of each record that cannot be decoded.

    Args:
        path: a .json, .jsonl, .ndjson, .csv, .tsv, .parquet, .arrow or .feather file, possibly compressed (.gz, .zst,
            .bz2, .xz), or a folder of such files, read in the order of their names. JSON and JSON lines are told apart
            by content, as are files without a known suffix.

    Raises:
        DataError: the file is missing, empty or of another kind, or holds no record that can be decoded.
    """
    return read_files(list_files(path).read)


def read_bytes(data: bytes, filename: str) -> Records:
    """As `read_records`, for the bytes of an uploaded file."""
    return read_files((SourceFile(Path(filename).name, data),))


def read_files(files: Sequence[SourceFile], watch: Watch | None = None) -> Records:
    """Yields the records of some files in order, joined where they are spread over records or files."""
    # The first file is opened at once, so that a wrong path is an error before any record is asked for.
    opened = _open(files[0])
    meter = Meter(watch, sum(source.size for source in files)) if watch else None
    later = (item for source in files[1:] for item in _records(source, _open(source), meter))
    found = chain(_records(files[0], opened, meter), later)
    return _refuse_nothing(join_messages(join_answers(found) if len(files) > 1 else found), files)


def _open(source: SourceFile) -> tuple[BinaryIO, Kind]:
    stream = source.open()
    try:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        check_head(head, source.name)
        return stream, detect_kind(source.name, source.suffix, head)
    except DataError:
        stream.close()
        raise


def _records(source: SourceFile, opened: tuple[BinaryIO, Kind], meter: Meter | None) -> Records:
    stream, kind = opened
    with stream:
        records = _decoded(source, stream, kind)
        yield from meter.over(records, stream, source.size) if meter else records


def _decoded(source: SourceFile, stream: BinaryIO, kind: Kind) -> Records:
    if kind == "json":
        return read_json(stream, source.name)
    if kind == "csv":
        return read_csv(stream, source.name, source.suffix)
    return read_arrow(stream, source.name) if kind == "arrow" else read_parquet(stream, source.name)


def _refuse_nothing(records: Records, files: Sequence[SourceFile]) -> Records:
    """Passes records through; raises a `DataError` at the end if none could be decoded."""
    source = files[0].name if len(files) == 1 else f"the {len(files)} files of the folder"
    first: Problem | None = None
    decoded = 0
    for item in records:
        if isinstance(item, RawRecord):
            decoded += 1
        elif first is None:
            first = item
        yield item
    if decoded == 0 and first is not None:
        kind = "JSON" if all(KINDS.get(one.suffix, "json") == "json" for one in files) else "records"
        raise DataError(f"nothing in {source} can be read as {kind}; {first}")
    if decoded == 0:
        raise DataError(f"{source} holds no records; check that the download or the export was complete.")


def _walk(path: Path) -> tuple[list[Path], list[_Unread]]:
    """The data files of a folder, sorted, and all other files; hidden folders are not entered."""
    found: list[Path] = []
    unread: list[_Unread] = []
    for folder, below, files in os.walk(path, onerror=_raise):
        here = Path(folder).relative_to(path)
        for name in [*below]:
            if name.startswith((".", "_")):
                unread.append(_Unread(here / name, "it is a hidden folder", _GIVE_PATH))
                below.remove(name)
            elif Path(folder, name).is_symlink():
                unread.append(_Unread(here / name, "it is a link to a folder", _GIVE_PATH))
        for name in files:
            why = _why_not_read(path / here / name)
            if why is None:
                found.append(here / name)
            else:
                unread.append(_Unread(here / name, *why))
    return sorted(found, key=lambda name: name.parts), unread  # paths of Windows would ignore case


def _why_not_read(path: Path) -> tuple[str, str] | None:
    """Why a file is not read, and what to do; None if it is read."""
    name, suffix = path.name, SourceFile(path.name, b"").suffix
    if name.startswith((".", "_")):
        return "it is a hidden file", _RENAME
    if name.endswith((*SIDE_FILES, MANIFEST_END)):
        return "it describes data and holds no rows", _IGNORE
    if not path.is_file():
        return "it is not a regular file, or is a broken link", _IGNORE
    if path.stat().st_size == 0:
        return "it is empty", "Check that the download or the export was complete."
    if suffix in SUFFIXES:
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read ({error.strerror})", "Check its permissions."
    words = unsupported_kind(suffix, head)
    if words:
        what, _, remedy = words.partition("; ")
        return f"it is {what}", f"{remedy[0].upper()}{remedy[1:]}."
    what = f"files with the suffix {suffix} are not read in a folder" if suffix else "its name has no suffix"
    if looks_like_json(head):
        return f"{what}, though it looks like JSON", "Rename it to end in .jsonl or .json, or give its path."
    return what, _IGNORE


def _select_split(path: Path, found: Sequence[Path]) -> list[Path]:
    """All files, or those of the training split if there are other splits."""
    words = [split_of(name, anywhere=True) for name in found]
    # A word in the middle of a name counts as a split only if files of other splits are named in the same way.
    anywhere = any(word and word.startswith(TRAIN) for word in words) and len(set(words) - {None}) > 1
    splits: dict[str | None, list[Path]] = {}
    for name in found:
        splits.setdefault(split_of(name, anywhere=anywhere), []).append(name)
    training = [split for split in splits if split is not None and split.startswith(TRAIN)]
    held_back = [split for split in splits if split is not None and split not in training]
    if len(splits) == 1 or (not held_back and len(training) < 2):
        return list(found)
    if len(training) == 1:
        return splits[training[0]]
    places = "; ".join(f"{split or 'none'}: {_location(path, names, found)}" for split, names in splits.items())
    raise DataError(
        f"{path} holds several splits, which are not read together ({places}); give the path of one of them, or move "
        "the files of one to a folder of their own."
    )


def split_of(name: Path, *, anywhere: bool = False) -> str | None:
    """The split that a file's folder or name indicates, in lower case; None if there is no such word.

    Args:
        anywhere: accept the word in the middle of the name.
    """
    for part in reversed(name.parts[:-1]):
        folder, word = _FOLDER.fullmatch(part), part.lower().removeprefix("split=")
        if folder or word != part.lower():
            return _SPLIT_WORDS[folder["word"].lower()] if folder else _SPLIT_WORDS.get(word, word)
    stem = SourceFile(name.name, b"").stem
    shard = _SHARD.fullmatch(stem)
    bare = shard["split"] if shard else stem
    match = _FIRST_WORD.match(bare) or _LAST_WORD.fullmatch(bare) or (_ANY_WORD.fullmatch(bare) if anywhere else None)
    if match is None:
        return None
    return bare.lower() if shard else _SPLIT_WORDS[match["word"].lower()]


def _location(path: Path, names: Sequence[Path], found: Sequence[Path]) -> Path | str:
    """The path that selects some files of a folder: the file, or a folder with no others; else their number."""
    if len(names) == 1:
        return path / names[0]
    folder = names[0].parent
    if {name for name in found if name.is_relative_to(folder)} == set(names):
        return path / folder
    return f"{len(names):,} files, the first is {names[0]}"


def _from_other_split(name: Path) -> _Unread:
    split = split_of(name, anywhere=True)
    words = f"it belongs to the split {split}" if split else "it belongs to none of the folder's splits"
    return _Unread(name, f"{words}, and splits are not read together", "Give its path to read it.")


def _problems(unread: Iterable[_Unread]) -> Iterable[Problem]:
    """A problem for each file, or for many files of one folder, suffix and reason."""
    groups: dict[tuple[Path, str, str], list[_Unread]] = {}
    for one in unread:
        groups.setdefault((one.name.parent, one.name.suffix, one.reason), []).append(one)
    for (folder, suffix, reason), group in groups.items():
        if len(group) > MOST_NAMED:
            name, words = (folder / f"*{suffix}").as_posix(), f"{reason} ({len(group):,} files)"
            yield problem("file-not-read", name, 0, "", words, group[0].remedy, "")
        else:
            yield from (problem("file-not-read", one.name.as_posix(), 0, "", reason, one.remedy, "") for one in group)


def _raise(error: OSError) -> None:
    raise error
