"""How a workspace is, from its files alone."""

import json
import os
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.maintenance import status
from delift_core.maintenance.status import brief, health
from delift_core.workspace import Workspace


def test_it_is_told_while_another_has_the_workspace_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "work"
    with Workspace.open(folder):
        job = JobFolder(folder / "jobs" / "r1")
        job.folder.mkdir()
        job.claim(os.getpid())
        job.write_progress(JobProgress("scoring", message="half way"))
        assert main(["health", "--json", "--workspace", str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["bytes"]["database"] > 0
    assert said["jobs"] == [{"id": "r1", "kind": "scoring", "state": "scoring", "message": "half way"}]
    assert {"DELIFT Studio", "Python", "torch"} <= set(said["versions"])
    assert said["log"][-1]["event"] == "command began"


def test_what_anybody_may_know_names_nothing(tmp_path: Path) -> None:
    assert brief(tmp_path / "none").keys() == {"ok", "version", "jobs", "problems"}
    assert str(tmp_path) not in str(brief(tmp_path / "none"))


def test_too_little_room_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "available_memory", lambda: 1 << 20)
    report = health(tmp_path)
    assert not report.ok and not brief(tmp_path)["ok"] and "1.0 MiB of memory" in report.problems[0]
    assert main(["health", "--workspace", str(tmp_path)]) == 1
    assert "problem: only 1.0 MiB of memory" in capsys.readouterr().out
