"""The Evaluate page: what it needs, what it starts, what it shows, and rows kept as a selection."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import add_sample_project, open_selection
from delift_core.data.loading import Dataset
from delift_core.evaluation.subset_evaluation import arm_request
from delift_core.jobs.folder import JobFolder
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.workspace import Workspace
from tests.app import opened

HELDOUT = [(f"Add {n} and {n}.", str(2 * n)) for n in range(21, 31)]


@pytest.fixture
def with_heldout(scored_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scored workspace with held-out rows, of which the last is in the pool; workers run in this process."""
    pairs = [*HELDOUT, ("Add 2 and 3.", "5")]
    records = [
        ParsedRecord((Message("user", prompt), Message("assistant", answer)), "{}", "heldout.jsonl", line)
        for line, (prompt, answer) in enumerate(pairs, start=1)
    ]
    with Workspace.open(scored_workspace) as workspace:
        workspace.datasets.add(Dataset("held", "alpaca", None, with_ids(records)), role="heldout")
    monkeypatch.setattr(JobFolder, "start", lambda self: self.run(lambda: False))
    return scored_workspace


def press(at: AppTest, label: str) -> AppTest:
    next(button for button in at.button if button.label == label).click().run()
    assert not at.exception
    return at


def test_without_held_out_rows_the_page_says_where_to_load_them(scored_workspace: Path) -> None:
    at = opened("evaluate")
    assert any("You need held-out rows" in block.value for block in at.markdown)
    assert not any(button.label == "Estimate time" for button in at.button)


def test_the_sample_projects_rows_are_not_taken_unasked_for_another_pool(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        sample = add_sample_project(workspace)
        pool = workspace.runs.record("r1").spec.pool_id
    at = opened("evaluate")
    assert "Choose the held-out rows" in at.info[0].value
    assert not any(button.label == "Estimate time" for button in at.button)
    at.selectbox(key=f"evaluate_heldout_{pool}").set_value(sample.heldout.id).run()
    assert any(button.label == "Estimate time" for button in at.button) and not at.exception


@pytest.mark.slow
def test_from_the_cost_to_a_report_and_an_arm_kept_as_a_selection(with_heldout: Path) -> None:
    at = opened("evaluate")
    at.multiselect(key="evaluate_against").set_value(["random", "k-center", "column-mean"])
    at.slider(key="evaluate_seeds").set_value(1)
    at.slider(key="evaluate_epochs").set_value(1).run()
    at = press(at, "Estimate time")
    assert {metric.label for metric in at.metric} >= {"Time, at most", "Training runs", "Training tokens"}
    at = press(at, "Start")
    assert not at.error
    assert any("Fine\\-tuned on the subset" in block.value for block in at.markdown)
    assert any("heldout.jsonl, row 11: the same row is in the pool" in text.value for text in at.text)
    arms = list(at.dataframe[0].value["Arm"])
    assert arms == ["Untouched model", "The subset", "Random rows, same number", "k-center", "Mean utility"]
    at.selectbox(key="evaluate_keep_arm").set_value("k-center").run()
    press(at, "Save as a selection")
    _close()
    with Workspace.open(with_heldout) as workspace:
        names = {record.name: record.id for record in workspace.selections.records()}
        kept = open_selection(workspace, names["k-center"])
        assert len(kept.subset.positions) == 4
        assert kept.record.selection.certificate.ratio <= 1
        assert kept.record.selection.method == "k-center"
        assert kept.record.selection.greedy.order.tolist() == kept.problem.order_of("k-center").tolist()


@pytest.mark.slow
def test_a_cancelled_evaluation_can_be_continued(with_heldout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = opened("evaluate")
    at.slider(key="evaluate_seeds").set_value(1).run()
    at = press(at, "Estimate time")
    monkeypatch.setattr(JobFolder, "start", lambda self: self.run(lambda: True))
    at = press(at, "Start")
    assert any("Continue to run only what is missing" in box.value for box in at.warning)
    monkeypatch.setattr(JobFolder, "start", lambda self: self.run(lambda: False))
    at = press(at, "Continue")
    assert any(button.label == "Run again" for button in at.button)


def test_rows_chosen_elsewhere_make_a_selection_with_the_greedy_rest(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        curated = open_selection(workspace, "s1")
        chosen = curated.selector.select(arm_request(curated.problem, "random", [3, 0]))
    assert chosen.chosen.tolist() == [3, 0] and chosen.method == "given"
    assert sorted(chosen.greedy.order.tolist()) == list(range(len(curated.problem.run.pool)))
    assert chosen.chosen_gains.sum() == pytest.approx(chosen.certificate.value)


def _close() -> None:
    import streamlit as st

    st.cache_resource.clear()
    st.cache_data.clear()
