"""Which files of a folder are read, and which are not and why: nothing in it is passed over without a word.

Splits are never mixed: of a folder that holds several, train is read. Knows names and first bytes; knows nothing of
records.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from delift_core.data.formats.base import name_list
from delift_core.data.loading.raw_records import problem
from delift_core.data.loading.source_files import HEAD_BYTES, SUFFIXES, Input, foreign, looks_like_json, why_no_input
from delift_core.errors import DataError
from delift_core.samples import Problem

# What `datasets` and this program write beside the rows.
SIDE_FILES = ("dataset_info.json", "state.json", "dataset_infos.json", "dataset_dict.json")
MANIFEST_END = ".manifest.json"
NAMED_ALIKE = 8  # more files of one folder and suffix that are not read are named together
TRAIN = "train"
_BY_ITSELF = "Give it by itself to read it."
_RENAMED = "Rename it, or give it by itself, to read it."
_NOTHING = "Nothing is to be done unless it holds rows."
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
class Listing:
    """The files of a source in the order in which they are read, and a problem for each one that is not read."""

    inputs: tuple[Input, ...]
    not_read: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unread:
    """A file that is not read: its place in the folder, why, and what to do."""

    name: Path
    reason: str
    remedy: str


def listing_of(path: Path) -> Listing:
    """A file as it is, or the data files of a folder and the folders in it, by name.

    Raises:
        DataError: the path cannot be read, or the folder holds no data file, or several splits and not just one for
            training.
    """
    if words := why_no_input(path):
        raise DataError(words)
    if not path.is_dir():
        return Listing((Input(path.name, path),))
    try:
        found, unread = _look_through(path)
    except OSError as error:
        raise DataError(f"the folder {path} cannot be read ({error.strerror}); check its permissions.") from error
    read = _of_one_split(path, found)
    unread += [_of_another_split(name) for name in found if name not in read]
    if not read:
        beside = f"; in it are {name_list(one.name for one in unread)}" if unread else ""
        raise DataError(f"the folder {path} has no data file in it{beside}; accepted are {', '.join(SUFFIXES)}.")
    inputs = tuple(Input(name.as_posix(), path / name) for name in read)
    return Listing(inputs, tuple(_told(sorted(unread, key=lambda one: one.name))))


def inputs_of(path: Path) -> tuple[Input, ...]:
    """The files of a path that are read, see `listing_of`."""
    return listing_of(path).inputs


def _look_through(path: Path) -> tuple[list[Path], list[_Unread]]:
    """The data files of a folder, by name, and all others; hidden folders are named and not entered."""
    found: list[Path] = []
    unread: list[_Unread] = []
    for folder, below, files in os.walk(path, onerror=_raise):
        here = Path(folder).relative_to(path)
        for name in [*below]:
            if name.startswith((".", "_")):
                unread.append(_Unread(here / name, "it is a hidden folder", _BY_ITSELF))
                below.remove(name)
            elif Path(folder, name).is_symlink():
                unread.append(_Unread(here / name, "it is a link to a folder", _BY_ITSELF))
        for name in files:
            why = _why_not(path / here / name)
            if why is None:
                found.append(here / name)
            else:
                unread.append(_Unread(here / name, *why))
    return sorted(found), unread


def _why_not(path: Path) -> tuple[str, str] | None:
    """Why a file of a folder is not read, and what to do; None where it is."""
    name, suffix = path.name, Input(path.name, b"").suffix
    if name.startswith((".", "_")):
        return "it is a hidden file", _RENAMED
    if name.endswith((*SIDE_FILES, MANIFEST_END)):
        return "it describes data and holds no rows", _NOTHING
    if not path.is_file():
        return "it is not an ordinary file, or a link to nothing", _NOTHING
    if path.stat().st_size == 0:
        return "it is empty", "Check that the download or the export was complete."
    if suffix in SUFFIXES:
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read ({error.strerror})", "Check its permissions."
    words = foreign(suffix, head)
    if words:
        what, _, remedy = words.partition("; ")
        return f"it is {what}", f"{remedy[0].upper()}{remedy[1:]}."
    what = f"files with the suffix {suffix} are not read in a folder" if suffix else "its name has no suffix"
    if looks_like_json(head):
        return f"{what}, though it looks like JSON", "Rename it to end in .jsonl or .json, or give it by itself."
    return what, _NOTHING


def _of_one_split(path: Path, found: Sequence[Path]) -> list[Path]:
    """The files that are read together: all of them, or those for training where others are held back from it."""
    words = [split_of(name, anywhere=True) for name in found]
    # A word in the middle of a name is that of a split where others are named in the same way.
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
    places = "; ".join(f"{split or 'none'}: {_place(path, names, found)}" for split, names in splits.items())
    raise DataError(
        f"{path} holds several splits, which are not read together ({places}); give the path of one of them, or move "
        "the files of one to a folder of their own."
    )


def split_of(name: Path, *, anywhere: bool = False) -> str | None:
    """The split that the place or the name of a file says it belongs to, in lower case; None where it says nothing.

    Args:
        anywhere: look for the word in the middle of the name too.
    """
    for part in reversed(name.parts[:-1]):
        called, word = _FOLDER.fullmatch(part), part.lower().removeprefix("split=")
        if called or word != part.lower():
            return _SPLIT_WORDS[called["word"].lower()] if called else _SPLIT_WORDS.get(word, word)
    stem = Input(name.name, b"").stem
    shard = _SHARD.fullmatch(stem)
    bare = shard["split"] if shard else stem
    match = _FIRST_WORD.match(bare) or _LAST_WORD.fullmatch(bare) or (_ANY_WORD.fullmatch(bare) if anywhere else None)
    if match is None:
        return None
    return bare.lower() if shard else _SPLIT_WORDS[match["word"].lower()]


def _place(path: Path, names: Sequence[Path], found: Sequence[Path]) -> Path | str:
    """What to give for some files of a folder: the file, the folder that holds just them, or a word for them."""
    if len(names) == 1:
        return path / names[0]
    folder = names[0].parent
    if {name for name in found if name.is_relative_to(folder)} == set(names):
        return path / folder
    return f"{len(names):,} files, the first is {names[0]}"


def _of_another_split(name: Path) -> _Unread:
    split = split_of(name, anywhere=True)
    words = f"it belongs to the split {split}" if split else "it belongs to none of the folder's splits"
    return _Unread(name, f"{words}, and splits are not read together", "Give its path to read it.")


def _told(unread: Iterable[_Unread]) -> Iterable[Problem]:
    """A problem for each file; many of one folder, suffix and reason are named together."""
    alike: dict[tuple[Path, str, str], list[_Unread]] = {}
    for one in unread:
        alike.setdefault((one.name.parent, one.name.suffix, one.reason), []).append(one)
    for (folder, suffix, reason), some in alike.items():
        if len(some) > NAMED_ALIKE:
            name, words = (folder / f"*{suffix}").as_posix(), f"{reason} ({len(some):,} files)"
            yield problem("file-not-read", name, 0, "", words, some[0].remedy, "")
        else:
            yield from (problem("file-not-read", one.name.as_posix(), 0, "", reason, one.remedy, "") for one in some)


def _raise(error: OSError) -> None:
    raise error
