"""`curate --engine`, end to end: what it prints, writes down, and makes again."""

import json
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.export.manifest import read_manifest
from delift_core.workspace import Workspace
from tests.tiny_models import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    save_model(folder / "tiny")
    rows = [{"instruction": f"Say {row}", "output": f"It is {row}."} for row in range(12)]
    (folder / "pool.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return folder


def curate(folder: Path, out: str, *words: str) -> int:
    common = ["curate", str(folder / "pool.jsonl"), "--stage", "instruction", "--model", str(folder / "tiny")]
    return main([*common, "--workspace", str(folder / "w"), "--out", str(folder / out), *words])


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("stochastic:0.2", "engine stochastic:0.2: at least 43.2% of the best selection in expectation"),
        ("partitioned:3", "engine partitioned:3: at least "),
        ("submodlib", "engine submodlib: at least 63.2% of the best selection"),
    ],
)
def test_an_engine_is_said_written_down_and_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str], engine: str, said: str
) -> None:
    name = engine.partition(":")[0]
    assert curate(folder, f"{name}.jsonl", "--budget", "4", "--engine", engine, "--seed", "5") == 0
    printed = capsys.readouterr().out
    assert said in printed and "certificate" in printed
    manifest = read_manifest(folder / f"{name}.manifest.json")
    assert manifest.engine is not None and (manifest.engine.name, manifest.output.rows) == (engine, 4)
    assert manifest.engine.guarantee in printed and manifest.result.certificate > 0
    with Workspace.open(folder / "w") as workspace:
        assert workspace.selections.load(manifest.selection_id).selection.engine == engine
    again = ["rerun", str(folder / f"{name}.manifest.json"), "--out", str(folder / f"{name}-again.jsonl")]
    assert main([*again, "--workspace", str(folder / "w")]) == 0
    assert (folder / f"{name}-again.jsonl").read_bytes() == (folder / f"{name}.jsonl").read_bytes()
    assert read_manifest(folder / f"{name}-again.manifest.json").engine == manifest.engine


def test_without_the_option_nothing_is_said_and_the_guarantee_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(folder, "plain.jsonl", "--budget", "4", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["engine"] == {"name": "auto", "guarantee": "at least 63.2% of the best selection (1 - 1/e)"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "4", "--engine", "magic"], "is not known: use one of auto"),
        (["--budget", "4", "--engine", "partitioned:0"], "parts from 1 to"),
        (["--budget", "90tok", "--engine", "partitioned"], "give --budget in rows or percent"),
        (["--budget", "4", "--engine", "stochastic", "--quota", "source:pool.jsonl=1.."], "knows no quotas"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert curate(folder, "refused.jsonl", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and message in printed.err and printed.err.count("\n") == 1
