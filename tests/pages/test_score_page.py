"""The Score page: the sets that its form proposes, what it says of pairs and estimates, and a model without a name."""

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import add_sample_project
from delift_core.data.loading import Dataset
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress, ScoringFacts
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring.forecast import Forecast
from delift_core.system.callbacks import Phase
from delift_core.workspace import DatasetRecord, DatasetRole, Workspace
from tests.app import opened
from tests.pages.test_visitors import buttons, words
from tests.pages.test_way import links

pytestmark = pytest.mark.slow


def sets(app: AppTest) -> tuple[str, str, str]:
    return tuple(app.selectbox(key=f"score_{role}").value for role in ("pool", "target", "existing"))


def add(workspace: Workspace, name: str, role: DatasetRole) -> DatasetRecord:
    records = [
        ParsedRecord((Message("user", f"{name} {n}?"), Message("assistant", "Yes.")), "{}", f"{name}.jsonl", n)
        for n in range(1, 6)
    ]
    return workspace.datasets.add(Dataset(name, "alpaca", None, with_ids(records)), role=role)


def test_a_pool_loaded_after_the_run_is_proposed_without_the_sets_of_the_run(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        spec = workspace.runs.record("r1").spec
        mine = add(workspace, "mine", "pool")
    app = opened("score")
    assert sets(app) == (mine.id, "", "") and "**25 pairs** to score" in words(app)
    app.selectbox(key="score_pool").set_value(spec.pool_id).run()
    assert sets(app) == (spec.pool_id, spec.target_id, spec.existing_id)
    app.selectbox(key="score_pool").set_value(mine.id).run()
    assert sets(app) == (mine.id, "", "")


def test_the_form_follows_the_run_that_the_sidebar_points_at(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        spec = workspace.runs.record("r1").spec
        workspace.runs.add(replace(spec, target_id=None))
    app = opened("score")
    assert sets(app)[1] == spec.target_id
    app.selectbox(key="run_picker").set_value("r2").run()
    assert sets(app)[1] == "" and not app.exception


def test_the_way_from_a_lacking_stage_arrives_with_the_set_chosen(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        spec = workspace.runs.record("r1").spec
        workspace.runs.add(replace(spec, target_id=None, existing_id=None))
        workspace.runs.update(replace(workspace.runs.record("r2"), status="cancelled", n_pairs=144))
    app = opened("score", run="r2", add="target")
    assert sets(app) == (spec.pool_id, spec.target_id, "")
    assert "195 pairs**, 144 of them already scored" in words(app)
    assert "add" not in app.query_params


def test_the_sample_projects_sets_are_proposed_for_its_pool_alone(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        spec = workspace.runs.record("r1").spec
        sample = add_sample_project(workspace)
        workspace.runs.add(replace(spec, pool_id=sample.pool.id, target_id=None, existing_id=None))
    assert sets(opened("score", run="r2", add="existing")) == (sample.pool.id, "", sample.existing.id)


def test_where_no_set_fits_the_way_leads_to_data(scored_workspace: Path) -> None:
    import duckdb

    with duckdb.connect(str(scored_workspace / "delift.duckdb")) as connection:
        connection.execute("UPDATE runs SET target_id = NULL")
        connection.execute("DELETE FROM datasets WHERE role = 'target'")
    assert "Load a target set" in links(opened("select"))


def test_own_without_a_name_is_no_model(scored_workspace: Path) -> None:
    app = opened("score")
    app.text_input(key="model_name").set_value(" ").run()
    assert not app.exception and not app.success
    assert "Enter the model to score with" in app.info[0].value
    assert not {"Rescan", "Estimate time", "Start scoring", "Continue"} & set(buttons(app))


@pytest.mark.parametrize("driver", [None, "/usr/bin/nvidia-smi"])
def test_four_bits_are_offered_where_there_is_an_nvidia_gpu(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch, driver: str | None
) -> None:
    monkeypatch.setattr("delift_core.models.devices.shutil.which", lambda name: driver)
    found = opened("score").selectbox(key="dtype").options
    assert found == ["auto", "float32", "bfloat16", "mixed", *(["nf4"] if driver else [])]


def test_pairs_of_a_row_with_itself_are_told_apart(scored_workspace: Path) -> None:
    app = opened("score")
    app.segmented_control(key="pairs_unit").set_value("per-row").run()
    app.number_input(key="pairs_count").set_value(2).run()
    assert "**91 pairs** to score; 13 of them pair a row with itself" in words(app)


def test_an_estimate_says_when_it_was_made_and_can_be_made_again(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open(scored_workspace) as workspace:
        workspace.runs.add(replace(workspace.runs.record("r1").spec, target_id=None))
    job = JobFolder(scored_workspace / "jobs" / "r2")
    job.folder.mkdir()
    where = (
        "9.0 GiB of weights (bfloat16), spread by layer: 6.0 GiB on cuda:0 and 3.0 GiB (33%) in this computer's memory"
    )
    cost = Forecast(1_000, 900, 60.0, 5.0, 1 << 20, 1 << 20, 1 << 30, 1 << 30, weights=where, is_spread=True)
    job.write_progress(JobProgress("forecast", updated_at=86_400.0, facts=ScoringFacts(forecast=cost)))
    app = opened("score", run="r2")
    assert "Measured at 2 Jan, " in words(app) or "Measured at 1 Jan, " in words(app)
    assert where in words(app).replace("\\", "") and where in app.warning[0].value.replace("\\", "")
    modes = []
    monkeypatch.setattr(JobFolder, "start", lambda self: modes.append(self.read("request.json")["request"]["mode"]))
    next(button for button in app.button if button.label == "Estimate again").click().run()
    assert modes == ["forecast"] and not app.exception


@pytest.mark.parametrize(
    ("state", "seconds", "asked"),
    [("forecast", 200_000.0, True), ("forecast", 3_000.0, False), ("cancelled", 200_000.0, True)],
)
def test_a_run_of_more_than_an_hour_is_started_knowingly(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch, state: Phase, seconds: float, asked: bool
) -> None:
    with Workspace.open(scored_workspace) as workspace:
        workspace.runs.add(replace(workspace.runs.record("r1").spec, target_id=None, existing_id=None))
        if state == "cancelled":
            workspace.runs.set_status("r2", "cancelled")
    job = JobFolder(scored_workspace / "jobs" / "r2")
    job.folder.mkdir()
    cost = Forecast(
        144, 144, seconds, 0.01, 1 << 20, 1 << 20, 1 << 30, 1 << 30, alone_tokens=120, budgeted_pair_tokens=12.0
    )
    left = seconds if state == "cancelled" else None
    job.write_progress(JobProgress(state, seconds_left=left, updated_at=86_400.0, facts=ScoringFacts(forecast=cost)))
    modes: list[str] = []
    monkeypatch.setattr(JobFolder, "start", lambda self: modes.append(self.read("request.json")["request"]["mode"]))
    app = opened("score", run="r2")
    label = "Continue" if state == "cancelled" else "Start scoring"
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception and modes == ([] if asked else ["score"])
    if asked:
        assert "about **2 days** on this machine" in words(app)
        assert "12% of the pairs: 32 pairs, about 14 h" in words(app)


def test_the_question_before_a_long_run_starts_it() -> None:
    """On its own, since a whole page drawn again has closed its dialog, where a browser draws the dialog alone."""

    def page() -> None:
        import streamlit as st

        from delift_core.jobs.folder import JobStatus
        from delift_core.jobs.progress import JobProgress, ScoringFacts
        from delift_core.scoring.forecast import Forecast
        from pages.ui.score.job_view import start_knowingly

        cost = Forecast(
            144, 144, 200_000.0, 0.01, 1 << 20, 1 << 20, 1 << 30, 1 << 30, alone_tokens=120, budgeted_pair_tokens=12.0
        )
        status = JobStatus(JobProgress("forecast", facts=ScoringFacts(forecast=cost)), alive=False)
        start_knowingly(status, (12, 0, 0), lambda: st.text("started"))

    app = AppTest.from_function(page, default_timeout=120).run()
    assert not app.exception and not app.text
    next(button for button in app.button if button.label == "Start anyway").click().run()
    assert not app.exception and [text.value for text in app.text] == ["started"]


def test_what_the_model_reads_of_two_rows(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        pool = workspace.datasets.load(workspace.runs.record("r1").spec.pool_id).samples
    app = opened("score")
    app.toggle(key="score_model_text").set_value(True).run()
    shown = [block.value for block in app.code]
    assert any(pool[1].response in text for text in shown)  # the example
    assert shown[-1] == pool[0].response
    app.number_input(key="read_row").set_value(3).run()
    assert [block.value for block in app.code][-1] == pool[2].response
    assert "Scored response" in words(app) and not app.exception


def test_template_arguments_make_another_run_and_no_object_is_one_line(scored_workspace: Path) -> None:
    app = opened("score")
    app.text_input(key="template_arguments").set_value('{"enable_thinking": false}').run()
    assert "pairs** to score" in words(app)  # not the run that is there
    app.text_input(key="template_arguments").set_value("enable_thinking=false").run()
    assert "not a JSON object" in app.error[0].value and not app.exception
