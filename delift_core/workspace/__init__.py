"""The workspace: the folder and the DuckDB file that hold a curator's work.

It knows samples, runs, selections and edits as records to keep; it knows nothing of models, matrices or pages.
"""

from delift_core.workspace.records import (
    NO_MARKS,
    DatasetRecord,
    DatasetRole,
    Edit,
    EditAction,
    EditState,
    ExportRecord,
    Marks,
    NamedFilter,
    Override,
    RunRecord,
    RunSpec,
    RunStatus,
    SamplePage,
    SampleRow,
    SelectionRecord,
    SelectionSummary,
)
from delift_core.workspace.workspace import Workspace

__all__ = [
    "NO_MARKS",
    "DatasetRecord",
    "DatasetRole",
    "Edit",
    "EditAction",
    "EditState",
    "ExportRecord",
    "Marks",
    "NamedFilter",
    "Override",
    "RunRecord",
    "RunSpec",
    "RunStatus",
    "SamplePage",
    "SampleRow",
    "SelectionRecord",
    "SelectionSummary",
    "Workspace",
]
