"""A workspace that somebody has worked in, so that no page is empty."""

import json
from dataclasses import dataclass
from pathlib import Path

from delift_core.curation import keep_selection, open_selection, pose
from delift_core.export.export import export_selection
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.sources import load_file
from delift_core.workspace import Workspace
from tests.scored import make_scored_workspace


@dataclass(frozen=True, slots=True)
class Worked:
    """Where the workspace lies, and the id of the first row of its pool, which is tagged and kept by hand."""

    folder: Path
    row: str


def make_worked_workspace(folder: Path) -> Worked:
    """Makes a closed workspace in `folder`: run r1, selections s1 and s2, edits, a tag, held-out rows, an export."""
    make_scored_workspace(folder, folder.parent / "model")
    heldout = folder.parent / "heldout.jsonl"
    heldout.write_text(
        "".join(json.dumps({"instruction": f"Add {n} and 1.", "output": str(n + 1)}) + "\n" for n in range(4))
    )
    with Workspace.open(folder) as workspace:
        workspace.datasets.add(load_file(heldout), role="heldout", origin="test")
        problem = pose(workspace, "r1", "euclidean", ObjectiveConfig("instruction"))
        keep_selection(workspace, problem, problem.select(Budget("rows", 6)), name="second")
        first = open_selection(workspace, "s2").samples[0].id
        workspace.edits.apply("s2", "keep", [first], author="somebody", why="as an example")
        workspace.edits.apply("s2", "tag", [first], author="somebody", detail="arithmetic")
        export_selection(workspace, "s2", workspace.exports_folder / "second.jsonl", problem=problem)
    return Worked(folder, first)
