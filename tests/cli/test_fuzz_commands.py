"""Command lines of every kind over the real parser and the real commands: an exit code that is meant, one line of
refusal, no traceback; with --json one object on standard output and nothing else.

The same few on every run; `make fuzz` tries many others, FUZZ_EXAMPLES says how many.
"""

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from delift_core.cli import main
from delift_core.cli.parser import build_parser
from delift_core.errors import ModelError, Stopped
from delift_core.export.subset_files import export_selection
from delift_core.maintenance.backup import backup
from delift_core.workspace import Workspace
from tests.export.scored import alpaca_lines
from tests.scored import make_scored_workspace

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

# Words that stand for files of the place that the commands run in; see `place`.
LONG = "x" * 300
NOWHERE = ["loop", "loop/inside", "dangling", "pipe", "pool.jsonl/inside", LONG, f"no/{LONG}", "y/" * 2100, "a\0b"]
FILES = ["pool.jsonl", "pool.csv", "empty.jsonl", "binary.parquet", "cut.json.gz", "folder", "no.jsonl", "work/out.csv"]
MANIFESTS = ["work/out.csv.manifest.json", "other.manifest.json", "pool.jsonl", "digits.json", "deep.json", "folder"]
FOLDERS = ["work", "fresh", "fresh/deeper", "pool.jsonl", "folder", "~nobody/x", "~no-such-user/x", "readonly/x"]
OUTS = ["out.jsonl", "out.csv", "out.parquet", "folder", "no/such/out.jsonl", "pool.jsonl", ".", "work/delift.duckdb"]
OUTS += ["taken.jsonl", "n" * 245 + ".jsonl", "dangling", "n" * 254]
MODELS = ["model", "folder", "pool.jsonl", "nobody/nothing", "no-such-folder/model", "hub:a/b", "bundled", "cut-model"]
ODD = [
    *("", " ", "-", "--", "0", "-1", "1", "3", "nan", "inf", "1e999", "9" * 30, "12%", "200%", "k=2", "k=0", "all"),
    *("50tok", "a=b", "prompt=question,response=answer", "source:pool.jsonl=1..2", "source:x=2..1", ":=..", "=", ","),
    *(
        "hub:",
        "hub:a/b",
        "hub:a/b:train,limit=x",
        "../..",
        "~nobody",
        "\x1b[2J",
        "é",
        "\u202e",
        "\n",
        "\udc80",
        "x" * 300,
    ),
    *("[", "%", "{0}", "s1", "s9", "r1", "random,full", "random,,", "cpu", "cuda", "mixed", "bundled", "True", "None"),
]
VALUES = {
    "file": FILES,
    "pool": FILES,
    "target": FILES,
    "existing": FILES,
    "against": [*FILES, "random", "full,random"],
    "heldout": FILES,
    "manifest": MANIFESTS,
    "workspace": FOLDERS,
    "folder": FOLDERS,
    "save_adapter": FOLDERS,
    "keep": FOLDERS,
    "out": OUTS,
    "model": MODELS,
    "budget": ["2", "30%", "100tok", "1000", "0", "101%"],
    "pairs": ["all", "50%", "k=2"],
    "selection_id": ["s1", "s2", "r1"],
    "row_id": ["1", "0", "99", "nonsense"],
    "quota": ["source:pool.jsonl=1..2", "source:pool.jsonl=9..", "nothing:x=1.."],
}
PATHS = {
    "file",
    "pool",
    "target",
    "existing",
    "heldout",
    "manifest",
    "workspace",
    "folder",
    "save_adapter",
    "keep",
    "out",
}


def _parsers() -> dict[str, argparse.ArgumentParser]:
    group = build_parser()._subparsers
    assert group is not None
    return dict(group._group_actions[0].choices)  # type: ignore[arg-type]


PARSERS = _parsers()


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, mostly with values that could be meant, and now and then a stray word."""
    name = draw(st.sampled_from(sorted(PARSERS)))
    words = [name]
    for action in PARSERS[name]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        needed = action.required or not action.option_strings
        if not draw(st.integers(0, 19)) if needed else draw(st.integers(0, 3)):
            continue
        words += action.option_strings[-1:]
        if action.nargs != 0:
            likely = [*VALUES.get(action.dest, ()), *map(str, action.choices or ())]
            odd = [*ODD, *NOWHERE] if action.dest in PATHS else ODD
            words.append(draw(st.sampled_from(likely) if likely and draw(st.integers(0, 4)) else st.sampled_from(odd)))
    if not draw(st.integers(0, 5)):
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from([*ODD, "--json", "--nonsense", "--help"])))
    return words


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place that commands run in; each example has a copy."""
    folder = tmp_path_factory.mktemp("place") / "place"
    folder.mkdir()
    make_scored_workspace(folder / "work", folder / "model")
    with Workspace.open(folder / "work") as workspace:
        export_selection(workspace, "s1", workspace.exports_folder / "o.jsonl", format="alpaca")
        export_selection(workspace, "s1", folder / "work" / "out.csv", format="alpaca")
    backup(folder / "work", folder / "copy.tar")
    (folder / "pool.jsonl").write_text("\n".join(alpaca_lines(4)) + "\n")
    (folder / "pool.csv").write_text("question,answer\na,b\nc,d\n")
    (folder / "empty.jsonl").touch()
    (folder / "binary.parquet").write_bytes(bytes(range(256)))
    (folder / "cut.json.gz").write_bytes(b"\x1f\x8b\x08\x00")
    (folder / "other.manifest.json").write_text('{"version": 99}')
    (folder / "digits.json").write_text('{"version": ' + "9" * 5000 + "}")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "folder").mkdir()
    (folder / "taken.manifest.json").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("gone")
    shutil.copytree(folder / "model", folder / "cut-model")
    (folder / "cut-model" / "model.safetensors").write_bytes(b"cut")
    return folder


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No hub is asked, nothing is installed or served, the model of every day is not the one tried here (it takes half
    a minute to load), and an evaluation ends where fine-tuning would begin."""
    from delift_core.cli import upkeep_commands
    from delift_core.data.loading import library_rows
    from delift_core.evaluation import evaluate
    from delift_core.models import loading, model_files
    from delift_core.system import hub

    patch = pytest.MonkeyPatch()
    unreachable = hub.Probe("unreachable", OSError("offline"))
    for module in (hub, library_rows, loading):
        patch.setattr(module, "probe", lambda *_: unreachable)
    patch.setattr(model_files, "bundled_available", lambda: False)
    patch.setattr(model_files, "_bundled_file", lambda: None)
    patch.setattr(upkeep_commands, "bundled_available", lambda: False)
    patch.setattr(upkeep_commands, "install_bundled", _no_installing)
    patch.setattr("runpy.run_module", lambda name, run_name: None)
    patch.setattr(evaluate, "evaluate", _no_fine_tuning)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("DELIFT_WORKSPACE", str(tmp_path_factory.mktemp("default") / "work"))
    patch.delenv("HF_TOKEN", raising=False)
    yield
    patch.undo()


def _no_installing() -> NoReturn:
    raise ModelError("here the model would be installed")


def _no_fine_tuning(*_: object, **__: object) -> NoReturn:
    raise Stopped("here fine-tuning would begin")


def run(words: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in a folder."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", sys.argv)  # which `studio` replaces, as it does the default workspace
            patch.setenv("DELIFT_WORKSPACE", os.environ["DELIFT_WORKSPACE"])
            code = main(words)
    finally:
        os.chdir(before)
    return code, out.getvalue(), err.getvalue()


def check(words: list[str], folder: Path) -> int:
    """Runs a command and looks at how it ended."""
    code, out, err = run(words, folder)
    lines = err.splitlines()
    assert code in (0, 1, 2) or (words[0], code) == ("evaluate", 130), (words, code)
    refusals = [line for line in lines if line.startswith("delift: ")]
    assert len(refusals) == (code in (2, 130)), (words, code, err)
    assert err.isprintable() or all(line.isprintable() for line in lines), (words, err)
    assert "Traceback" not in err
    if code in (0, 1) and "--json" in words and not {"--help", "--version", "--"} & set(words):
        assert isinstance(json.loads(out), dict), (words, out)
    if code in (2, 130):
        assert out == "", (words, out)
    return code


@pytest.mark.slow
@often
@given(words=command_lines())
def test_any_command_line_ends_as_it_should(
    template: Path, tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run") / "place"
    shutil.copytree(template, folder, symlinks=True)
    os.mkfifo(folder / "pipe")
    if words[0] in ("score", "curate") and "--model" not in words:
        words += ["--model", "model"]
    try:
        event(f"{words[0]} ended with {check(words, folder)}")
        inside = {path.name for path in folder.parent.iterdir()}
        assert inside == {"place"}, (words, inside)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


@often
@given(st.lists(st.sampled_from([*ODD, *PARSERS, "--json", "--out", "--help", "--version"]), max_size=4))
def test_words_without_order_end_as_they_should(template: Path, words: list[str]) -> None:
    check(words, template)


def test_a_device_or_a_pipe_is_never_replaced(template: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = run(["convert", str(template / "pool.jsonl"), "--out", str(tmp_path / "pipe")], tmp_path)
    assert code == 2 and "is not an ordinary file" in err and (tmp_path / "pipe").is_fifo()
