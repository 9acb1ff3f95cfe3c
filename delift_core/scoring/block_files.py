"""The files of scored pairs: blocks in files of their own, the sets of rows that they are about, and packs.

Budgeted runs score a few pairs per example and round; a pack holds many such small blocks in one file.

    <context key>/packs/<name>.npz    names of samples; helper and row (int32) and statistics (float32) of each pair

A pack is named by the hash of its bytes, so that damage is detected, and is written atomically. A pair in several packs
has the same numbers in each. This module knows nothing of models or plans.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from delift_core.errors import ScoringError
from delift_core.system.files import content_if_intact, with_checksum, write_whole

NPY_HEADER = 128  # bytes of numpy's header for the arrays of blocks
_STATISTICS = 2
_SMALL_BYTES = 1 << 20  # packs below this size are merged
_DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile)


class RowSets:
    """The sets of rows that blocks are about, each a list of content hashes in a file named by a hash of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._positions: dict[str, dict[str, int]] = {}

    def positions(self, name: str) -> dict[str, int]:
        """The position of each row in a set.

        Raises:
            OSError, ValueError: its file is missing or damaged.
        """
        if name not in self._positions:
            rows = json.loads(self._path(name).read_text())
            if _name_of(rows) != name:
                raise ValueError(f"row set {name} is damaged")
            self._positions[name] = {row: position for position, row in enumerate(rows)}
        return self._positions[name]

    def known(self, name: str) -> dict[str, int] | None:
        """As `positions`; None if the file is missing or damaged."""
        try:
            return self.positions(name)
        except (OSError, ValueError):
            return None

    def match(self, rows: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
        """The positions in `rows`, and in a set, of the rows in both: (m,) int64 each."""
        known = self.positions(name)
        there = np.array([known.get(row, -1) for row in rows], dtype=np.int64)
        here = np.flatnonzero(there >= 0)
        return here, there[here]

    def write(self, rows: Sequence[str]) -> str:
        """Writes a set if necessary, and returns its name."""
        name = _name_of(rows)
        if name not in self._positions or not self._path(name).exists():  # another process may have removed it
            write_whole(self._path(name), json.dumps(list(rows)).encode())
            self._positions[name] = {row: position for position, row in enumerate(rows)}
        return name

    def remove(self, name: str) -> None:
        """Removes a set's file."""
        self._path(name).unlink(missing_ok=True)
        self._positions.pop(name, None)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _name_of(rows: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def save_block(path: Path, array: np.ndarray) -> None:
    """Writes an array with a checksum, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    write_whole(path, with_checksum(buffer.getvalue()))


def require_block(path: Path, rows: int, width: int | None = None) -> np.ndarray:
    """As `read_block`, for a block that must be valid.

    Raises:
        ScoringError: the block is missing or damaged.
    """
    block = read_block(path, rows, width)
    if block is None:
        raise damaged_error(path)
    return block


def damaged_error(path: Path) -> ScoringError:
    """Builds the error for a block or pack that is damaged."""
    return ScoringError(
        f"scored pairs are damaged on disk ({path.parent.name}/{path.name}); continue the run on the Score page "
        "(or call score again), only what is damaged is scored again"
    )


def read_block(path: Path, rows: int, width: int | None = None) -> np.ndarray | None:
    """A block of so many rows (and columns); None if it is missing or damaged."""
    try:
        content = content_if_intact(path.read_bytes())
        block: np.ndarray | None = None if content is None else np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError):
        return None
    if block is None or block.ndim != 2 or len(block) != rows or block.shape[1] != (width or block.shape[1]):
        return None
    # More bytes after the array are a checksum that cannot be read; then the block cannot be trusted.
    return block if content is not None and len(content) == NPY_HEADER + block.nbytes else None


@dataclass(frozen=True, slots=True)
class PackedPairs:
    """Scored pairs, sorted by helper."""

    index: dict[str, int]  # of every sample, by its content hash
    starts: np.ndarray  # (len(index) + 1,) int64, the first pair of each sample as helper
    rows: np.ndarray  # (m,) int32 indices of the helped samples
    statistics: np.ndarray  # (m, 2) float32
    damaged: tuple[Path, ...] = ()  # packs whose content changed on disk; their pairs are missing here

    def slice_of(self, helper: str) -> slice:
        """The pairs of a helper; empty if there are none."""
        index = self.index.get(helper)
        return slice(0, 0) if index is None else slice(int(self.starts[index]), int(self.starts[index + 1]))

    def has(self, rows: Sequence[str], helper: str) -> np.ndarray:
        """Whether each pair is in the packs: (n,) bool."""
        return np.isin(self._indices(rows), self.rows[self.slice_of(helper)])

    def fill(self, table: np.ndarray, rows: Sequence[str], helper: str) -> None:
        """Copies the statistics of pairs in the packs to `table` (n, 2), in the order of `rows`."""
        part = self.slice_of(helper)
        here = self.rows[part]
        if not len(here):
            return
        by_row = np.argsort(here, kind="stable")
        wanted = self._indices(rows)
        at = np.minimum(np.searchsorted(here[by_row], wanted), len(here) - 1)
        found = here[by_row[at]] == wanted
        table[found] = self.statistics[part][by_row[at[found]]]

    def signature(self, helper: str) -> str:
        """Equal for helpers with the same rows in the packs; empty if there are none."""
        here = self.rows[self.slice_of(helper)]
        return hashlib.sha256(np.sort(here).tobytes()).hexdigest()[:16] if len(here) else ""

    def _indices(self, rows: Sequence[str]) -> np.ndarray:
        return np.array([self.index.get(row, -1) for row in rows], dtype=np.int64)


def write_pack(folder: Path, blocks: Iterable[tuple[str, Sequence[str], np.ndarray]]) -> Path:
    """Writes blocks (helper, rows, (m, 2) statistics) to a new pack.

    Raises:
        OSError: the disk is full or the folder may not be written to.
    """
    index: dict[str, int] = {}
    helpers: list[int] = []
    rows: list[int] = []
    statistics = []
    for helper, helped, part in blocks:
        helpers += [index.setdefault(helper, len(index))] * len(helped)
        rows += [index.setdefault(row, len(index)) for row in helped]
        statistics.append(part)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.frombuffer("\n".join(index).encode(), dtype=np.uint8),
        helpers=np.array(helpers, dtype=np.int32),
        rows=np.array(rows, dtype=np.int32),
        statistics=np.concatenate(statistics).astype(np.float32),
    )
    content = buffer.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.npz"
    write_whole(path, content)
    return path


def read_packs(folder: Path) -> PackedPairs:
    """The pairs of all undamaged packs of a folder."""
    while True:
        index: dict[str, int] = {}
        read = {path: _read_pack(path, index) for path in pack_files(folder)}
        if all(path.exists() for path, part in read.items() if part is None):
            break  # else another process has merged some packs meanwhile
    parts = [part for part in read.values() if part is not None]
    damaged = tuple(path for path, part in read.items() if part is None)
    if not parts:
        nothing = np.empty(0, dtype=np.int32), np.empty((0, _STATISTICS), dtype=np.float32)
        return PackedPairs({}, np.zeros(1, dtype=np.int64), *nothing, damaged)
    helpers, rows, statistics = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    by_helper = np.argsort(helpers, kind="stable")
    starts = np.zeros(len(index) + 1, dtype=np.int64)
    np.cumsum(np.bincount(helpers, minlength=len(index)), out=starts[1:])
    return PackedPairs(index, starts, rows[by_helper], statistics[by_helper], damaged)


def small_packs(folder: Path) -> list[Path]:
    """The undamaged packs that are small enough to merge."""
    small = [path for path in pack_files(folder) if path.stat().st_size < _SMALL_BYTES]
    return [path for path in small if _read_pack(path, {}) is not None]


def read_blocks(paths: Iterable[Path]) -> Iterator[tuple[str, Sequence[str], np.ndarray]]:
    """The pairs of some packs as blocks, one per helper; each pair once."""
    index: dict[str, int] = {}
    parts = [part for path in paths if (part := _read_pack(path, index)) is not None]
    if not parts:
        return
    helpers, rows, statistics = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    names = list(index)
    _, first = np.unique(helpers.astype(np.int64) * len(names) + rows, return_index=True)  # sorted by helper
    edges = np.flatnonzero(np.diff(helpers[first])) + 1
    for members in np.split(first, edges):
        yield names[helpers[members[0]]], [names[row] for row in rows[members].tolist()], statistics[members]


def damaged_packs(folder: Path) -> Iterator[Path]:
    """The packs whose content changed on disk."""
    return (path for path in pack_files(folder) if _read_pack(path, {}) is None)


def names_in(path: Path) -> frozenset[str]:
    """The content hashes of the samples in a pack; none for a damaged one."""
    index: dict[str, int] = {}
    _read_pack(path, index)
    return frozenset(index)


def pack_files(folder: Path) -> list[Path]:
    """The packs of a folder by name, without unfinished ones."""
    return sorted(folder.glob("[!.]*.npz")) if folder.is_dir() else []


def _read_pack(path: Path, index: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Helpers and rows (as indices, added to `index`) and statistics of a pack; None for a damaged one."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:16] != path.stem:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as pack:
            names = pack["names"].tobytes().decode().split("\n")
            helpers, rows, statistics = pack["helpers"], pack["rows"], pack["statistics"]
    except _DAMAGED:
        return None
    indices = np.array([index.setdefault(name, len(index)) for name in names], dtype=np.int32)
    return indices[helpers], indices[rows], statistics
