"""Pages on a run of which only some pairs were scored."""

from pathlib import Path

import pytest

from tests.app import app_on
from tests.pages.test_visitors import words
from tests.scored import make_scored_workspace


@pytest.fixture
def budgeted_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workspace"
    make_scored_workspace(folder, tmp_path / "model", pairs="40%")
    monkeypatch.setenv("DELIFT_WORKSPACE", str(folder))
    return folder


def test_pages_show_a_run_on_a_budget_and_ask_for_another(budgeted_workspace: Path) -> None:
    app = app_on()
    said = {}
    for page in ("select", "explore", "curate", "compare", "export", "score"):
        app.switch_page(f"pages/{page}.py").run()
        said[page] = words(app)
        assert not app.exception, (page, [e.value for e in app.exception])
        assert not app.error, (page, [e.value for e in app.error])
    assert "Both shares count only scored pairs" in said["select"]
    assert "Pairs scored** · 40% of them, too few to estimate what the others would change" in said["export"]
    (message,) = app.success
    assert message.value.startswith("The requested ")
    assert app.segmented_control(key="pairs_unit").value == "percent"
    assert app.number_input(key="pairs_share").value == 40
    app.segmented_control(key="pairs_unit").set_value("per-row").run()
    app.number_input(key="pairs_count").set_value(2).run()
    # 12 pool rows (one too long, one twice), 13 in the file: each with itself, and twice for each of the three matrices
    assert f"{13 + 2 * 3 * 13} pairs" in " ".join(block.value for block in app.markdown)
