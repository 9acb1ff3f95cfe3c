"""Scored pairs on disk, addressed by content, so that nothing is scored twice.

There is one folder per scoring context (model revision, template, precision, context length: everything but the two
samples that the numbers depend on). Samples are named by their content hash. Files are written atomically, and blocks
carry a checksum (those of earlier versions have none and are checked by their size).

    <context key>/context.json                   the scoring context
    <context key>/rows/<row set>.json            the helped samples of a block, in order
    <context key>/alone/<row set>.npy            (m, 4 + d) float32: statistics, prompt and response tokens, embedding
    <context key>/pairs/<helper>.<row set>.npy   (m, 2) float32: statistics with the helper as example
    <context key>/packs/<name>.npz               many small blocks of pairs in one file, see `block_files`

This module knows nothing of models, runs or the database.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from delift_core.scoring.block_files import (
    NPY_HEADER,
    PackedPairs,
    RowSets,
    damaged_error,
    damaged_packs,
    read_block,
    read_blocks,
    read_packs,
    require_block,
    save_block,
    small_packs,
    write_pack,
)
from delift_core.scoring.metrics import Metric, utility
from delift_core.system.codec import decode, encode
from delift_core.system.files import CHECKSUM_BYTES, write_whole

_STATISTICS, _COUNTS = 2, 2
_DESCRIPTION = "context.json"
PACKED_ROWS = 64  # blocks of up to so many rows are packed
BLOCKS_PER_PACK, SECONDS_PER_PACK = 4096, 5.0  # what is buffered, and lost if the process is killed


@dataclass(frozen=True, slots=True)
class ScoringContext:
    """Everything but the two samples that a pair's numbers depend on."""

    model: str
    revision: str
    dtype: str
    template: str
    template_version: int
    context_length: int
    template_arguments: str = ""

    @property
    def key(self) -> str:
        """The folder name; without the model's name, since the revision identifies the weights."""
        facts = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Results of samples without an example."""

    statistics: np.ndarray  # (n, 2) float32; NaN where not scored
    prompt_tokens: np.ndarray  # (n,) int64
    tokens: np.ndarray  # (n,) int64 response tokens; 0 where not scored
    embeddings: np.ndarray  # (n, d) float32

    @property
    def scored(self) -> np.ndarray:
        """(n,) bool, whether each sample was scored."""
        return self.tokens > 0


class PairStore:
    """The blocks of one scoring context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("rows", "alone", "pairs", "packs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._row_sets = RowSets(folder / "rows")
        self._pair_blocks: dict[str, list[str]] | None = None
        self._packed_pairs: PackedPairs | None = None
        self._pending: list[tuple[str, Sequence[str], np.ndarray]] = []
        self._pending_since = 0.0
        self._zero_shot_blocks: list[str] = self._scan_zero_shot()

    @classmethod
    def open(cls, utility_folder: Path, context: ScoringContext) -> "PairStore":
        """Opens the folder of a scoring context, creating it if needed."""
        store = cls(utility_folder / context.key)
        known = read_context(store.folder)
        if known is None or known.key != context.key:
            write_whole(store.folder / _DESCRIPTION, encode(context, indent=2))
        return store

    def remove_damaged(self) -> int:
        """Reads every block, removes the damaged ones, which can be scored again, and returns their number.

        Raises:
            OSError: a block cannot be removed.
        """
        damaged = list(self.damaged())
        for path in damaged:
            path.unlink()
        if damaged:
            self._zero_shot_blocks, self._pair_blocks, self._packed_pairs = self._scan_zero_shot(), None, None
        return len(damaged)

    def damaged(self) -> Iterator[Path]:
        """The blocks whose content changed on disk, or whose list of rows is missing."""
        for part, width in (("alone", None), ("pairs", _STATISTICS)):
            for path in sorted((self.folder / part).glob("[!.]*.npy")):
                rows = self._row_sets.known(path.stem.rpartition(".")[2])
                if rows is None or read_block(path, len(rows), width) is None:
                    yield path
        yield from damaged_packs(self.folder / "packs")

    def missing_zero_shot(self, rows: Sequence[str]) -> tuple[str, ...]:
        """The `rows` not yet scored without an example, once each, in order."""
        known = {row for name in self._zero_shot_blocks for row in self._row_sets.positions(name)}
        return tuple(row for row in dict.fromkeys(rows) if row not in known)

    def missing(self, rows: Sequence[str], helper: str) -> tuple[str, ...]:
        """The `rows` not yet scored with `helper` as example, once each, in order."""
        row_sets = [self._row_sets.positions(name) for name in self._blocks.get(helper, ())]
        left = [row for row in dict.fromkeys(rows) if not any(row in known for known in row_sets)]
        packed = self._pairs.has(left, helper)
        return tuple(row for row, known in zip(left, packed.tolist(), strict=True) if not known)

    def signature(self, helper: str) -> tuple[str, ...]:
        """Identifies the rows scored with `helper`: helpers with equal signatures miss the same rows."""
        return (*self._blocks.get(helper, ()), self._pairs.signature(helper))

    def write_zero_shot(self, rows: Sequence[str], results: ZeroShot) -> None:
        """Writes the results of `rows` without an example, in that order."""
        name = self._row_sets.write(rows)
        counts = np.stack([results.prompt_tokens, results.tokens], axis=1)
        block = np.concatenate([results.statistics, counts, results.embeddings], axis=1).astype(np.float32)
        save_block(self.folder / "alone" / f"{name}.npy", block)
        self._zero_shot_blocks.append(name)

    def write_pairs(self, helper: str, rows: Sequence[str], statistics: np.ndarray) -> None:
        """Writes one block: (m, 2) statistics of `rows` with `helper` as example."""
        name = self._row_sets.write(rows)
        save_block(self.folder / "pairs" / f"{helper}.{name}.npy", statistics.astype(np.float32))
        self._blocks.setdefault(helper, []).append(name)

    def buffer_pairs(self, helper: str, rows: Sequence[str], statistics: np.ndarray) -> None:
        """Buffers a small block, to be written to a pack with others after some seconds: a file of its own would take
        longer to write than the block to score."""
        self._pending.append((helper, tuple(rows), statistics))
        now = time.monotonic()
        self._pending_since = now if len(self._pending) == 1 else self._pending_since
        if len(self._pending) >= BLOCKS_PER_PACK or now - self._pending_since >= SECONDS_PER_PACK:
            self.flush()

    def flush(self) -> None:
        """Writes the buffered blocks."""
        if self._pending:
            write_pack(self.folder / "packs", self._pending)
            self._pending, self._packed_pairs = [], None

    def compact(self) -> int:
        """Merges all small and buffered blocks and small packs into one pack, and returns the number of block files.

        The merged files are removed last, so that every pair stays readable for other processes and after a kill.
        """
        self.flush()
        small = []
        for helper, names in self._blocks.items():
            for name in names:
                rows = self._row_sets.positions(name)
                block = None
                if len(rows) <= PACKED_ROWS:
                    block = read_block(self._path(helper, name), len(rows), _STATISTICS)
                if block is not None:
                    small.append((helper, name, list(rows), block))
        packs = small_packs(self.folder / "packs")
        if small or len(packs) > 1:
            blocks = ((helper, rows, block) for helper, _, rows, block in small)
            merged = write_pack(self.folder / "packs", (*blocks, *read_blocks(packs)))
            for path in (*packs, *(self._path(helper, name) for helper, name, _, _ in small)):
                if path != merged:
                    path.unlink(missing_ok=True)
            self._pair_blocks, self._packed_pairs = None, None
            self._drop_row_sets({name for _, name, _, _ in small})
        return len(small)

    def _drop_row_sets(self, names: set[str]) -> None:
        """Removes the row sets that no block uses any more."""
        used = set(self._zero_shot_blocks).union(*self._blocks.values())
        for name in names - used:
            self._row_sets.remove(name)

    def _path(self, helper: str, name: str) -> Path:
        return self.folder / "pairs" / f"{helper}.{name}.npy"

    def zero_shot(self, rows: Sequence[str]) -> ZeroShot:
        """The results without an example, in the order of `rows`."""
        found = []
        for name, here, there in self._find_zero_shot(rows):
            block = require_block(self.folder / "alone" / f"{name}.npy", len(self._row_sets.positions(name)))
            found.append((here, block[there]))
        width = max((block.shape[1] for _, block in found), default=_STATISTICS + _COUNTS)
        table = np.full((len(rows), width), np.nan, dtype=np.float32)
        for here, block in found:
            table[here] = block
        return _as_zero_shot(table)

    def zero_shot_statistics(self, rows: Sequence[str]) -> ZeroShot:
        """As `zero_shot` without embeddings, which are most of the data: (n, 0). The files are memory-mapped, and their
        checksums not verified."""
        table = np.full((len(rows), _STATISTICS + _COUNTS), np.nan, dtype=np.float32)
        for name, here, there in self._find_zero_shot(rows):
            path, count = self.folder / "alone" / f"{name}.npy", len(self._row_sets.positions(name))
            try:
                table[here] = np.load(path, mmap_mode="r")[there, : _STATISTICS + _COUNTS]
            except (OSError, ValueError, IndexError):  # cut short or missing: raise as `zero_shot` does
                table[here] = require_block(path, count)[there, : _STATISTICS + _COUNTS]
        return _as_zero_shot(table)

    def pair_statistics(self, rows: Sequence[str], helper: str) -> np.ndarray:
        """The statistics of `rows` with `helper` as example: (n, 2) float32; NaN where not scored."""
        names = self._blocks.get(helper, ())
        return self._gather(rows, helper, names, {name: self._row_sets.match(rows, name) for name in names})

    def pair(self, row: str, helper: str) -> np.ndarray:
        """`pair_statistics` of a single row, (1, 2) float32, without listing the blocks of every helper."""
        found = self._blocks if self._pair_blocks is not None else self._scan_pairs(helper)
        names = found.get(helper, ())
        return self._gather([row], helper, names, {name: self._row_sets.match([row], name) for name in names})

    def utility_matrix(self, rows: Sequence[str], helpers: Sequence[str], metric: Metric) -> np.ndarray:
        """The utility matrix (n, m) float32: row i is helped, column j helps; NaN where not scored."""
        zero_shot = self.zero_shot(rows)
        tokens = np.maximum(zero_shot.tokens, 1)  # an unscored row is NaN already
        names = {name for helper in helpers for name in self._blocks.get(helper, ())}
        matches = {name: self._row_sets.match(rows, name) for name in names}  # once per set of rows
        matrix = np.empty((len(rows), len(helpers)), dtype=np.float32)
        for column, helper in enumerate(helpers):
            statistics = self._gather(rows, helper, self._blocks.get(helper, ()), matches)
            matrix[:, column] = utility(zero_shot.statistics, statistics, tokens, metric)
        return matrix

    def _gather(
        self,
        rows: Sequence[str],
        helper: str,
        names: Sequence[str],
        matches: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        table = np.full((len(rows), _STATISTICS), np.nan, dtype=np.float32)
        self._pairs.fill(table, rows, helper)
        for name in names:
            here, there = matches[name]
            path = self._path(helper, name)
            if not path.exists():  # another process has moved it to a pack
                self._packed_pairs = None
                self._pairs.fill(table, rows, helper)
                if not np.isnan(table[here]).any():
                    continue
            table[here] = require_block(path, len(self._row_sets.positions(name)), _STATISTICS)[there]
        if self._pairs.damaged and np.isnan(table).any():
            raise damaged_error(self._pairs.damaged[0])
        return table

    @property
    def _pairs(self) -> PackedPairs:
        """The pairs in packs, read on first use after the buffered blocks are written."""
        self.flush()
        if self._packed_pairs is None:
            self._packed_pairs = read_packs(self.folder / "packs")
        return self._packed_pairs

    @property
    def _blocks(self) -> dict[str, list[str]]:
        """The row sets of each helper's blocks, listed on first use: there may be 100,000."""
        if self._pair_blocks is None:
            self._pair_blocks = self._scan_pairs()
        return self._pair_blocks

    def _scan_zero_shot(self) -> list[str]:
        return [
            path.stem
            for path in sorted((self.folder / "alone").glob("[!.]*.npy"))
            if self._row_sets.known(path.stem) is not None
        ]

    def _scan_pairs(self, only: str = "") -> dict[str, list[str]]:
        """The row sets of each helper's blocks (or one helper's), without blocks of a wrong size or unknown rows, which
        will be scored again."""
        found: dict[str, list[str]] = {}
        with os.scandir(self.folder / "pairs") as entries:
            for entry in sorted((item for item in entries if item.name.startswith(only)), key=lambda item: item.name):
                helper, name, suffix = (entry.name.split(".") + ["", ""])[:3]
                rows = self._row_sets.known(name) if suffix == "npy" else None
                if rows is None:
                    continue
                expected = NPY_HEADER + len(rows) * _STATISTICS * 4
                if entry.stat().st_size in (expected, expected + CHECKSUM_BYTES):
                    found.setdefault(helper, []).append(name)
        return found

    def _find_zero_shot(self, rows: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """The zero-shot blocks that contain `rows`: name, positions in `rows`, positions in the block."""
        location = {
            row: (number, position)
            for number, name in enumerate(self._zero_shot_blocks)
            for row, position in self._row_sets.positions(name).items()
        }
        block, there = np.array([location.get(row, (-1, -1)) for row in rows], dtype=np.int64).reshape(-1, 2).T
        for number in np.unique(block[block >= 0]).tolist():
            here = np.flatnonzero(block == number)
            yield self._zero_shot_blocks[number], here, there[here]


def _as_zero_shot(table: np.ndarray) -> ZeroShot:
    counts = np.nan_to_num(table[:, _STATISTICS : _STATISTICS + _COUNTS]).astype(np.int64)
    return ZeroShot(table[:, :_STATISTICS], counts[:, 0], counts[:, 1], table[:, _STATISTICS + _COUNTS :])


def read_context(folder: Path) -> ScoringContext | None:
    """The scoring context of a folder; None if its description is missing or damaged."""
    try:
        return decode(ScoringContext, (folder / _DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return None
