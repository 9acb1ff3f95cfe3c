"""The manifest of an exported subset: everything needed to check it, explain it and make it again.

Plain values with a JSON form; reading back gives an equal value. This module knows nothing of how a subset is made.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from delift_core.errors import ExportError
from delift_core.samples import Choice, ColumnMapping, ExportFormat, FormatName, Formulas, Turns
from delift_core.scoring.metrics import Metric
from delift_core.selection.types import Budget, ChosenBy, ObjectiveConfig, Quota
from delift_core.system.codec import DecodeError, decode
from delift_core.system.files import why_unreadable
from delift_core.workspace import DatasetRole, EditAction, EditStatus

MANIFEST_VERSION = 1
ManifestStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand", "not-scored"]
WRITTEN: frozenset[ManifestStatus] = frozenset({"chosen", "kept-by-hand"})


@dataclass(frozen=True, slots=True)
class InputEntry:
    """A data set that went in.

    Attributes:
        origin: where it came from: a path, a hub id, "upload:" and the name of a file, or words.
        mapping: the columns, for the format "columns".
        rows: samples that could be read; `problems` records could not.
        content_hash: SHA-256 (hex) of the conversations in order.
        sha256: SHA-256 (hex) of the file's bytes (of a folder see `inputs.file_hash`); None when the origin is not at
            hand as a file or folder, or no longer holds these samples.
        turns: which assistant turns of a conversation are samples, each a row of its own.
        choices: records mended and rows left out since it was read, in order.
    """

    role: DatasetRole
    name: str
    origin: str
    format: FormatName
    mapping: ColumnMapping | None
    rows: int
    problems: int
    content_hash: str
    sha256: str | None
    turns: Turns = "last"
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """The file that was written: its name (it lies beside the manifest), rows and SHA-256 (hex).

    Attributes:
        formulas: what became of CSV cells that begin like a spreadsheet's formula.
        json_columns: the columns of a table that hold JSON text.
    """

    file: str
    format: ExportFormat
    rows: int
    sha256: str
    formulas: Formulas = "keep"
    json_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """What measured the utilities; `context_key` stands for all of it but the name and the device.

    Attributes:
        revision: hub commit, or a hash of the weights' folder.
        dtype: precision of the forward passes.
        context_length: in tokens.
        pairs: how many pairs were to be scored, in the form of `--pairs`.
    """

    name: str
    revision: str
    dtype: str
    device: str
    context_length: int
    template: str
    template_version: int
    context_key: str
    pairs: str


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """How good the selection is by the pairs that were scored, in units of the metric.

    Attributes:
        value: objective of what the optimiser chose.
        subset_value: objective of the subset as written, after edits.
        upper_bound: no selection within the budget reaches more; `certificate` is value / upper_bound.
        random_mean, random_std: objective of `random_draws` random subsets within the same budget.
        truncated: samples whose prompt was cut to fit the model's context.
    """

    value: float
    subset_value: float
    upper_bound: float
    certificate: float
    random_mean: float
    random_std: float
    random_draws: int
    truncated: int


@dataclass(frozen=True, slots=True)
class ErrorBarEntry:
    """How far a selection from some of the pairs can be trusted, see `reliability`.

    Attributes:
        pairs, share: off-diagonal pool pairs that were scored, and their share of all.
        ratio, low, high: estimate of f(A) / f(A from all pairs), and its range over imagined complete matrices.
        bound: the ratio is to an upper bound, and so too low rather than too high.
        tested_pairs, r2, spearman: estimates of pairs against random measured ones that they did not know; the rank
            correlation within a row is None where there is none.
        share_needed: share of the pairs that should be enough; equal to `share` when it is.
    """

    pairs: int
    share: float
    ratio: float
    low: float
    high: float
    bound: bool
    tested_pairs: int
    r2: float
    spearman: float | None
    share_needed: float


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """A package and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class EditEntry:
    """One change by the curator; `when` is ISO 8601 with its zone, `why` and `detail` (a tag, a note, a record) may be
    empty."""

    number: int
    action: EditAction
    sample_ids: tuple[str, ...]
    author: str
    when: str
    why: str
    state: EditStatus
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FixedEntry:
    """Ids of pool rows that were kept or dropped by hand before the optimiser chose the others."""

    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


NOTHING_FIXED = FixedEntry()


@dataclass(frozen=True, slots=True)
class QuotasEntry:
    """How many rows were to be taken of each group of a column; a row's own is its `group`."""

    column: str
    groups: tuple[Quota, ...]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """What chose: the name that `--engine` takes, or took, and what it promised before anything was chosen."""

    name: str
    guarantee: str


@dataclass(frozen=True, slots=True)
class MethodUsed:
    """What put the rows in order, in the form of `--method`, with its title and where it was published."""

    name: ChosenBy
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class RowEntry:
    """What became of one pool row.

    Attributes:
        line: in `source`, as of `Sample.line`.
        rank: 1 for the first pick of the optimiser or of another method; None for what it did not choose.
        gain: what the row added when it was picked, in units of the metric; None where `rank` is.
        residual_gain: what it would still add to the selection (0 for chosen rows); None when not scored.
        greedy_rank, greedy_gain: its place in the whole order, of which any other budget is a prefix.
        reason: one sentence.
        named: ids of the rows that the sentence names.
        tags, note: what the curator put on it.
        edited_hash: SHA-256 (hex) of the conversation as written, where its text was changed; else None.
        group: label of its group, where there were quotas; else None.
    """

    id: str
    line: int
    source: str
    content_hash: str
    status: ManifestStatus
    rank: int | None
    gain: float | None
    residual_gain: float | None
    greedy_rank: int | None
    greedy_gain: float | None
    reason: str
    named: tuple[str, ...]
    tags: tuple[str, ...] = ()
    note: str = ""
    edited_hash: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """An exported subset, from its inputs to every pool row (in file order, which is the order of the output too)."""

    version: int
    created_at: str
    selection_id: str
    selection_name: str
    seed: int
    output: OutputEntry
    inputs: tuple[InputEntry, ...]
    model: ModelEntry
    metric: Metric
    objective: ObjectiveConfig
    budget: Budget
    result: ResultEntry
    versions: tuple[PackageVersion, ...]
    edits: tuple[EditEntry, ...]
    rows: tuple[RowEntry, ...]
    fixed: FixedEntry = NOTHING_FIXED
    error_bar: ErrorBarEntry | None = None
    quotas: QuotasEntry | None = None
    engine: EngineEntry | None = None
    method: MethodUsed | None = None

    @property
    def written(self) -> tuple[RowEntry, ...]:
        """The rows of the output file, in its order.

        Where every assistant turn is a row, a record is written once, whole, if any of its turns was chosen: its last
        row stands for it.
        """
        if self.pool.turns == "last":
            return tuple(row for row in self.rows if row.status in WRITTEN)
        last = {(row.source, row.line): row for row in self.rows}
        chosen = {(row.source, row.line) for row in self.rows if row.status in WRITTEN}
        return tuple(row for record, row in last.items() if record in chosen)

    @property
    def pool(self) -> InputEntry:
        """The pool among the inputs."""
        return next(entry for entry in self.inputs if entry.role == "pool")


def to_json(manifest: Manifest) -> str:
    """The manifest as indented JSON text that ends with a newline."""
    return json.dumps(asdict(manifest), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def from_json(text: str, name: str = "the manifest") -> Manifest:
    """Reads what `to_json` wrote.

    Args:
        name: of the file, for messages.

    Raises:
        ExportError: not JSON, not a manifest, or of another version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{name} is not JSON ({error}); give the .manifest.json of an export") from error
    if not isinstance(document, dict) or "version" not in document:
        raise ExportError(f"{name} is not a manifest of DELIFT Studio; give the .manifest.json of an export")
    if document["version"] != MANIFEST_VERSION:
        raise ExportError(
            f"{name} has manifest version {document['version']!r} and this DELIFT Studio reads {MANIFEST_VERSION}; "
            "use the DELIFT Studio that wrote it, or export again"
        )
    try:
        manifest = decode(Manifest, document)
    except DecodeError as error:
        raise ExportError(f"{name} is damaged at {error}; export the selection again") from error
    if not any(entry.role == "pool" for entry in manifest.inputs):
        raise ExportError(f"{name} is damaged at inputs: no pool is among them; export the selection again")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest file.

    Raises:
        ExportError: it cannot be read, or as `from_json`.
    """
    if words := why_unreadable(path, folder=False):
        raise ExportError(f"{words} A manifest is the .manifest.json beside an export.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read ({error}); give the .manifest.json of an export") from error
    return from_json(text, path.name)
