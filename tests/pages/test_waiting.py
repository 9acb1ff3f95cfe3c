"""A run that waits for its turn, as the pages show it: for whom, and how to give up."""

import os
from pathlib import Path

from streamlit.testing.v1 import AppTest

from delift_core.jobs.folder import JobFolder
from delift_core.jobs.scoring import JobProgress
from tests.pages.test_visitors import words

APP = Path(__file__).parents[2] / "app.py"


def test_it_says_for_whom_it_waits_and_can_be_cancelled(scored_workspace: Path) -> None:
    job = JobFolder(scored_workspace / "jobs" / "r1")
    job.claim(os.getpid())  # a worker that lives
    job.write_progress(JobProgress("waiting", "waiting for r3"))
    app = AppTest.from_file(APP, default_timeout=60).run()
    bars = [bar.proto.text for bar in app.get("progress")]
    assert bars == ["r1 · Waiting for r3"]
    app.switch_page("pages/score.py").run()
    assert "Waiting its turn" in words(app)
    assert [bar.proto.text for bar in app.get("progress")] == ["Waiting for r3"]
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert job.cancel_requested() and not app.exception
