"""A workspace that somebody has worked in, so that no page is empty."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from delift_core.curation.curate import keep_selection, open_selection
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.curation.umap_layout import layout_path
from delift_core.data.loading import load_file
from delift_core.export.subset_files import export_selection
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import Workspace
from tests.scored import make_scored_workspace

COLUMNS = 4


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
        workspace.datasets.add(load_file(heldout), role="heldout")
        selector = Selector(open_run(workspace, "r1"))
        request = SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 6))
        keep_selection(workspace, selector, request, name="second")
        first = open_selection(workspace, "s2").samples[0].id
        workspace.edits.apply("s2", "keep", [first], author="somebody", why="as an example")
        workspace.edits.apply("s2", "tag", [first], author="somebody", detail="arithmetic")
        export_selection(workspace, "s2", workspace.exports_folder / "second.jsonl", selector=selector)
    lay_out_as_a_grid(folder)
    return Worked(folder, first)


def lay_out_as_a_grid(folder: Path) -> list[int]:
    """Puts point k of run r1 at column k % 4 and row k // 4 of the map; UMAP would take a quarter of a minute.

    Returns:
        The line of each pool point.
    """
    with Workspace.open(folder) as workspace:
        run = open_run(workspace, "r1")
    count = np.arange(len(run.pool) + len(run.target) + len(run.existing))
    path = layout_path(run)
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.stack([count % COLUMNS, count // COLUMNS], axis=1).astype(np.float32))
    return [sample.line for sample in run.pool]
