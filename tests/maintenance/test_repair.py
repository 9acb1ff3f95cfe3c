"""`doctor` reads a workspace through, and mends what can be measured again; a person's work it never touches."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.curate import open_selection
from delift_core.curation.scoring_runs import open_run
from delift_core.errors import ScoringError, WorkspaceError
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.maintenance.repair import check_workspace, repair_workspace
from delift_core.workspace import Workspace
from tests.export.scored import CONTEXT, Scored, alpaca_lines, scored


@pytest.fixture
def six(tmp_path: Path) -> Scored:
    return scored(Workspace.open(tmp_path / "work"), tmp_path / "pool.jsonl", alpaca_lines(6))


def wrong(workspace: Workspace) -> set[str]:
    return {check.label for check in check_workspace(workspace) if not check.ok}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(bytes(data))


def test_a_whole_workspace_is_found_whole_and_nothing_is_mended(six: Scored) -> None:
    assert wrong(six.workspace) == set()
    assert repair_workspace(six.workspace) == ()


def test_damaged_blocks_are_removed_and_their_run_is_to_be_continued(six: Scored) -> None:
    workspace = six.workspace
    sample = open_selection(workspace, six.selection_id).samples[0]
    workspace.edits.apply(six.selection_id, "drop", [sample.id], author="me")
    history = workspace.edits.history(six.selection_id)
    damage(next((workspace.utility_folder / CONTEXT.key / "pairs").iterdir()))
    assert wrong(workspace) == {"Scored pairs"}
    with pytest.raises(ScoringError, match="damaged on disk"):
        open_run(workspace, six.run_id).utilities("pmi")
    repairs = [repair.what for repair in repair_workspace(workspace)]
    assert repairs[0] == f"removed 1 damaged blocks of {CONTEXT.key}" and "to be continued" in repairs[1]
    assert wrong(workspace) == set() and repair_workspace(workspace) == ()
    assert workspace.runs.record(six.run_id).status == "cancelled"
    assert workspace.edits.history(six.selection_id) == history


def test_a_run_whose_pairs_are_gone_is_found(six: Scored) -> None:
    workspace = six.workspace
    shutil.rmtree(workspace.utility_folder / CONTEXT.key)
    assert wrong(workspace) == {"Runs"}
    assert "to be continued" in repair_workspace(workspace)[0].what
    assert wrong(workspace) == set()


def test_files_cut_short_are_removed(six: Scored) -> None:
    half = six.workspace.exports_folder / ".out.jsonl.abc.part"
    half.write_bytes(b"half")
    assert wrong(six.workspace) == {"Leftovers"}
    assert len(repair_workspace(six.workspace)) == 1 and not half.exists()


def test_nothing_is_mended_while_a_job_is_at_work(six: Scored) -> None:
    job = JobFolder(six.workspace.jobs_folder / six.run_id)
    job.write_progress(JobProgress("scoring"))
    job.claim(os.getpid())
    with pytest.raises(WorkspaceError, match="is being scored"):
        repair_workspace(six.workspace)


def test_a_damaged_database_is_found_and_a_backup_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with Workspace.open(folder) as workspace:
        scored(workspace, tmp_path / "pool.jsonl", alpaca_lines(6))
        workspace.settings.set("long", np.random.default_rng(0).bytes(500_000).hex())
    path = folder / "delift.duckdb"
    data = bytearray(path.read_bytes())
    for place in range(100_000, len(data), 50_000):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    try:
        with Workspace.open(folder) as workspace:
            found = next(check for check in check_workspace(workspace) if check.label == "Database")
            assert not found.ok and "is damaged on disk" in found.detail and "restore" in found.detail
    except WorkspaceError as error:
        assert "cannot be opened" in str(error)
