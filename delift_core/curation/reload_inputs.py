"""Finds the input files that a manifest names, and reads them again."""

import hashlib
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import get_args

from delift_core.curation.manifest import InputEntry
from delift_core.data.formats.preference import Answer
from delift_core.data.loading import ReadOptions, load_file
from delift_core.data.loading.folders import list_files
from delift_core.data.quality.cleaning import apply_choices
from delift_core.errors import DataError
from delift_core.samples import Choice, ColumnMapping, Dataset, Turns

UPLOAD_PREFIX = "upload:"


def find_input(origin: str, beside: Path | None = None) -> Path | None:
    """The file or folder of an origin: at its path, or one of that name beside the manifest; else None.

    An uploaded file has no path and is only looked for beside the manifest.
    """
    name = Path(origin.removeprefix(UPLOAD_PREFIX)).name
    candidates = [Path(origin)] if origin and not origin.startswith(UPLOAD_PREFIX) else []
    if beside is not None and name:
        candidates.append(beside / name)
    try:
        return next((path for path in candidates if path.is_file() or (path.is_dir() and path.is_absolute())), None)
    except OSError:  # a name that is too long or has invalid bytes
        return None


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


def reload(
    path: Path,
    content_hash: str,
    mapping: ColumnMapping | None,
    turns: Turns = "last",
    choices: Sequence[Choice] = (),
) -> Dataset | None:
    """Reads a file again, makes the same choices, and gives None unless the same conversations come in the same order.

    Args:
        content_hash: what the data set had.
        mapping: the data set's columns; tried when the formats as detected give something else, whichever answer
            of a preference record is taken.
    """
    answers: tuple[Answer | None, ...] = (None, *get_args(Answer))
    for columns, answer in product((None, mapping) if mapping else (None,), answers):
        try:
            dataset = apply_choices(load_file(path, ReadOptions(columns, answer, turns)), choices)
        except DataError:
            continue
        if dataset.content_hash == content_hash:
            return dataset
    return None


def reload_input(entry: InputEntry, beside: Path) -> Dataset | None:
    """The data set of an input, read from its file; None if the file is gone or has changed."""
    path = find_input(entry.origin, beside)
    return reload(path, entry.content_hash, entry.mapping, entry.turns, entry.choices) if path else None
