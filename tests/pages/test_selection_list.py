"""Kept selections on the Select page: renamed and deleted."""

from pathlib import Path

import streamlit as st

from delift_core.workspace import Workspace
from tests.app import app_on


def test_a_kept_selection_is_renamed_and_deleted(scored_workspace: Path) -> None:
    at = app_on("select").run()
    at.text_input(key="selection_name_s1").set_value("short answers").run()
    assert not at.exception and not at.error
    assert at.selectbox(key="selection_picker").options == ["short answers · 4 chosen"]
    at.text_input(key="selection_name_s1").set_value("  ").run()
    assert len(at.error) == 1
    at.button(key="delete_selection_s1").click().run()
    assert not at.exception and "selection_picker" not in [box.key for box in at.selectbox]
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        assert workspace.selections.records() == ()
