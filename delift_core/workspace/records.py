"""The records of a workspace, as immutable values: what its stores take and return."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from delift_core.data.loading import Choice, Origin
from delift_core.models.devices import DeviceName, DtypeName
from delift_core.models.prompts import Rendering, TemplateChoice
from delift_core.samples import ColumnMapping, FormatName, Sample, Turns
from delift_core.scoring.pair_spec import ALL_PAIRS, PairBudget
from delift_core.selection.types import Budget, Certificate, ChosenBy, ObjectiveConfig, Selection

DatasetRole = Literal["pool", "target", "existing", "heldout"]
RunStatus = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]
EditAction = Literal["keep", "drop", "reset", "tag", "untag", "note", "text"]
EditStatus = Literal["applied", "undone", "discarded"]
Override = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A data set in the workspace, without its samples.

    Attributes:
        id: role and a hash of the contents; equal contents in the same role have the same id.
        origin: where the rows came from; its options are None if an earlier version stored the data set.
        content_hash: `Dataset.content_hash`, SHA-256 (hex) of the conversations in order.
        created_at: when the data set was first added, UTC.
        turns: which assistant turns of a conversation are samples.
        choices: see `Dataset.choices`.
    """

    id: str
    role: DatasetRole
    name: str
    origin: Origin
    format: FormatName
    mapping: ColumnMapping | None
    content_hash: str
    n_samples: int
    n_problems: int
    created_at: datetime
    turns: Turns = "last"
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample with its 0-based position in its data set."""

    position: int
    sample: Sample


@dataclass(frozen=True, slots=True)
class SamplePage:
    """A page of rows of a data set, and the total number of rows that match the search."""

    total: int
    rows: tuple[SampleRow, ...]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The settings of a scoring run; equal specs give equal results.

    Attributes:
        template_arguments: of the chat template ("chat_template_kwargs"), a JSON object as text; "" for none.
    """

    pool_id: str
    target_id: str | None
    existing_id: str | None
    model: str
    template: TemplateChoice
    device: DeviceName
    dtype: DtypeName
    pairs: PairBudget = ALL_PAIRS
    template_arguments: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A scoring run and its status.

    Attributes:
        context_key: name of its folder under utility/, "" until known.
        model_revision: exact revision of the model, "" until known.
        created_at: UTC.
        finished_at: UTC; None while queued or running.
        message: a line for the curator: why the run failed, or what it is doing.
        truncated: number of samples whose prompt was cut to fit the model's context.
        n_pairs: number of scored pairs (helped, helper).
        rendering: how the rows were written for the model.
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
    rendering: Rendering = Rendering()


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
    """A stored selection, before edits."""

    id: str
    run_id: str
    name: str
    metric: str
    selection: Selection
    seed: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one or several rows of a selection.

    Attributes:
        number: 1, 2, 3… within its selection.
        sample_ids: the edited pool samples, without repeats.
        why: the curator's reason, may be empty.
        created_at: UTC.
        state: "undone" edits can be redone; "discarded" ones were undone before a new edit was made.
        detail: the tag, the note, or the changed record; "" removes a note or a changed text.
        moved_by: who last undid or redid the edit, may be empty.
    """

    selection_id: str
    number: int
    action: EditAction
    sample_ids: tuple[str, ...]
    author: str
    why: str
    created_at: datetime
    state: EditStatus
    detail: str = ""
    moved_by: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """The applied tags, notes and changed texts, by sample id.

    Attributes:
        tags: in the order in which they were added.
        records: the raw records of rows whose text was changed.
    """

    tags: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, str]
    records: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NamedFilter:
    """A named filter of a pool's rows; `query` is its part of a page's address."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class EditState:
    """The applied edits of a selection at one moment.

    Attributes:
        version: see `EditLog.version`.
        overrides: decisions by hand, by sample id, last edited last.
    """

    version: tuple[int, int]
    overrides: Mapping[str, Override]
    marks: Marks


NO_MARKS = Marks({}, {}, {})


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """An exported file; `sha256` (hex) is of its bytes."""

    id: str
    selection_id: str
    path: str
    sha256: str
    n_records: int
    format: str
    created_at: datetime
