"""The newest run of a large pool is opened beside the first page, once, and its pages then find it open."""

from pathlib import Path

import pytest

from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.workspace import Workspace
from pages.ui.shell import reading_ahead, state
from tests.app import app_on


@pytest.mark.parametrize(("large", "ahead"), [(1, ["r1"]), (20_000, [])])
def test_a_large_pool_is_open_before_its_page_is_asked_for(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch, large: int, ahead: list[str]
) -> None:
    opened: list[str] = []

    def counted(workspace: Workspace, run_id: str) -> ScoredRun:
        opened.append(run_id)
        return open_run(workspace, run_id)

    monkeypatch.setattr(state, "open_run", counted)
    monkeypatch.setattr(reading_ahead, "LARGE", large)
    at = app_on("data").run()
    workspace = state.workspace()
    reading_ahead._begun(str(workspace.folder), workspace).join(timeout=60)
    assert opened == ahead
    at.switch_page("pages/curate.py").run()
    assert not at.exception and opened == ["r1"] and len(at.dataframe) == 1
