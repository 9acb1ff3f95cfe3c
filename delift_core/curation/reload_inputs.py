"""The files that a subset was made from, found again and read again.

It knows inputs as a manifest names them; it knows nothing of the workspace.
"""

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
from delift_core.data.quality.cleaning import again
from delift_core.errors import DataError
from delift_core.samples import Choice, ColumnMapping, Dataset, Turns

UPLOAD_PREFIX = "upload:"


def find_input(origin: str, beside: Path | None = None) -> Path | None:
    """The file or folder that an origin names: at its path, else of the same name beside the manifest; else None.

    An uploaded file has no path, and is looked for beside the manifest only.
    """
    name = Path(origin.removeprefix(UPLOAD_PREFIX)).name
    candidates = [Path(origin)] if origin and not origin.startswith(UPLOAD_PREFIX) else []
    if beside is not None and name:
        candidates.append(beside / name)
    try:
        return next((path for path in candidates if path.is_file() or (path.is_dir() and path.is_absolute())), None)
    except OSError:  # a name too long or with odd bytes is no file of ours
        return None


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; of a folder, of the names and hashes of the data files in it, in their order.

    Raises:
        OSError: it cannot be read.
        DataError: it is a folder without data files.
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
            dataset = again(load_file(path, ReadOptions(columns, answer, turns)), choices)
        except DataError:
            continue
        if dataset.content_hash == content_hash:
            return dataset
    return None


def reload_input(entry: InputEntry, beside: Path) -> Dataset | None:
    """The data set of an input, from its file as it is now; None when the file is gone or changed."""
    path = find_input(entry.origin, beside)
    return reload(path, entry.content_hash, entry.mapping, entry.turns, entry.choices) if path else None
