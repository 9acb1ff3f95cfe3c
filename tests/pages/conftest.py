"""A workspace with a finished run and a kept selection, made once with a random model and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from pages.ui.explore import map_view
from tests.scored import make_scored_workspace


@pytest.fixture(scope="session")
def scored_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that the tests copy; nobody opens it."""
    folder = tmp_path_factory.mktemp("scored")
    make_scored_workspace(folder / "workspace", folder / "model")
    return folder / "workspace"


@pytest.fixture
def scored_workspace(scored_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A closed workspace of the test's own, named by DELIFT_WORKSPACE, with run r1 and its selection "first"."""
    folder = tmp_path / "workspace"
    shutil.copytree(scored_template, folder)
    monkeypatch.setenv("DELIFT_WORKSPACE", str(folder))
    _forget()
    yield folder
    _forget()


@pytest.fixture
def empty_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace folder of the test's own with nothing in it, named by DELIFT_WORKSPACE."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("DELIFT_WORKSPACE", str(folder))
    _forget()
    yield folder
    _forget()


@pytest.fixture
def quick_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coordinates without UMAP, which has tests of its own and takes seconds to start."""
    monkeypatch.setattr(map_view, "kept_layout", lambda run: run.embeddings()[:, :2])


def _forget() -> None:
    """Empties the caches of pages, which closes the workspace that they hold open."""
    st.cache_resource.clear()
    st.cache_data.clear()
