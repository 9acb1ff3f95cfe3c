"""What a command imports: as much as its work needs, so that help, mistakes and small files are answered at once."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from delift_core.cli.parser import build_parser
from delift_core.export.subset_files import export_selection
from delift_core.workspace import Workspace
from tests.export.scored import alpaca_lines, clock, scored

pytestmark = pytest.mark.slow

MODELS = {"torch", "transformers", "tokenizers", "accelerate", "peft"}
LEARNING = {"numba", "sklearn", "umap", "faiss"}
TABLES = {"datasets", "pandas", "pyarrow", "datasketch", "wordllama"}
PAGES = {"streamlit", "plotly", "altair"}
NEVER = (MODELS | LEARNING | TABLES | PAGES) - {"tokenizers", "faiss", "datasketch"}  # which small comparisons need
LIGHT = MODELS | LEARNING | TABLES | PAGES | {"numpy", "scipy", "duckdb", "jinja2", "huggingface_hub", "psutil"}


def imported(*words: object, code: int = 0) -> set[str]:
    """The packages that `python -m delift_core` imported for a command line."""
    command = [sys.executable, "-X", "importtime", "-m", "delift_core", *map(str, words)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == code, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in lines}
    assert {"delift_core", "argparse"} <= names  # or nothing was listed, and the test could not fail
    return names


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six rows, and an export of them from a workspace beside it."""
    folder = tmp_path_factory.mktemp("start")
    with Workspace.open(folder / "work", clock=clock) as workspace:
        made = scored(workspace, folder / "pool.jsonl", alpaca_lines(6), budget="2")
        export_selection(workspace, made.selection_id, folder / "out.jsonl")
    return folder


def test_every_command_names_a_function_that_exists() -> None:
    actions = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    (commands,) = (action for action in actions if isinstance(action, argparse._SubParsersAction))
    named = {word: parser.get_default("command").name for word, parser in commands.choices.items()}
    assert {"inspect", "curate", "rerun", "gc"} < set(named)
    for name in named.values():
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(f"delift_core.cli.{module}"), function))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["curate", "--help"],
        ["evaluate", "--help"],
    ],
)
def test_help_needs_no_library(words: list[str]) -> None:
    assert imported(*words) & LIGHT == set()


@pytest.mark.parametrize(
    "words",
    [
        ["plant"],
        ["curate", "pool.jsonl", "--stage", "garden", "--budget", "3", "--out", "o.jsonl"],
        ["curate", "pool.jsonl", "--stage", "task", "--budget", "3", "--out", "o.jsonl"],
        ["curate", "pool.jsonl", "--stage", "instruction", "--budget", "many", "--out", "o.jsonl"],
        ["curate", "pool.jsonl", "--stage", "instruction", "--budget", "3", "--quota", "x", "--out", "o.jsonl"],
        ["score", "pool.jsonl", "--pairs", "some"],
        ["score", "pool.jsonl", "--ray-threads", "2"],
        ["publish", "out.jsonl"],
        ["convert", "no-such-file.jsonl", "--out", "o.jsonl"],
    ],
)
def test_a_mistake_on_the_command_line_needs_no_library(words: list[str], tmp_path: Path) -> None:
    placed = [str(tmp_path / word) if word.endswith("l") else word for word in words]
    assert imported(*placed, code=2) & LIGHT == set()


def test_convert_needs_neither_arrays_nor_a_database(work: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    found = imported("convert", work / "pool.jsonl", "--format", "messages", "--out", made)
    assert found & LIGHT == set()
    assert made.read_text().count("\n") == 6


@pytest.mark.slow
def test_inspect_needs_no_model_and_no_database(work: Path) -> None:
    assert imported("inspect", work / "pool.jsonl") & (NEVER | {"duckdb"}) == set()


@pytest.mark.slow
def test_what_reads_a_workspace_or_a_manifest_needs_no_model(work: Path) -> None:
    manifest, place = work / "out.manifest.json", ["--workspace", work / "work"]
    for words in (
        ["verify", manifest],
        ["explain", manifest, json.loads(manifest.read_text())["rows"][0]["id"]],
        ["gc", "--dry-run", *place],
        ["health", *place],
        ["backup", work / "copy.tar", *place],
    ):
        assert imported(*words) & (MODELS | LEARNING | PAGES | {"datasets", "datasketch", "wordllama"}) == set(), words
    export = ["export", "s1", "--out", work / "again.jsonl", *place]
    assert imported(*export) & (MODELS | PAGES | {"datasets", "datasketch"}) == set()  # it computes, compiled by numba


@pytest.mark.slow
def test_the_pages_need_no_model_before_they_are_asked_for_one() -> None:
    script = (
        "import importlib, json, pathlib, sys\n"
        "paths = sorted(path for path in pathlib.Path('pages/ui').rglob('*.py') if path.stem != '__init__')\n"
        "names = ['.'.join(path.with_suffix('').parts) for path in paths]\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "print(json.dumps([names, sorted(sys.modules)]))\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    names, modules = json.loads(done.stdout)
    assert {"pages.ui.shell.state", "pages.ui.shell.navigation", "pages.ui.score.job_view"} < set(names)
    assert "streamlit" in modules
    assert set(modules) & (MODELS | LEARNING | {"datasets", "datasketch"}) == set()
