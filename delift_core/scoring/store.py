"""Scored pairs on disk: content-addressed, so that nothing is scored twice.

One folder per scoring context (model revision, template, precision, context length: whatever the numbers depend on
besides the two samples). Samples are named by their content hash. Every file appears whole or not at all, and a block
carries a checksum (those of earlier versions have none, and are known by their size only).

    <context key>/context.json              what the key was made of
    <context key>/rows/<row set>.json       the helped samples of a block, in order
    <context key>/alone/<row set>.npy       (m, 4 + d) float32: statistics, prompt and response tokens, embedding
    <context key>/pairs/<helper>.<row set>.npy   (m, 2) float32: statistics with the helper as example
    <context key>/packs/<name>.npz          many small blocks of pairs in one file, see `packs`

This module knows nothing of models, runs or the database.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from delift_core.errors import ScoringError
from delift_core.scoring.metrics import Metric, utility
from delift_core.scoring.packs import Pairs, blocks_of, damaged_packs, read_packs, small_packs, write_pack
from delift_core.system.files import CHECKSUM_BYTES, content_if_intact, with_checksum, write_whole

_NPY_HEADER = 128  # bytes that numpy writes before the data of these small-headed arrays
_STATISTICS, _COUNTS = 2, 2
_DESCRIPTION = "context.json"
PACKED_ROWS = 64  # blocks up to this size are packed
BLOCKS_PER_PACK, SECONDS_PER_PACK = 4096, 5.0  # what may be collected: so much is lost when a process is killed


@dataclass(frozen=True, slots=True)
class ScoringContext:
    """Everything besides the two samples that a pair's numbers depend on."""

    model: str
    revision: str
    dtype: str
    template: str
    template_version: int
    context_length: int

    @property
    def key(self) -> str:
        """Folder name; the model's name is left out, since the revision says what the weights are."""
        facts = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Alone:
    """Samples without an example.

    Attributes:
        statistics: (n, 2) float32; NaN for a sample that was not scored.
        prompt_tokens: (n,) int64.
        tokens: (n,) int64 response tokens; 0 for a sample that was not scored.
        embeddings: (n, d) float32.
    """

    statistics: np.ndarray
    prompt_tokens: np.ndarray
    tokens: np.ndarray
    embeddings: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(n,) bool."""
        return self.tokens > 0


class PairStore:
    """The blocks of one scoring context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("rows", "alone", "pairs", "packs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._positions: dict[str, dict[str, int]] = {}
        self._found: dict[str, list[str]] | None = None
        self._packed: Pairs | None = None
        self._pending: list[tuple[str, Sequence[str], np.ndarray]] = []
        self._pending_since = 0.0
        self._alone: list[str] = self._scan_alone()

    @classmethod
    def open(cls, utility_folder: Path, context: ScoringContext) -> "PairStore":
        """Opens, or makes, the folder of a scoring context."""
        store = cls(utility_folder / context.key)
        known = read_context(store.folder)
        if known is None or known.key != context.key:
            write_whole(store.folder / _DESCRIPTION, json.dumps(asdict(context), indent=2).encode())
        return store

    def drop_damaged(self) -> int:
        """Reads every block, removes those that are not what was written, and says how many; they can be scored again.

        Raises:
            OSError: a block cannot be removed.
        """
        broken = list(self.damaged())
        for path in broken:
            path.unlink()
        if broken:
            self._alone, self._found, self._packed = self._scan_alone(), None, None
        return len(broken)

    def damaged(self) -> Iterator[Path]:
        """The blocks whose bytes are not those that were written, and those whose rows nobody can name any more."""
        for part, width in (("alone", None), ("pairs", _STATISTICS)):
            for path in sorted((self.folder / part).glob("[!.]*.npy")):
                rows = self._known_rows(path.stem.rpartition(".")[2])
                if rows is None or _read_block(path, len(rows), width) is None:
                    yield path
        yield from damaged_packs(self.folder / "packs")

    def missing_alone(self, rows: Sequence[str]) -> tuple[str, ...]:
        """Those of `rows` that were not yet scored without an example, once each, in order."""
        known = {row for name in self._alone for row in self._row_set(name)}
        return tuple(row for row in dict.fromkeys(rows) if row not in known)

    def missing(self, rows: Sequence[str], helper: str) -> tuple[str, ...]:
        """Those of `rows` that were not yet scored with `helper` as example, once each, in order."""
        row_sets = [self._row_set(name) for name in self._blocks.get(helper, ())]
        left = [row for row in dict.fromkeys(rows) if not any(row in known for known in row_sets)]
        packed = self._pairs.has(left, helper)
        return tuple(row for row, known in zip(left, packed.tolist(), strict=True) if not known)

    def signature(self, helper: str) -> tuple[str, ...]:
        """What says which rows are scored with `helper`: helpers of equal signature miss the same rows."""
        return (*self._blocks.get(helper, ()), self._pairs.mark(helper))

    def write_alone(self, rows: Sequence[str], alone: Alone) -> None:
        """Keeps samples' own numbers, in the order of `rows`."""
        name = self._keep_row_set(rows)
        counts = np.stack([alone.prompt_tokens, alone.tokens], axis=1)
        block = np.concatenate([alone.statistics, counts, alone.embeddings], axis=1).astype(np.float32)
        _save(self.folder / "alone" / f"{name}.npy", block)
        self._alone.append(name)

    def write_pairs(self, helper: str, rows: Sequence[str], statistics: np.ndarray) -> None:
        """Keeps one block: (m, 2) statistics of `rows`, each with `helper` as its example."""
        name = self._keep_row_set(rows)
        _save(self.folder / "pairs" / f"{helper}.{name}.npy", statistics.astype(np.float32))
        self._blocks.setdefault(helper, []).append(name)

    def collect(self, helper: str, rows: Sequence[str], statistics: np.ndarray) -> None:
        """Keeps a small block in memory until there are many, or some seconds have passed, and then in a pack: files of
        their own would take longer to write than to score."""
        self._pending.append((helper, tuple(rows), statistics))
        now = time.monotonic()
        self._pending_since = now if len(self._pending) == 1 else self._pending_since
        if len(self._pending) >= BLOCKS_PER_PACK or now - self._pending_since >= SECONDS_PER_PACK:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        if self._pending:
            write_pack(self.folder / "packs", self._pending)
            self._pending, self._packed = [], None

    def pack(self) -> int:
        """Puts all small blocks and packs, and what was collected, into one pack, removes theirs, and says how many
        blocks there were. Every number stays readable all the while, by other processes and after a kill as well.
        """
        self.flush()
        small = [
            (helper, name, block)
            for helper, names in self._blocks.items()
            for name in names
            if len(self._row_set(name)) <= PACKED_ROWS
            and (block := _read_block(self._path(helper, name), len(self._row_set(name)), _STATISTICS)) is not None
        ]
        packs = small_packs(self.folder / "packs")
        if small or len(packs) > 1:
            blocks = ((helper, list(self._row_set(name)), block) for helper, name, block in small)
            made = write_pack(self.folder / "packs", (*blocks, *blocks_of(packs)))
            for path in (*packs, *(self._path(helper, name) for helper, name, _ in small)):
                if path != made:
                    path.unlink(missing_ok=True)
            self._found, self._packed = None, None
            self._drop_row_sets({name for _, name, _ in small})
        return len(small)

    def _drop_row_sets(self, names: set[str]) -> None:
        """Removes row sets that no block has any more."""
        used = set(self._alone).union(*self._blocks.values())
        for name in names - used:
            (self.folder / "rows" / f"{name}.json").unlink(missing_ok=True)
            self._positions.pop(name, None)

    def _path(self, helper: str, name: str) -> Path:
        return self.folder / "pairs" / f"{helper}.{name}.npy"

    def alone(self, rows: Sequence[str]) -> Alone:
        """Numbers of samples without an example, in the order of `rows`."""
        found = []
        for name, here, there in self._scored_alone(rows):
            block = _required_block(self.folder / "alone" / f"{name}.npy", len(self._row_set(name)))
            found.append((here, block[there]))
        width = max((block.shape[1] for _, block in found), default=_STATISTICS + _COUNTS)
        table = np.full((len(rows), width), np.nan, dtype=np.float32)
        for here, block in found:
            table[here] = block
        return _as_alone(table)

    def measures(self, rows: Sequence[str]) -> Alone:
        """As `alone`, without the embeddings (0 of them a row), which are nearly all of it; read in place, and so
        without the check that every byte is as it was written.
        """
        table = np.full((len(rows), _STATISTICS + _COUNTS), np.nan, dtype=np.float32)
        for name, here, there in self._scored_alone(rows):
            path, count = self.folder / "alone" / f"{name}.npy", len(self._row_set(name))
            try:
                table[here] = np.load(path, mmap_mode="r")[there, : _STATISTICS + _COUNTS]
            except (OSError, ValueError, IndexError):  # cut short, or gone: say so as `alone` does
                table[here] = _required_block(path, count)[there, : _STATISTICS + _COUNTS]
        return _as_alone(table)

    def pair_statistics(self, rows: Sequence[str], helper: str) -> np.ndarray:
        """(n, 2) float32 statistics of `rows` with `helper` as example; NaN where not scored."""
        names = self._blocks.get(helper, ())
        return self._gather(rows, helper, names, {name: self._match(rows, name) for name in names})

    def one_pair(self, row: str, helper: str) -> np.ndarray:
        """(1, 2) float32 statistics of one row, as `pair_statistics` of it, without listing every helper's blocks."""
        found = self._blocks if self._found is not None else self._scan_pairs(helper)
        names = found.get(helper, ())
        return self._gather([row], helper, names, {name: self._match([row], name) for name in names})

    def utility_matrix(self, rows: Sequence[str], helpers: Sequence[str], metric: Metric) -> np.ndarray:
        """Utility matrix (n, m) float32: row i is helped, column j helps; NaN where not scored."""
        alone = self.alone(rows)
        tokens = np.maximum(alone.tokens, 1)  # an unscored row is NaN already
        names = {name for helper in helpers for name in self._blocks.get(helper, ())}
        matches = {name: self._match(rows, name) for name in names}  # once a row set, not once a helper
        matrix = np.empty((len(rows), len(helpers)), dtype=np.float32)
        for column, helper in enumerate(helpers):
            statistics = self._gather(rows, helper, self._blocks.get(helper, ()), matches)
            matrix[:, column] = utility(alone.statistics, statistics, tokens, metric)
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
            if not path.exists():  # another process has packed it since
                self._packed = None
                self._pairs.fill(table, rows, helper)
                if not np.isnan(table[here]).any():
                    continue
            table[here] = _required_block(path, len(self._row_set(name)), _STATISTICS)[there]
        if self._pairs.damaged and np.isnan(table).any():
            raise _damaged(self._pairs.damaged[0])
        return table

    @property
    def _pairs(self) -> Pairs:
        """The pairs in packs, read when first asked for; what was collected is written first."""
        self.flush()
        if self._packed is None:
            self._packed = read_packs(self.folder / "packs")
        return self._packed

    @property
    def _blocks(self) -> dict[str, list[str]]:
        """Names of the row sets of each helper's finished blocks, listed when first asked for: there may be 100,000."""
        if self._found is None:
            self._found = self._scan_pairs()
        return self._found

    def _scan_alone(self) -> list[str]:
        return [
            path.stem
            for path in sorted((self.folder / "alone").glob("[!.]*.npy"))
            if self._known_rows(path.stem) is not None
        ]

    def _scan_pairs(self, of: str = "") -> dict[str, list[str]]:
        """Finished blocks (of one helper); one of the wrong size, or of rows unknown, is none, and will be scored
        again."""
        found: dict[str, list[str]] = {}
        with os.scandir(self.folder / "pairs") as entries:
            for entry in sorted((item for item in entries if item.name.startswith(of)), key=lambda item: item.name):
                helper, name, suffix = (entry.name.split(".") + ["", ""])[:3]
                rows = self._known_rows(name) if suffix == "npy" else None
                if rows is None:
                    continue
                expected = _NPY_HEADER + len(rows) * _STATISTICS * 4
                if entry.stat().st_size in (expected, expected + CHECKSUM_BYTES):
                    found.setdefault(helper, []).append(name)
        return found

    def _known_rows(self, name: str) -> dict[str, int] | None:
        """A row set, or None where its file is gone or is not what was written: its name is a hash of what it says."""
        try:
            return self._row_set(name)
        except (OSError, ValueError):
            return None

    def _row_set(self, name: str) -> dict[str, int]:
        if name not in self._positions:
            rows = json.loads((self.folder / "rows" / f"{name}.json").read_text())
            if _name_of(rows) != name:
                raise ValueError(f"row set {name} is damaged")
            self._positions[name] = {row: position for position, row in enumerate(rows)}
        return self._positions[name]

    def _keep_row_set(self, rows: Sequence[str]) -> str:
        name = _name_of(rows)
        path = self.folder / "rows" / f"{name}.json"
        if name not in self._positions or not path.exists():  # another process may have packed what had it
            write_whole(path, json.dumps(list(rows)).encode())
            self._positions[name] = {row: position for position, row in enumerate(rows)}
        return name

    def _scored_alone(self, rows: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Each block of samples' own numbers that `rows` are in: its name, positions in `rows`, and positions there."""
        place = {
            row: (number, position)
            for number, name in enumerate(self._alone)
            for row, position in self._row_set(name).items()
        }
        block, there = np.array([place.get(row, (-1, -1)) for row in rows], dtype=np.int64).reshape(-1, 2).T
        for number in np.unique(block[block >= 0]).tolist():
            here = np.flatnonzero(block == number)
            yield self._alone[number], here, there[here]

    def _match(self, rows: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `rows` and in the named row set of the samples that are in both."""
        known = self._row_set(name)
        there = np.array([known.get(row, -1) for row in rows], dtype=np.int64)
        here = np.flatnonzero(there >= 0)
        return here, there[here]


def _as_alone(table: np.ndarray) -> Alone:
    counts = np.nan_to_num(table[:, _STATISTICS : _STATISTICS + _COUNTS]).astype(np.int64)
    return Alone(table[:, :_STATISTICS], counts[:, 0], counts[:, 1], table[:, _STATISTICS + _COUNTS :])


def read_context(folder: Path) -> ScoringContext | None:
    """What a context's folder says it is; None where that is gone or damaged."""
    try:
        return ScoringContext(**json.loads((folder / _DESCRIPTION).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _name_of(rows: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _save(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    write_whole(path, with_checksum(buffer.getvalue()))


def _required_block(path: Path, rows: int, width: int | None = None) -> np.ndarray:
    """As `_read_block`, for a block that was whole when the folder was looked through.

    Raises:
        ScoringError: it is not what was written: never numbers that nobody measured.
    """
    block = _read_block(path, rows, width)
    if block is None:
        raise _damaged(path)
    return block


def _damaged(path: Path) -> ScoringError:
    return ScoringError(
        f"scored pairs are damaged on disk ({path.parent.name}/{path.name}); continue the run on the Score page "
        "(or call score again), only what is damaged is scored again"
    )


def _read_block(path: Path, rows: int, width: int | None = None) -> np.ndarray | None:
    """A block of this many rows (and columns); None where it is gone, or is not what was written."""
    try:
        content = content_if_intact(path.read_bytes())
        block: np.ndarray | None = None if content is None else np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError):
        return None
    if block is None or block.ndim != 2 or len(block) != rows or block.shape[1] != (width or block.shape[1]):
        return None
    # What stands behind the numbers is a seal that cannot be read: then they cannot be trusted either.
    return block if content is not None and len(content) == _NPY_HEADER + block.nbytes else None
