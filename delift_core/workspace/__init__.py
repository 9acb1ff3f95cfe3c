"""The workspace: the folder and the DuckDB file that hold data sets, runs, selections, edits and exports."""

from delift_core.workspace.records import (
    NO_MARKS,
    DatasetRecord,
    DatasetRole,
    Edit,
    EditAction,
    EditStatus,
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
    "EditStatus",
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
