"""Every page alone, and the curator's whole way through them, without a browser (a random model stands in)."""

import json
import time
from pathlib import Path
from threading import Event

import pytest
from streamlit.testing.v1 import AppTest

from delift_core.data import sample_project_files
from delift_core.export.verify import verify
from delift_core.jobs.backends import Placement
from delift_core.jobs.preparation import JobMode
from delift_core.workspace import RunRecord, RunSpec, Workspace
from tests.app import app_on
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

PAGES = ("home", "data", "score", "select", "explore", "curate", "evaluate", "export")
NEEDED = {"score": "pool", "select": "utilities", "explore": "", "curate": "", "export": "selection"}


def open_app(page: str = "home") -> AppTest:
    app = app_on(page).run()
    assert_calm(app)
    return app


def assert_calm(app: AppTest) -> None:
    assert not app.exception, [e.value for e in app.exception]
    assert not app.error, [e.value for e in app.error]


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [b for b in app.button if b.label == label]
    button.click().run()
    return app


def links(app: AppTest) -> list[str]:
    return [link.proto.label for link in app.get("page_link")]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_works_on_a_curated_workspace(scored_workspace: Path, page: str) -> None:
    app = open_app(page)
    assert app.title[0].value.endswith(page.capitalize())


@pytest.mark.parametrize("page", sorted(NEEDED))
def test_a_page_without_its_material_says_so_and_links_to_it(empty_workspace: Path, page: str) -> None:
    app = open_app(page)
    texts = " ".join(block.value for block in app.markdown)
    assert NEEDED[page] in texts
    assert links(app)
    assert not app.get("plotly_chart")


def test_scoring_can_be_sent_to_a_ray_cluster(scored_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app("score")
    app.segmented_control(key="score_on").set_value("Ray cluster").run()
    app.text_input(key="ray_address").set_value("nowhere").run()
    app.number_input(key="ray_threads").set_value(2).run()
    asked = []

    def start(workspace: Workspace, spec: RunSpec, *, mode: JobMode, placement: Placement) -> RunRecord:
        asked.append((mode, placement))
        return workspace.runs.record("r1")

    monkeypatch.setattr(
        "delift_core.curation.scoring_runs.start", start
    )  # a cluster of its own would take half a minute
    press(app, "Rescan")  # the form came up with the settings of the current run
    assert_calm(app)
    assert asked == [("score", Placement("ray", "nowhere", 2))]


def test_home_welcomes_and_the_sample_project_leads_to_scoring(empty_workspace: Path) -> None:
    app = press(open_app(), "Try the sample project")
    assert_calm(app)
    assert app.title[0].value.endswith("Score")
    assert "2,500 pairs" in " ".join(block.value for block in app.markdown)
    assert app.selectbox(key="score_target").value == ""  # nothing more is scored than was asked for


@pytest.mark.slow
def test_the_whole_way_from_the_sample_project_to_a_file(empty_workspace: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    app = press(open_app(), "Try the sample project")
    app.segmented_control(key="model_kind").set_value("Own").run()
    app.text_input[0].set_value(str(model)).run()
    press(app, "Estimate time")
    wait_for(app, "Start scoring", "All 2,500 pairs are scored.")
    if any(b.label == "Start scoring" for b in app.button):
        press(app, "Start scoring")
        wait_for(app, "All 2,500 pairs are scored.")
    app.switch_page("pages/select.py").run()
    app.segmented_control(key="budget_unit").set_value("rows").run()
    app.slider(key="budget_rows").set_value(9).run()
    assert {m.label: m.value for m in app.metric}["Chosen"] == "9"
    press(app, "Save selection")
    assert_calm(app)
    assert app.title[0].value.endswith("Curate")
    app.switch_page("pages/export.py").run()
    press(app, "Export")
    assert_calm(app)
    (written,) = (empty_workspace / "exports").glob("*.jsonl")
    pool = sample_project_files().pool.read_text().splitlines()
    lines = written.read_text().splitlines()
    assert len(lines) == 9 and set(lines) <= set(pool)
    assert all(check.ok for check in verify(written.with_suffix(".manifest.json")))


def wait_for(app: AppTest, *signs: str) -> None:
    """Reruns until one of the texts shows, as the page's own timer does."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        Event().wait(0.5)  # the worker needs the processor more than the page does
        app.run()
        assert_calm(app)
        shown = [b.label for b in app.button] + [s.value for s in app.success]
        if any(sign in shown for sign in signs):
            return
    raise AssertionError(f"none of {signs} showed up")


def test_an_upload_with_unusable_rows_loads_the_others_and_lists_why(empty_workspace: Path) -> None:
    rows = [{"instruction": "Say hi", "output": "Hi"}, {"instruction": "Say bye", "output": " "}]
    app = open_app("data")
    app.file_uploader[0].upload("mine.jsonl", "\n".join(map(json.dumps, rows)).encode() + b"\nnot json\n").run()
    press(app, "Load")
    assert_calm(app)
    assert any("1 row loaded" in s.value and "2 skipped" in s.value for s in app.success)
    app.session_state["data_tab"] = "Skipped (2)"
    app.run()
    classes = next(frame.value for frame in app.dataframe if "What to do" in frame.value.columns)
    assert sorted(classes["Records"]) == [1, 1]
    records = next(frame.value for frame in app.dataframe if "Line" in frame.value.columns)  # of the first class
    assert len(records) == 1 and records["Line"][0] in (2, 3)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jsonl", b"", "empty"),
        ("noise.json", b"\x89PNG not json at all", "JSON"),
        ("one.csv", b"only\nvalue\n", "column"),
    ],
)
def test_bad_uploads_get_one_line_and_lose_nothing(scored_workspace: Path, name: str, data: bytes, reason: str) -> None:
    app = open_app("data")
    app.file_uploader[0].upload(name, data).run()
    assert not app.exception
    (error,) = app.error
    assert reason in error.value and "\n" not in error.value
    assert len(app.dataframe[0].value) == 3  # the sets that were there still are


def test_columns_are_mapped_by_hand_with_a_preview(empty_workspace: Path) -> None:
    app = open_app("data")
    app.file_uploader[0].upload("odd.csv", b"frage,note,antwort\nWie hoch?,x,3 m\nWie weit?,y,2 km\n").run()
    app.selectbox(key="map_prompt").set_value("frage").run()
    app.selectbox(key="map_response").set_value("antwort").run()
    assert any("user: Wie hoch?" in text.value and "assistant: 3 m" in text.value for text in app.text)
    press(app, "Load")
    assert any("2 rows loaded" in s.value for s in app.success)


@pytest.mark.slow
def test_an_unknown_model_is_one_line_and_can_be_tried_again(empty_workspace: Path) -> None:
    app = press(open_app(), "Try the sample project")
    app.segmented_control(key="model_kind").set_value("Own").run()
    app.text_input[0].set_value("nobody/no-such-model").run()
    press(app, "Estimate time")
    deadline = time.monotonic() + 120
    while not app.error and time.monotonic() < deadline:
        Event().wait(0.5)
        app.run()
    assert not app.exception
    assert "the hub cannot be reached for model" in app.error[0].value
    assert any(b.label == "Continue" for b in app.button)


def test_a_stage_without_its_set_links_to_scoring(scored_workspace: Path) -> None:
    app = open_app("select")
    for stage in ("task", "continual"):
        app.segmented_control(key="stage").set_value(stage).run()
        assert_calm(app)
        assert {m.label for m in app.metric} >= {"Chosen", "Random rows"}  # this run has both sets


def test_a_workspace_in_use_elsewhere_is_said_in_one_line(
    scored_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setenv("DELIFT_WORKSPACE", str(blocked))
    app = app_on().run()
    assert not app.exception
    assert "is a file, not a folder" in app.error[0].value
