"""The records a workspace keeps, as immutable values.

They are what the stores take and give back. This module knows nothing of SQL, files or pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from delift_core.models.loading import DeviceName, DtypeName
from delift_core.models.prompts import TemplateChoice
from delift_core.samples import Choice, ColumnMapping, FormatName, Sample, Turns
from delift_core.scoring.pair_spec import ALL_PAIRS, PairBudget
from delift_core.selection.types import Budget, Certificate, ChosenBy, ObjectiveConfig, Selection

DatasetRole = Literal["pool", "target", "existing", "heldout"]
RunStatus = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]
EditAction = Literal["keep", "drop", "reset", "tag", "untag", "note", "text"]
EditState = Literal["applied", "undone", "discarded"]
Override = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A data set in the workspace, without its samples.

    Attributes:
        id: short, made from the role and the contents; equal contents in the same role have one id.
        origin: where it came from, as the curator gave it (path, hub id, "upload:" and a name).
        content_hash: `Dataset.content_hash`, SHA-256 (hex) of the conversations in order.
        created_at: when it was first added, UTC.
        turns: which assistant turns of a conversation are samples.
        choices: see `Dataset.choices`.
        sha256: of the file's bytes (hex) where it was uploaded, and so has no path to be found at; "" otherwise.
    """

    id: str
    role: DatasetRole
    name: str
    origin: str
    format: FormatName
    mapping: ColumnMapping | None
    content_hash: str
    n_samples: int
    n_problems: int
    created_at: datetime
    turns: Turns = "last"
    choices: tuple[Choice, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample with its 0-based position in its data set."""

    position: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class SamplePage:
    """Some rows of a data set, and how many there are in all (`total`) that match what was asked for."""

    total: int
    rows: tuple[SampleRow, ...]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a scoring run is asked to do; equal specs ask for the same numbers."""

    pool_id: str
    target_id: str | None
    existing_id: str | None
    model: str
    template: TemplateChoice
    device: DeviceName
    dtype: DtypeName
    pairs: PairBudget = ALL_PAIRS


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A scoring run and how far it got.

    Attributes:
        context_key: name of its folder under utility/, "" until known.
        model_revision: exact revision of the model, "" until known.
        created_at: UTC.
        finished_at: UTC; None while queued or running.
        message: one line for the curator (why it failed, what it is doing).
        truncated: samples whose prompt had to be cut to fit the model's context.
        n_pairs: pairs (helped, helper) scored.
    """

    id: str
    spec: RunSpec
    status: RunStatus
    context_key: str
    model_revision: str
    created_at: datetime
    finished_at: datetime | None
    message: str
    truncated: int
    n_pairs: int


@dataclass(frozen=True, slots=True)
class SelectionSummary:
    """A selection without its arrays: `n_chosen` of `n_pool` samples."""

    id: str
    run_id: str
    name: str
    metric: str
    config: ObjectiveConfig
    budget: Budget
    certificate: Certificate
    n_chosen: int
    n_pool: int
    seed: int
    created_at: datetime
    method: ChosenBy = "delift"


@dataclass(frozen=True, slots=True)
class SelectionRecord:
    """A selection as the optimiser made it, under a name."""

    id: str
    run_id: str
    name: str
    metric: str
    selection: Selection
    seed: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Edit:
    """One change that a curator made to a selection, to one row or many.

    Attributes:
        number: 1, 2, 3… within its selection.
        sample_ids: ids of the pool samples it is about, as given, without repeats.
        author: who.
        why: the curator's reason, "" when none was given.
        created_at: when, UTC.
        state: "applied" counts; "undone" can be redone; "discarded" was undone and then overtaken by a new edit.
        detail: the tag, the note, or the record with its new text; "" takes a note or a text back.
        moved_by: who last undid or redid it, "" if nobody has.
    """

    selection_id: str
    number: int
    action: EditAction
    sample_ids: tuple[str, ...]
    author: str
    why: str
    created_at: datetime
    state: EditState
    detail: str = ""
    moved_by: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """What the edits that count say of rows besides keep and drop, by sample id.

    Attributes:
        tags: in the order in which they were given.
        notes: one a row.
        records: the record of a row whose text was changed.
    """

    tags: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, str]
    records: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NamedFilter:
    """Which rows of a pool to show, under a name; `query` is the part of a page's address that says it."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the edits of a selection that count come to, all of one moment.

    Attributes:
        version: see `EditLog.version`.
        overrides: what was decided by hand, by sample id, last edited last.
    """

    version: tuple[int, int]
    overrides: Mapping[str, Override]
    marks: Marks


NO_MARKS = Marks({}, {}, {})


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """A file that was written from a selection; `sha256` (hex) is that of the file's bytes."""

    id: str
    selection_id: str
    path: str
    sha256: str
    n_records: int
    format: str
    created_at: datetime
