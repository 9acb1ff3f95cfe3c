"""Runs that were measured before, on disk under a hash of all they depend on: nothing is fine-tuned twice."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from zipfile import BadZipFile

import numpy as np

from delift_core.system.files import write_whole

Arrays = Mapping[str, np.ndarray]


class Keeper(Protocol):
    """Where runs are looked for before they are made, and put afterwards."""

    def load(self, facts: object) -> Arrays | None:
        """What was kept under these facts (plain JSON values), or None."""

    def save(self, facts: object, arrays: Arrays) -> None:
        """Keeps arrays under these facts."""


class NoKeeper:
    """Keeps nothing."""

    def load(self, facts: object) -> Arrays | None:
        """Nothing."""
        return None

    def save(self, facts: object, arrays: Arrays) -> None:
        """Forgets them."""


class FolderKeeper:
    """One .npz file a run; a file appears whole or not at all, and one that cannot be read is made again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, facts: object) -> Arrays | None:
        """What was kept under these facts, or None."""
        try:
            with self._path(facts).open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None

    def save(self, facts: object, arrays: Arrays) -> None:
        """Keeps arrays under these facts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **cast(Any, dict(arrays)))
        write_whole(self._path(facts), buffer.getvalue())

    def _path(self, facts: object) -> Path:
        text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
