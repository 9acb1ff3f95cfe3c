"""Paths on a command line that cannot be used: one line and exit code 2, before any file is read or made."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.cli.arguments import OTHERWISE, USES
from delift_core.cli.parser import build_parser

LONG = "x" * 300
COMMANDS = {
    "inspect": ["inspect", "IN"],
    "inspect --against": ["inspect", "pool.jsonl", "--against", "IN"],
    "inspect --not-in": ["inspect", "pool.jsonl", "--not-in", "IN"],
    "convert": ["convert", "IN", "--out", "o.jsonl"],
    "convert --out": ["convert", "pool.jsonl", "--out", "OUT"],
    "score": ["score", "IN", "--workspace", "work"],
    "score --target": ["score", "pool.jsonl", "--target", "IN", "--workspace", "work"],
    "score --existing": ["score", "pool.jsonl", "--existing", "IN", "--workspace", "work"],
    "score --workspace": ["score", "pool.jsonl", "--workspace", "FOLDER"],
    "curate": ["curate", "IN", "--stage", "instruction", "--budget", "1", "--out", "o.jsonl", "--workspace", "work"],
    "curate --out": ["curate", "pool.jsonl", "--stage", "instruction", "--budget", "1", "--out", "OUT"],
    "export --out": ["export", "s1", "--out", "OUT", "--workspace", "work"],
    "export --workspace": ["export", "s1", "--out", "o.jsonl", "--workspace", "FOLDER"],
    "explain": ["explain", "FILE", "1"],
    "verify": ["verify", "FILE"],
    "rerun": ["rerun", "FILE", "--out", "o.jsonl", "--workspace", "work"],
    "rerun --out": ["rerun", "pool.jsonl", "--out", "OUT", "--workspace", "work"],
    "publish": ["publish", "FILE", "--folder", "new"],
    "publish --folder": ["publish", "pool.jsonl", "--folder", "NEW"],
    "evaluate": ["evaluate", "FILE", "--heldout", "pool.jsonl"],
    "evaluate --heldout": ["evaluate", "pool.jsonl", "--heldout", "IN"],
    "evaluate --keep": ["evaluate", "pool.jsonl", "--heldout", "pool.jsonl", "--keep", "FOLDER"],
    "evaluate --save-adapter": ["evaluate", "pool.jsonl", "--heldout", "pool.jsonl", "--save-adapter", "NEW"],
    "gc": ["gc", "--workspace", "FOLDER"],
    "backup": ["backup", "OUT", "--workspace", "work"],
    "backup --workspace": ["backup", "o.tar", "--workspace", "FOLDER"],
    "restore": ["restore", "FILE", "--workspace", "new"],
    "restore --workspace": ["restore", "pool.jsonl", "--workspace", "NEW"],
}
EVERYWHERE = {
    LONG: "300 bytes and may have 255; shorten it",
    f"missing/{LONG}": "",  # which of the two is said depends on what it is for
    "y/" * 2500: "",
    "nul\0": "NUL",
    "half\udc80": "not valid UTF-8",
    "pool.jsonl/inside": "through a file",
    "loop": "leads to no file",
    "loop/inside": "symbolic links",
    "dangling": "leads to no file",
}
ONLY = {
    "IN": {"none.jsonl": "does not exist", "pipe.jsonl": "is a pipe or a device", "": "empty name"},
    "FILE": {
        "": "empty name",
        "none.json": "does not exist",
        "pipe.jsonl": "is a pipe or a device",
        "folder": "is a folder",
    },
    "OUT": {
        "": "empty name",
        "folder": "is a folder",
        "pipe.jsonl": "not an ordinary file",
        "none/o.jsonl": "does not exist",
        "/dev/null": "not an ordinary file",
        "sealed/o.jsonl": "may not be written to",
    },
    "FOLDER": {
        "": "empty name",
        "pool.jsonl": "is a file, not a folder",
        "pipe.jsonl": "is a file, not a folder",
        "~nobody-of-this-name/x": "",
        "sealed/x": "may not be written to",
    },
    "NEW": {
        "": "empty name",
        "full": "is not empty",
        "pool.jsonl": "is a file, not a folder",
        "sealed/x": "may not be written to",
    },
}
CASES = [
    (name, path, told)
    for name, words in COMMANDS.items()
    for slot in ONLY
    if slot in words
    for path, told in (EVERYWHERE | ONLY[slot]).items()
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that commands run in."""
    (tmp_path / "pool.jsonl").write_text('{"instruction": "Say hello.", "output": "Hello."}\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "sealed").mkdir()
    sealed, allowed = tmp_path / "sealed", os.access

    def access(path: Path, mode: int) -> bool:  # root may write anywhere, so the answer for one folder is made here
        return allowed(path, mode) and not (Path(path).absolute() == sealed and mode & os.W_OK)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.parametrize(("name", "path", "told"), CASES, ids=[f"{name} {ascii(path)[:30]}" for name, path, _ in CASES])
def test_a_path_that_cannot_be_used_is_told_at_once(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, path: str, told: str
) -> None:
    before = sorted(place.rglob("*"))
    words = [path if word in ONLY else word for word in COMMANDS[name]]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("delift: ") and err.count("\n") == 1, err
    assert told in err and "Errno" not in err and len(err) < 500, err
    assert sorted(place.rglob("*")) == before


def test_every_path_of_every_command_is_tried() -> None:
    group = build_parser()._subparsers
    assert group is not None
    parsers: dict[str, argparse.ArgumentParser] = dict(group._group_actions[0].choices)  # type: ignore[arg-type]
    for command, parser in parsers.items():
        for action in parser._actions:
            if action.type is Path or action.metavar in ("F", "FILE", "POOL"):
                assert action.dest in USES, (command, action.dest)
    assert all(command in parsers and name in USES for command, name in OTHERWISE)


@pytest.mark.parametrize(
    ("words", "beside"),
    [
        (["export", "s1", "--out", "o.jsonl", "--workspace", "work"], "o.manifest.json"),
        (["export", "s1", "--out", "o.csv", "--recipes", "--workspace", "work"], "o.card.md"),
        (["export", "s1", "--out", "o.csv", "--recipes", "--workspace", "work"], "o.trl.py"),
        (["curate", "pool.jsonl", "--stage", "instruction", "--budget", "1", "--out", "o.jsonl"], "o.manifest.json"),
        (["rerun", "pool.jsonl", "--out", "o.jsonl", "--workspace", "work"], "o.manifest.json"),
    ],
)
def test_what_is_written_beside_an_output_is_tried_too(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], beside: str
) -> None:
    (place / beside).mkdir()
    assert main(words) == 2
    assert f"{beside} is written beside o." in capsys.readouterr().err and not (place / "work").exists()


def test_a_name_that_leaves_no_room_for_its_manifest_is_refused_and_the_longest_other_is_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "n" * 249 + ".jsonl"
    words = ["export", "s1", "--out", name, "--workspace", "work"]
    assert main(words) == 2 and "may have 255; shorten it" in capsys.readouterr().err
    assert main(["convert", "pool.jsonl", "--out", name]) == 0
    assert (place / name).read_bytes() == (place / "pool.jsonl").read_bytes()
    longest = "é" * 127  # of two bytes each
    assert main(["convert", "pool.jsonl", "--out", longest]) == 0 and (place / longest).exists()


def test_no_output_takes_the_place_of_the_database_or_an_input(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "work").mkdir()
    (place / "again.jsonl").symlink_to("pool.jsonl")
    for out, inputs in (("work/delift.duckdb", ["pool.jsonl"]), ("again.jsonl", ["pool.jsonl"])):
        words = ["curate", *inputs, "--stage", "instruction", "--budget", "1", "--out", out, "--workspace", "work"]
        assert main(words) == 2 and "would overwrite the input" in capsys.readouterr().err
    for option in ("--target", "--existing", "--not-in"):
        words = ["curate", "pool.jsonl", option, "other.jsonl", "--stage", "instruction", "--budget", "1"]
        (place / "other.jsonl").write_bytes((place / "pool.jsonl").read_bytes())
        assert main([*words, "--out", "other.jsonl", "--workspace", "work"]) == 2
        assert "would overwrite the input other.jsonl" in capsys.readouterr().err
