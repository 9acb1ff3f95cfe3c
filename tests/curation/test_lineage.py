"""From a manifest back to the same file: with mended and left-out rows, and with a pool that was uploaded."""

import hashlib
import json
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.data.loading import load_bytes
from delift_core.workspace import Workspace
from tests.data.quality.test_paraphrases import SAME
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

ROWS = [{"instruction": f"Say {at}", "input": "", "output": f"It is {at}."} for at in range(4)]
ODD = [
    {"instruction": "Mail?", "output": "jo@example.com"},
    {"instruction": "Sorry?", "output": "I'm sorry, but I can't do that."},
    {"instruction": "Number?", "output": 12},
]
DATA = "".join(f"{json.dumps(row)}\n" for row in [*ROWS, *ODD]).encode()


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


def curate(pool: Path, model: Path, out: Path, *more: str) -> tuple[object, ...]:
    common = ("curate", pool, "--stage", "instruction", "--budget", "100%", "--model", model, "--out", out)
    return (*common, "--workspace", out.parent / "w", *more)


def test_what_was_mended_and_left_out_is_in_the_manifest_and_made_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out, again = tmp_path / "pool.jsonl", tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    pool.write_bytes(DATA)
    asked = ("--mend", "not-text", "--mend", "personal-data", "--leave-out", "refusal")
    assert run("inspect", pool) == 0
    told = capsys.readouterr().out
    assert "(--mend not-text: convert numbers" in told and "(--mend personal-data: mask" in told
    assert "(--leave-out refusal)" in told
    assert run(*curate(pool, model, out, *asked)) == 0
    assert "Mask personal data: 1 records" in capsys.readouterr().err
    written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["output"] for row in written[4:]] == ["[EMAIL]", "12"]
    manifest = tmp_path / "out.manifest.json"
    assert [choice.remedy for choice in read_manifest(manifest).pool.choices] == ["not-text", "personal-data", None]
    assert run("verify", manifest) == 0
    assert "character by character" in capsys.readouterr().out
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh") == 0
    assert again.read_bytes() == out.read_bytes()
    assert run("convert", pool, "--out", tmp_path / "mended.jsonl", *asked) == 0
    assert (tmp_path / "mended.jsonl").read_bytes() == out.read_bytes()


def test_an_uploaded_pool_is_found_in_the_workspace_or_asked_for(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out, again = tmp_path / "elsewhere.jsonl", tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    pool.write_bytes(DATA)
    assert run(*curate(pool, model, out)) == 0
    pool.unlink()
    digest = hashlib.sha256(DATA).hexdigest()
    with Workspace.open(tmp_path / "w") as workspace:  # as if the rows had come through the browser
        workspace.datasets.add(load_bytes(DATA, "pool.jsonl"), role="pool", origin="upload:pool.jsonl", sha256=digest)
    assert run("export", "s1", "--out", out, "--workspace", tmp_path / "w") == 0
    manifest = tmp_path / "out.manifest.json"
    assert read_manifest(manifest).pool.sha256 == digest
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "w") == 0
    assert again.read_bytes() == out.read_bytes()
    capsys.readouterr()
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh") == 2
    asked = capsys.readouterr().err
    assert asked.count("\n") == 1 and f"put pool.jsonl (SHA-256 {digest}) beside the manifest" in asked
    assert run("verify", manifest) == 1
    assert f"put the file (SHA-256 {digest}) beside the manifest" in capsys.readouterr().out
    (tmp_path / "pool.jsonl").write_bytes(DATA)
    assert run("verify", manifest) == 0
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh") == 0
    (tmp_path / "pool.jsonl").write_bytes(DATA.replace(b"jo@", b"al@"))
    assert run("verify", manifest) == 1
    assert "was changed after the export" in capsys.readouterr().out


def test_copies_and_rows_of_the_held_out_set_are_left_out_by_command(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, second), (third, fourth), (fifth, _), *_ = SAME
    rows = [{"question": q, "answer": a} for q, a in (first, second, third, fifth, first)]
    pool, heldout, out = tmp_path / "pool.jsonl", tmp_path / "heldout.jsonl", tmp_path / "out.jsonl"
    pool.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    heldout.write_text(json.dumps({"question": fourth[0], "answer": fourth[1]}), "utf-8")
    asked = ("--leave-out-copies", "near", "--leave-out-copies", "semantic", "--not-in", heldout)
    assert run(*curate(pool, model, out), *asked) == 0
    said = capsys.readouterr().err
    for kind in ("near copies of rows", "semantic copies of rows", "holds them as well"):
        assert any(line.startswith("left out: 1 rows") and kind in line for line in said.splitlines()), said
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [rows[1], rows[3]]
    again = tmp_path / "again.jsonl"
    heldout.unlink()  # which rows were left out stands in the manifest
    assert run("rerun", tmp_path / "out.manifest.json", "--out", again, "--workspace", tmp_path / "fresh") == 0
    assert again.read_bytes() == out.read_bytes()
