"""A workspace that another process has open: every command and every page says so, and names the process."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from delift_core.cli import main
from delift_core.cli.parser import build_parser
from delift_core.export.subset_files import export_selection
from delift_core.workspace import Workspace
from tests.app import app_on
from tests.scored import make_scored_workspace

PAGES = ("home", "data", "score", "select", "explore", "curate", "compare", "evaluate", "export", "health")
HOLDER = """
import sys
from pathlib import Path
from delift_core.workspace import Workspace
with Workspace.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""
# Words of each command after its name; {out}, {pool} and {manifest} are files.
COMMANDS = {
    "score": ["{pool}"],
    "curate": ["{pool}", "--stage", "instruction", "--budget", "1", "--out", "{out}"],
    "export": ["s1", "--out", "{out}"],
    "rerun": ["{manifest}", "--out", "{out}"],
    "gc": [],
    "doctor": [],
    "backup": ["{out}"],
}
WITHOUT = {"inspect", "convert", "explain", "verify", "publish", "evaluate", "install-model"}  # these take no workspace
# These write a folder that must be empty, read files only, and serve pages that open it.
APART = {"restore", "health", "studio"}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A workspace with a run and a selection, and the process that has it open."""
    base = tmp_path_factory.mktemp("held")
    make_scored_workspace(base / "workspace", base / "model")
    with Workspace.open(base / "workspace") as workspace:
        export_selection(workspace, "s1", base / "kept.jsonl")
    command = [sys.executable, "-c", HOLDER, str(base / "workspace")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    yield base / "workspace", process
    process.kill()
    process.wait()


def contents(folder: Path) -> dict[str, str]:
    """Every file but the log, which says what was tried."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "logs" not in path.parts
    }


def test_no_command_is_left_out() -> None:
    (found,) = [action for action in build_parser()._actions if action.dest == "name_of_command"]
    assert set(found.choices or ()) == {*COMMANDS, *WITHOUT, *APART}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_the_process_that_has_it_and_changes_nothing(
    held: tuple[Path, subprocess.Popen[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder, process = held
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"prompt": "a", "completion": "b"}\n')
    before, manifest = contents(folder), folder.parent / "kept.manifest.json"
    words = [word.format(out=tmp_path / "out.jsonl", pool=pool, manifest=manifest) for word in COMMANDS[name]]
    code = main([name, *words, "--workspace", str(folder)])
    out, err = capsys.readouterr()
    said = out if name == "doctor" else err  # which goes on with its other checks
    assert code == (1 if name == "doctor" else 2)
    assert f"in use by another process (pid {process.pid}" in said and "Traceback" not in out + err
    assert name == "doctor" or err.count("\n") == 1
    assert contents(folder) == before and not (tmp_path / "out.jsonl").exists()


def test_health_is_told_all_the_same(
    held: tuple[Path, subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["health", "--json", "--workspace", str(held[0])]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"]["database"] > 0


def test_every_page_names_the_process_and_goes_on_once_it_is_gone(
    held: tuple[Path, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = held
    monkeypatch.setenv("DELIFT_WORKSPACE", str(folder))
    st.cache_resource.clear()
    before = contents(folder)
    for page in PAGES:
        app = app_on(page).run()
        assert not app.exception, page
        (error,) = app.error
        assert f"in use by another process (pid {process.pid}" in error.value.replace("\\", ""), page
        assert [button.label for button in app.button] == ["Try again"] and not app.dataframe
    assert contents(folder) == before
    app = app_on().run()
    process.kill()
    process.wait()
    app.button[0].click().run()
    assert not app.error and app.dataframe
    st.cache_resource.clear()
