"""Results of fine-tuning runs and method orders on disk, under a hash of all they depend on: nothing is run twice."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

from delift_core.system.files import write_whole

Arrays = Mapping[str, np.ndarray]


class ResultCache:
    """One .npz file for each result; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: object) -> Arrays | None:
        """The arrays stored under a key (plain JSON values); None if there are none or they cannot be read."""
        path = self._path(key)
        if path is None:
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None

    def save(self, key: object, arrays: Arrays) -> None:
        """Stores arrays under a key; the file is replaced atomically."""
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **cast(Any, dict(arrays)))
        write_whole(path, buffer.getvalue())

    def _path(self, key: object) -> Path | None:
        text = json.dumps(key, sort_keys=True, ensure_ascii=True)
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        return self._folder and self._folder / name
