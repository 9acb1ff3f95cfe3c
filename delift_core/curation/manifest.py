"""The manifest of an exported subset: everything needed to verify, explain and reproduce it, as values and as JSON."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from delift_core.data.loading import Choice, Dataset, Origin, ReadOptions
from delift_core.data.loading.record_reader import possible_options
from delift_core.data.quality.cleaning import apply_choices
from delift_core.errors import DataError, ExportError, SourceChanged
from delift_core.models.prompts import Rendering
from delift_core.samples import ColumnMapping, ExportFormat, FormatName, Formulas, Turns
from delift_core.scoring.metrics import Metric
from delift_core.selection.types import Budget, ChosenBy, ErrorBar, ObjectiveConfig, Quota
from delift_core.system.codec import DecodeError, decode, encode
from delift_core.system.files import why_unreadable
from delift_core.workspace import DatasetRole, EditAction, EditStatus

MANIFEST_VERSION = 2
_TEXT_ONLY_VERSION = 1  # its rows are texts alone, without thoughts, tool calls and tools
ManifestStatus = Literal["chosen", "dropped", "kept-by-hand", "dropped-by-hand", "not-scored"]
WRITTEN: frozenset[ManifestStatus] = frozenset({"chosen", "kept-by-hand"})


@dataclass(frozen=True, slots=True)
class InputEntry:
    """An input data set.

    Attributes:
        origin: path, `hub:` name, "upload:" and a file name, or a description.
        mapping: the columns, for the format "columns".
        rows: number of samples; `problems` is the number of records that could not be read.
        content_hash: SHA-256 (hex) of the conversations in order.
        sha256: of the file's bytes (for a folder see `file_records.file_hash`), hex; None if there is no file, or if
            it was not found when exporting, or had changed.
        turns: which assistant turns of a conversation are samples.
        choices: records fixed and rows left out after reading, in order.
        options: how the records were read; None in manifests of version 0.1.0.
        commit: that was read of a data set on the hub; "" if it is not known.
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
    options: ReadOptions | None = None
    commit: str = ""

    @property
    def source(self) -> Origin:
        """Where the rows came from."""
        return Origin.parse(self.origin, self.options, sha256=self.sha256 or "", commit=self.commit)

    def load(self, manifest: Path | None = None) -> Dataset:
        """Reads the input again, with the choices made then, and checks that it has the same conversations.

        Args:
            manifest: its path; a file that is not at its own path is looked for beside it.

        Raises:
            SourceChanged: the source has other rows now.
            DataError: the source is gone, or cannot be read.
        """
        origin, beside = self.source, manifest.parent if manifest else None
        which = f"the {self.role} {self.origin!r}" + (f" of {manifest.name}" if manifest else "")
        if origin.kind == "file" and origin.find(beside) is None:
            raise DataError(f"{which} is gone; put the file back, or a copy of it beside the manifest")
        possible = (self.options,) if self.options else possible_options(self.format, self.mapping, self.turns)
        failure: DataError | None = None
        for options in possible:
            try:
                read = apply_choices(replace(origin, options=options).load(beside), self.choices)
            except DataError as error:
                failure = error
                continue
            if read.content_hash == self.content_hash:
                return read
            remedy = "put the original back, or beside the manifest"
            if origin.kind == "hub":
                remedy = "load it again, and select from the rows of today"
            failure = SourceChanged(f"{which} has changed: it has other rows now; {remedy}")
        assert failure is not None
        raise failure


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """The exported file, in the manifest's folder.

    Attributes:
        sha256: of the file's bytes, hex.
        formulas: how CSV cells that look like a spreadsheet's formula were written.
        json_columns: columns of a table that hold JSON text.
    """

    file: str
    format: ExportFormat
    rows: int
    sha256: str
    formulas: Formulas = "keep"
    json_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """The model and template of the utilities.

    Attributes:
        revision: hub commit, or a hash of the model's folder.
        dtype: precision of the forward passes.
        context_length: in tokens.
        context_key: hash of everything but the name and the device.
        pairs: the pair budget, in the form of `--pairs`.
        template_arguments: of the chat template, a JSON object as text; "" for none.
        rendering: how the rows were written for the model.
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
    template_arguments: str = ""
    rendering: Rendering = Rendering()


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """The objective of the selection by the scored pairs, in units of the metric.

    Attributes:
        value: of the selection before edits.
        subset_value: of the exported subset, after edits.
        upper_bound: no selection within the budget has a greater objective; `certificate` is value / upper_bound.
        random_mean, random_std: of `random_draws` random subsets within the same budget.
        truncated: number of samples whose prompt was cut to fit the model's context.
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
class PackageVersion:
    """A package and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class EditEntry:
    """One edit, see `workspace.Edit`; `when` is ISO 8601 with a time zone."""

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
    """Ids of pool rows that were kept or dropped by hand before the selection was made."""

    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


NO_FIXED_ROWS = FixedEntry()


@dataclass(frozen=True, slots=True)
class QuotasEntry:
    """The quotas over a column; `RowEntry.group` is the group of a row."""

    column: str
    groups: tuple[Quota, ...]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """The engine by its `--engine` name (also of earlier versions), and the guarantee that it gives."""

    name: str
    guarantee: str


@dataclass(frozen=True, slots=True)
class MethodUsed:
    """The method by its `--method` name, with its title and publication."""

    name: ChosenBy
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class RowEntry:
    """One pool row.

    Attributes:
        line: in `source`, see `Sample.line`.
        rank: position among the chosen rows, from 1; None if the row was not chosen.
        gain: the row's gain when it was chosen, in units of the metric; None if it was not.
        residual_gain: the row's gain if it were added to the selection (0 for chosen rows); None if not scored.
        greedy_rank, greedy_gain: in the whole order, of which the selection for any budget is a prefix.
        reason: one sentence.
        named: ids of the rows that the sentence names.
        edited_hash: SHA-256 (hex) of the conversation, if its text was changed; else None.
        written_hash: of the exported conversation, if the format cannot hold the whole of it; else None.
        group: label of the row's group, if there were quotas; else None.
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
    written_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """An exported subset, from its inputs to every pool row; rows are in file order, as in the output."""

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
    fixed: FixedEntry = NO_FIXED_ROWS
    error_bar: ErrorBar | None = None
    quotas: QuotasEntry | None = None
    engine: EngineEntry | None = None
    method: MethodUsed | None = None

    @property
    def written(self) -> tuple[RowEntry, ...]:
        """The rows of the output file, in its order.

        If every assistant turn is a row, a record with a chosen turn is written once, and its last row represents it.
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


@dataclass(frozen=True, slots=True)
class _Versioned:
    """What is read first: another version may have other fields."""

    version: int


def to_json(manifest: Manifest) -> str:
    """The manifest as indented JSON, with a newline at the end."""
    return encode(manifest, indent=1).decode() + "\n"


def from_json(text: str, name: str = "the manifest") -> Manifest:
    """Reads what `to_json` wrote.

    Args:
        name: of the file, for messages.

    Raises:
        ExportError: the text is not JSON, not a manifest, or of another version.
    """
    try:
        version = decode(_Versioned, text).version
    except DecodeError as error:
        raise ExportError(
            f"{name} is not a manifest of DELIFT Studio ({error}); give the .manifest.json of an export"
        ) from error
    if version not in (_TEXT_ONLY_VERSION, MANIFEST_VERSION):
        raise ExportError(
            f"{name} has manifest version {version} and this DELIFT Studio reads up to {MANIFEST_VERSION}; "
            "use the DELIFT Studio that wrote it, or export again"
        )
    try:
        manifest = decode(Manifest, text)
    except DecodeError as error:
        raise ExportError(f"{name} is damaged at {error}; export the selection again") from error
    if not any(entry.role == "pool" for entry in manifest.inputs):
        raise ExportError(f"{name} is damaged at inputs: no pool is among them; export the selection again")
    return manifest if version == MANIFEST_VERSION else replace(manifest, inputs=tuple(map(_as_text, manifest.inputs)))


def _as_text(entry: InputEntry) -> InputEntry:
    """The input of a manifest of an earlier version, which is read again as it was read then."""
    return replace(entry, options=replace(entry.options, text_only=True)) if entry.options else entry


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest file.

    Raises:
        ExportError: the file cannot be read, or as `from_json`.
    """
    if words := why_unreadable(path, folder=False):
        raise ExportError(f"{words} A manifest is the .manifest.json beside an export.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read ({error}); give the .manifest.json of an export") from error
    return from_json(text, path.name)
