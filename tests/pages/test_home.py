"""The Home page and the sidebar's pickers: the run that is met first, what a run is called, links to what is gone."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from delift_core.curation.scoring_runs import forget, open_run, refresh
from delift_core.errors import ScoringError
from delift_core.jobs.folder import JobFolder, JobStatus
from delift_core.jobs.progress import JobProgress
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.workspace import RunRecord, Workspace
from pages.ui.shell import setup
from pages.ui.shell.navigation import PAGES
from tests.app import opened
from tests.pages.test_visitors import words
from tests.pages.test_way import links, press


@pytest.fixture
def with_estimate(scored_workspace: Path) -> Path:
    """The scored workspace with a newer run, r2, of which only the cost was measured."""
    with Workspace.open(scored_workspace) as workspace:
        workspace.runs.add(replace(workspace.runs.record("r1").spec, pairs=parse_pairs("50%")))
        JobFolder(scored_workspace / "jobs" / "r2").folder.mkdir()
        JobFolder(scored_workspace / "jobs" / "r2").write_progress(JobProgress("forecast", total=90))
    return scored_workspace


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def at_work(workspace: Path, run: str, progress: JobProgress) -> None:
    job = JobFolder(workspace / "jobs" / run)
    job.claim(os.getpid())  # a worker that lives
    job.write_progress(progress)


def test_the_cards_of_the_first_visit_lead_to_their_pages(empty_workspace: Path) -> None:
    labels = links(opened())
    assert labels == [f"**{number} · {page.title}**" for number, page in enumerate(PAGES[1:], start=1)]


def test_the_finished_run_is_met_first_and_an_estimate_is_called_one(with_estimate: Path) -> None:
    app = opened()
    assert app.selectbox(key="run_picker").value == "r1"
    assert numbers(app)["Pairs scored"] == "165" and "Go to Curate" in links(app)
    runs = next(frame.value for frame in app.dataframe if "Status" in frame.value.columns)
    assert dict(zip(runs["Run"], runs["Status"], strict=True)) == {"r2": "only estimated", "r1": "scored"}
    assert opened("score", run="r2").selectbox(key="run_picker").value == "r2"  # asked for, it is shown


def test_an_estimate_can_be_deleted_and_a_run_with_selections_cannot(with_estimate: Path) -> None:
    app = opened()
    (choice,) = [box for box in app.selectbox if box.label == "Run" and box.key != "run_picker"]
    assert [option.partition(" ")[0] for option in choice.options] == ["r2"]
    press(app, "Delete permanently")
    assert not app.exception and not app.error
    assert app.selectbox(key="run_picker").options == ["r1 · pool"]


def test_a_run_at_work_is_not_deleted(with_estimate: Path) -> None:
    at_work(with_estimate, "r2", JobProgress("scoring", done=1, total=9))
    with Workspace.open(with_estimate) as workspace, pytest.raises(ScoringError, match="cancel it first"):
        forget(workspace, "r2")


def test_home_follows_a_run_at_work(with_estimate: Path) -> None:
    with Workspace.open(with_estimate) as workspace:
        workspace.runs.set_status("r2", "running")  # as `start` does
    at_work(with_estimate, "r2", JobProgress("scoring", done=1_050, total=2_540))
    app = opened(run="r2")
    assert numbers(app)["Pairs scored"] == "1,050 of 2,540"
    assert "Scoring is running" in words(app) and "Go to Score" in links(app)
    at_work(with_estimate, "r2", JobProgress("cancelled", done=1_050, total=2_540))
    app.run()
    assert numbers(app)["Pairs scored"] == "1,050" and "Scoring stopped before the end" in words(app)


def test_no_page_asks_for_jobs_that_have_ended(with_estimate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workspace.open(with_estimate) as workspace:
        workspace.runs.set_status("r2", "running")  # as `start` does
    asked: list[str] = []

    def counted(workspace: Workspace, run_id: str) -> tuple[RunRecord, JobStatus]:
        asked.append(run_id)
        return refresh(workspace, run_id)

    monkeypatch.setattr(setup, "refresh", counted)
    app = opened("data")
    assert asked == ["r2"]
    app.run()
    assert asked == ["r2"]  # its job has ended: nobody works on it


@pytest.mark.parametrize(("kind", "instead"), [("run", "r1"), ("selection", "s1")])
def test_a_link_to_what_is_gone_says_so_once(scored_workspace: Path, kind: str, instead: str) -> None:
    app = opened(**{kind: "x99"})
    (box,) = app.warning
    assert f"no {kind} x99" in box.value and f"Showing {kind} {instead} instead" in box.value
    app.switch_page("pages/export.py").run()
    assert not app.warning


def test_a_selection_in_the_address_brings_its_run(with_estimate: Path) -> None:
    with Workspace.open(with_estimate) as workspace:
        workspace.runs.set_status("r2", "done")
    JobFolder(with_estimate / "jobs" / "r2").write_progress(JobProgress("done", done=90, total=90))
    assert opened(page="data").selectbox(key="run_picker").value == "r2"
    st.cache_resource.clear()
    app = opened(page="data", selection="s1")
    assert app.selectbox(key="run_picker").value == "r1"
    assert app.selectbox(key="selection_picker").options == ["first · 4 chosen"]


def test_counts_before_and_after_edits_are_two_columns(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        chosen = int(workspace.selections.load("s1").selection.chosen[0])
        workspace.edits.apply("s1", "drop", [open_run(workspace, "r1").pool[chosen].id], author="somebody")
    app = opened()
    table = next(frame.value for frame in app.dataframe if "By hand" in frame.value.columns)
    assert (table["Chosen"][0], table["By hand"][0]) == (4, 1)
    assert numbers(app)["In the subset"] == "3 of 12"
