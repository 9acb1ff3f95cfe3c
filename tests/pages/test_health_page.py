"""The Health page."""

from pathlib import Path

import pytest

from delift_core.system.logs import begin_log, log_event
from tests.app import app_on
from tests.pages.test_visitors import WHO, buttons, visit, words


def test_an_owner_reads_sizes_versions_device_and_the_log(scored_workspace: Path) -> None:
    begin_log(scored_workspace, "server")
    log_event("something happened", job="r1")
    app = app_on("health").run()
    assert not app.exception
    tables = [frame.value for frame in app.dataframe]
    assert any("something happened" in frame.to_string() for frame in tables)
    assert any({"database", "utility"} <= set(frame.get("Part", [])) for frame in tables)
    assert any("duckdb" in frame.to_string() for frame in tables)
    assert "Torch" in words(app) and "scoring on" in words(app)
    next(button for button in app.button if button.label == "Check the workspace").click().run()
    assert "Scored pairs" in words(app) and "as they were written" in words(app)


@pytest.mark.parametrize("role", ["viewer", "curator"])
def test_others_see_no_log_and_no_paths(scored_workspace: Path, role: str) -> None:
    app = visit(scored_workspace, "health", WHO[role])
    assert not app.exception and "Check the workspace" not in buttons(app)
    assert "log" not in words(app).lower().replace("log out", "") and str(scored_workspace) not in words(app)
    assert not any(str(scored_workspace) in (metric.help or "").replace("\\", "") for metric in app.metric)
