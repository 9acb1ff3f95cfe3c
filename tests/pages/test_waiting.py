"""A run that waits for its turn, as the pages show it: for whom, and how to give up."""

import json
import os
from dataclasses import replace
from pathlib import Path

from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.workspace import Workspace
from tests.app import app_on
from tests.pages.test_visitors import words


def test_it_says_for_whom_it_waits_and_can_be_cancelled(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        workspace.runs.set_status("r1", "running")  # as `start` does
    job = JobFolder(scored_workspace / "jobs" / "r1")
    job.claim(os.getpid())  # a worker that lives
    job.write_progress(JobProgress("waiting", message="waiting for r3"))
    app = app_on().run()
    bars = [bar.proto.text for bar in app.get("progress")]
    assert bars == ["r1 · Waiting for r3"]
    app.switch_page("pages/score.py").run()
    assert "Waiting its turn" in words(app)
    assert [bar.proto.text for bar in app.get("progress")] == ["Waiting for r3"]
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert job.cancel_requested() and not app.exception


def test_an_evaluation_that_waits_shows_on_every_page(scored_workspace: Path) -> None:
    folder = scored_workspace / "evaluations" / "s1.0123456789"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text("{}")
    old = {"state": "waiting", "message": "waiting for r3", "share": 0.0, "seconds_left": None, "cost": None}
    (folder / "status.json").write_text(json.dumps(old))  # as an earlier version, whose worker goes on
    JobFolder(folder, "evaluation").claim(os.getpid())
    app = app_on().run()
    assert [bar.proto.text for bar in app.get("progress")] == ["Evaluation · Waiting for r3"]
    JobFolder(folder, "evaluation").write_progress(JobProgress("done", 1, 1))
    app.run()
    assert not app.exception and not app.get("progress")


def test_score_shows_the_line_of_a_run_that_is_not_in_its_form(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        run = workspace.runs.add(replace(workspace.runs.record("r1").spec, target_id=None))
        workspace.runs.set_status(run.id, "running")
    job = JobFolder(scored_workspace / "jobs" / "r2")
    job.folder.mkdir()
    job.claim(os.getpid())
    job.write_progress(JobProgress("scoring", done=1, total=10))
    app = app_on().run()
    app.switch_page("pages/score.py").run()
    assert [bar.proto.text for bar in app.get("progress")] == ["r2 · Scoring"]
    app.query_params["watch"] = "r2"  # as the link below it asks
    app.run()
    assert app.selectbox(key="run_picker").value == "r2" and "watch" not in app.query_params
    assert [bar.proto.text for bar in app.get("progress")] == ["Scoring · 1 of 10 pairs"]
