"""A workspace with a finished run and a kept selection, made once with a random model and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from delift_core.curation import keep_selection, pose
from delift_core.jobs.runs import run_here
from delift_core.samples import Dataset, Message, ParsedRecord, with_ids
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import RunSpec, Workspace
from tests.tiny_models import save_model

# Line 4 cannot be scored (its response exceeds the model's context), so positions in the data set and in the run
# differ from there on; lines 2 and 7 are the same conversation.
POOL = (
    ("Add 2 and 3.", "5"),
    ("Name a colour of the sky.", "Blue."),
    ("Add 20 and 30.", "50"),
    ("Recite everything.", "la " * 400),
    ("What is the capital of France?", "Paris."),
    ("Translate 'cat' into German.", "Katze."),
    ("Name a colour of the sky.", "Blue."),
    ("Write a loop over xs in Python.", "for x in xs:\n    print(x)"),
    ("Is water wet?", "Yes, *very* wet: **100 %** <b>wet</b>."),
    ("Say hello politely.", "Good day to you."),
    ("Add 7 and 8.", "15"),
    ("What is the capital of Peru?", "Lima."),
    ("Translate 'dog' into German.", "Hund."),
)
TARGET = (("Add 4 and 4.", "8"), ("Add 11 and 6.", "17"))
EXISTING = (("What is the capital of Chile?", "Santiago."), ("Translate 'cow' into German.", "Kuh."))


@pytest.fixture(scope="session")
def scored_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that the tests copy; nobody opens it."""
    folder = tmp_path_factory.mktemp("scored")
    model = save_model(folder / "model")
    with Workspace.open(folder / "workspace") as workspace:
        add = workspace.datasets.add
        pool = add(_dataset("pool", POOL), role="pool", origin="test")
        target = add(_dataset("target", TARGET), role="target", origin="test")
        existing = add(_dataset("existing", EXISTING), role="existing", origin="test")
        spec = RunSpec(pool.id, target.id, existing.id, str(model), "auto", "cpu", "float32")
        run = run_here(workspace, spec, publish=lambda progress: None)
        problem = pose(workspace, run.id, "euclidean", ObjectiveConfig("instruction"))
        keep_selection(workspace, problem, problem.select(Budget("rows", 4)), name="first")
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


def _forget() -> None:
    """Empties the caches of pages, which closes the workspace that they hold open."""
    st.cache_resource.clear()
    st.cache_data.clear()


def _dataset(name: str, pairs: tuple[tuple[str, str], ...]) -> Dataset:
    records = [
        ParsedRecord(
            (Message("user", prompt), Message("assistant", response)),
            f'{{"instruction":"row {line} of {name}"}}',
            f"{name}.jsonl",
            line,
        )
        for line, (prompt, response) in enumerate(pairs, start=1)
    ]
    return Dataset(name, "alpaca", None, with_ids(records))
