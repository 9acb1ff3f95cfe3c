"""The Compare page, and choosing again on Curate."""

from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import keep_selection, open_selection
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import Workspace
from tests.app import opened

pytestmark = pytest.mark.usefixtures("quick_map")


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def test_one_selection_is_not_enough_and_the_page_says_where_to_get_another(scored_workspace: Path) -> None:
    at = opened("compare")
    assert any("need two selections" in block.value for block in at.markdown)


def test_two_selections_are_compared_row_by_row(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        selector = Selector(open_run(workspace, "r1"))
        keep_selection(
            workspace, selector, SelectionRequest(ObjectiveConfig("continual"), Budget("rows", 6)), name="second"
        )
        first, second = (set(open_selection(workspace, id).subset.positions.tolist()) for id in ("s1", "s2"))
    at = opened("compare")
    assert [at.selectbox(key=key).value for key in ("compare_a", "compare_b")] == ["s1", "s2"]
    shown = metrics(at)
    assert shown["In both"] == str(len(first & second))
    assert (shown["Only in A"], shown["Only in B"]) == (str(len(first - second)), str(len(second - first)))
    table = at.table[0].value
    assert list(table.loc["Rows"]) == ["4", "6"]
    assert {"Response length", "Cluster"} <= set(at.pills(key="compare_facet").options)
    at.selectbox(key="compare_b").set_value("s1").run()
    assert metrics(at)["Overlap"] == "100%"
    assert not at.exception


def test_choosing_again_around_an_edit_makes_a_second_selection(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        curated = open_selection(workspace, "s1")
        chosen = int(curated.record.selection.chosen[0])
        workspace.edits.apply("s1", "drop", [curated.problem.run.pool[chosen].id], author="ada")
    at = opened("curate")
    next(button for button in at.button if button.label == "Re-optimise").click().run()
    assert not at.exception
    assert at.selectbox(key="selection_picker").value == "s2"
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        again = workspace.selections.load("s2")
        assert again.name == "first · round 2"
        assert chosen not in again.selection.chosen and len(again.selection.chosen) == 4


def test_a_selection_of_a_removed_engine_is_shown_and_chosen_again_by_exact_greedy(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        curated = open_selection(workspace, "s1")
        chosen = curated.record.selection.chosen.tolist()
        made = replace(curated.record.selection, engine="stochastic:0.1")
        workspace.selections.add("r1", made, name="old", metric="euclidean", seed=0)
        workspace.edits.apply("s2", "drop", [curated.problem.run.pool[chosen[0]].id], author="ada")
    at = opened("curate")
    at.selectbox(key="selection_picker").set_value("s2").run()
    assert at.selectbox(key="selection_picker").value == "s2"
    assert at.dataframe[0].value["Rank"].notna().sum() == len(chosen)
    next(button for button in at.button if button.label == "Re-optimise").click().run()
    assert not at.exception and not at.error
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        again = workspace.selections.load("s3").selection
    assert again.engine == "auto" and chosen[0] not in again.chosen and len(again.chosen) == len(chosen)


def test_without_edits_there_is_nothing_to_choose_again(scored_workspace: Path) -> None:
    at = opened("curate")
    assert next(button for button in at.button if button.label == "Re-optimise").disabled
