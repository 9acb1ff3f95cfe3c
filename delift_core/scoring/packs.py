"""Many small blocks of scored pairs in few files: what a plan of pairs leaves, an example and a round at a time.

    <context key>/packs/<name>.npz    names of samples; of each pair helper and row (int32) and statistics (float32)

A pack's name is the hash of its bytes, so that damage is noticed, and it appears whole or not at all; the same pair in
two packs has the same numbers. This module knows nothing of models or plans.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from delift_core.system.files import write_whole

_STATISTICS = 2
_SMALL_BYTES = 1 << 20  # less than a pack of as many blocks as are collected
_DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scored pairs, those of a helper side by side.

    Attributes:
        numbers: of every sample that is named, by its content hash.
        starts: (len(numbers) + 1,) int64, where the pairs begin that each sample helps in.
        rows: (m,) int32 numbers of the helped samples.
        statistics: (m, 2) float32.
        damaged: packs that are not what was written; their pairs are not here.
    """

    numbers: dict[str, int]
    starts: np.ndarray
    rows: np.ndarray
    statistics: np.ndarray
    damaged: tuple[Path, ...] = ()

    def of(self, helper: str) -> slice:
        """Where the pairs of a helper are; empty where there are none."""
        number = self.numbers.get(helper)
        return slice(0, 0) if number is None else slice(int(self.starts[number]), int(self.starts[number + 1]))

    def has(self, rows: Sequence[str], helper: str) -> np.ndarray:
        """Which pairs are here: (n,) bool."""
        return np.isin(self._numbers_of(rows), self.rows[self.of(helper)])

    def fill(self, table: np.ndarray, rows: Sequence[str], helper: str) -> None:
        """Puts the statistics of pairs that are here into a table (n, 2), in the order of `rows`."""
        within = self.of(helper)
        here = self.rows[within]
        if not len(here):
            return
        by_row = np.argsort(here, kind="stable")
        wanted = self._numbers_of(rows)
        at = np.minimum(np.searchsorted(here[by_row], wanted), len(here) - 1)
        found = here[by_row[at]] == wanted
        table[found] = self.statistics[within][by_row[at[found]]]

    def mark(self, helper: str) -> str:
        """Equal for helpers whose pairs here are with the same rows; empty where there are none."""
        here = self.rows[self.of(helper)]
        return hashlib.sha256(np.sort(here).tobytes()).hexdigest()[:16] if len(here) else ""

    def _numbers_of(self, rows: Sequence[str]) -> np.ndarray:
        return np.array([self.numbers.get(row, -1) for row in rows], dtype=np.int64)


def write_pack(folder: Path, blocks: Iterable[tuple[str, Sequence[str], np.ndarray]]) -> Path:
    """Writes blocks (helper, rows, (m, 2) statistics) into one file.

    Raises:
        OSError: the disk is full or the folder may not be written to.
    """
    numbers: dict[str, int] = {}
    helpers: list[int] = []
    rows: list[int] = []
    statistics = []
    for helper, helped, part in blocks:
        helpers += [numbers.setdefault(helper, len(numbers))] * len(helped)
        rows += [numbers.setdefault(row, len(numbers)) for row in helped]
        statistics.append(part)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.frombuffer("\n".join(numbers).encode(), dtype=np.uint8),
        helpers=np.array(helpers, dtype=np.int32),
        rows=np.array(rows, dtype=np.int32),
        statistics=np.concatenate(statistics).astype(np.float32),
    )
    content = buffer.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.npz"
    write_whole(path, content)
    return path


def read_packs(folder: Path) -> Pairs:
    """The pairs of all packs of a folder that are what was written."""
    while True:
        numbers: dict[str, int] = {}
        listed = pack_files(folder)
        read = {path: _read_pack(path, numbers) for path in listed}
        if all(path.exists() for path, part in read.items() if part is None):
            break  # else another process has put some together meanwhile
    parts = [part for part in read.values() if part is not None]
    damaged = tuple(path for path, part in read.items() if part is None)
    if not parts:
        nothing = np.empty(0, dtype=np.int32), np.empty((0, _STATISTICS), dtype=np.float32)
        return Pairs({}, np.zeros(1, dtype=np.int64), *nothing, damaged)
    helpers, rows, statistics = (np.concatenate(one) for one in zip(*parts, strict=True))
    by_helper = np.argsort(helpers, kind="stable")
    starts = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.cumsum(np.bincount(helpers, minlength=len(numbers)), out=starts[1:])
    return Pairs(numbers, starts, rows[by_helper], statistics[by_helper], damaged)


def small_packs(folder: Path) -> list[Path]:
    """The packs that are worth putting together, and are what was written."""
    small = [path for path in pack_files(folder) if path.stat().st_size < _SMALL_BYTES]
    return [path for path in small if _read_pack(path, {}) is not None]


def blocks_of(paths: Iterable[Path]) -> Iterator[tuple[str, Sequence[str], np.ndarray]]:
    """The pairs of some packs as blocks, one for each example; each pair once."""
    numbers: dict[str, int] = {}
    parts = [part for path in paths if (part := _read_pack(path, numbers)) is not None]
    if not parts:
        return
    helpers, rows, statistics = (np.concatenate(one) for one in zip(*parts, strict=True))
    names = list(numbers)
    _, first = np.unique(helpers.astype(np.int64) * len(names) + rows, return_index=True)  # sorted by helper
    edges = np.flatnonzero(np.diff(helpers[first])) + 1
    for members in np.split(first, edges):
        yield names[helpers[members[0]]], [names[row] for row in rows[members].tolist()], statistics[members]


def damaged_packs(folder: Path) -> Iterator[Path]:
    """The packs whose bytes are not those that were written."""
    return (path for path in pack_files(folder) if _read_pack(path, {}) is None)


def names_in(path: Path) -> frozenset[str]:
    """The samples that a pack names; none of a damaged one."""
    numbers: dict[str, int] = {}
    _read_pack(path, numbers)
    return frozenset(numbers)


def pack_files(folder: Path) -> list[Path]:
    """The packs of a folder, by name; those that were not finished are not among them."""
    return sorted(folder.glob("[!.]*.npz")) if folder.is_dir() else []


def _read_pack(path: Path, numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Helpers, rows and statistics of a pack, numbered on in `numbers`; None where it is not what was written."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:16] != path.stem:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as pack:
            names = pack["names"].tobytes().decode().split("\n")
            helpers, rows, statistics = pack["helpers"], pack["rows"], pack["statistics"]
    except _DAMAGED:
        return None
    known = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int32)
    return known[helpers], known[rows], statistics
