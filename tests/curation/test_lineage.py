"""From a manifest back to the same file: with mended and left-out rows, and with a pool that was uploaded."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from delift_core.cli import main
from delift_core.curation.manifest import read_manifest
from delift_core.data.loading import load_bytes
from delift_core.data.loading.source_files import SourceFile
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
        workspace.datasets.add(load_bytes(DATA, "pool.jsonl"), role="pool")
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


def _hub_row(at: int, answer: str = "chosen") -> dict[str, str]:
    return {"prompt": f"Say {at}", "chosen": f"It is {at}.", "rejected": f"No {at}.", "more": answer}


def test_a_pool_of_the_hub_is_verified_explained_evaluated_and_chosen_again(
    model: Path, tmp_path: Path, hub: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    then, out, again = "a" * 40, tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    hub["commit"], hub["rows"] = then, [_hub_row(at) for at in range(9)]
    name = "hub:o/n:test,config=c,limit=6"
    assert run(*curate(Path(name), model, out, "--answer", "chosen")) == 0
    assert hub["calls"] == [("o/n", "c", "test", then, True)]
    manifest = tmp_path / "out.manifest.json"
    entry = read_manifest(manifest).pool
    assert (entry.origin, entry.commit, entry.rows) == (name, then, 6)
    # The branch has other rows by now; the commit of then has not.
    hub["commit"], old = "b" * 40, hub["rows"]
    hub["rows"] = lambda revision: old if revision == then else [_hub_row(99)]
    capsys.readouterr()
    assert run("verify", manifest) == 0
    said = capsys.readouterr().out
    assert "6 records, character by character as in o/n" in said and "nothing to compare" not in said
    assert run("explain", manifest, 2) == 0
    assert "prompt:   Say 1" in capsys.readouterr().out
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text("".join(json.dumps({"prompt": f"New {at}", "completion": "Yes."}) + "\n" for at in range(4)))
    assert run("evaluate", manifest, "--heldout", heldout, "--seeds", 1, "--epochs", 1, "--against", "random") == 0
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh") == 0
    assert again.read_bytes() == out.read_bytes()
    assert read_manifest(tmp_path / "again.manifest.json").pool == entry
    assert {call[3] for call in hub["calls"]} == {then}


def test_a_pool_of_the_hub_that_has_other_rows_or_is_gone_is_said_in_one_line(
    model: Path, tmp_path: Path, hub: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out, heldout = tmp_path / "out.jsonl", tmp_path / "heldout.jsonl"
    hub["rows"] = [{"prompt": f"Say {at}", "completion": f"It is {at}."} for at in range(5)]
    heldout.write_text(json.dumps({"prompt": "New", "completion": "Yes."}))
    assert run(*curate(Path("hub:o/n"), model, out)) == 0
    manifest = tmp_path / "out.manifest.json"
    capsys.readouterr()
    kept, hub["rows"] = hub["rows"], hub["rows"][1:]
    assert run("evaluate", manifest, "--heldout", heldout) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the pool 'hub:o/n:train' of out.manifest.json has changed" in said
    assert run("verify", manifest) == 1
    assert "FAIL  Input pool 'o/n'" in capsys.readouterr().out
    hub["rows"], hub["fail"] = kept, ConnectionError("no route")
    assert run("evaluate", manifest, "--heldout", heldout) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be reached for o/n (no route)" in said
    assert run("explain", manifest, 2) == 0
    assert "no texts are shown: " in capsys.readouterr().out
    assert run("verify", manifest) == 0  # as far as it can be without the pool
    assert "cannot be reached for o/n" in capsys.readouterr().out
    # The workspace keeps the rows.
    assert run("rerun", manifest, "--out", tmp_path / "b.jsonl", "--workspace", tmp_path / "w") == 0


def test_an_input_is_read_once_more_the_way_it_was_read_and_no_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, out = tmp_path / "pool.jsonl", tmp_path / "out.jsonl"
    pool.write_text("".join(json.dumps(_hub_row(at)) + "\n" for at in range(4)), "utf-8")
    assert run(*curate(pool, model, out, "--answer", "rejected")) == 0
    manifest, opened, open_file = tmp_path / "out.manifest.json", [], SourceFile.open

    def counted(source: SourceFile) -> Any:
        opened.append(source.name)
        return open_file(source)

    monkeypatch.setattr(SourceFile, "open", counted)
    for words in (
        ("export", "s1", "--out", tmp_path / "b.jsonl", "--workspace", tmp_path / "w"),
        ("explain", manifest, 2),
        ("rerun", manifest, "--out", tmp_path / "c.jsonl", "--workspace", tmp_path / "fresh"),
    ):
        opened.clear()
        assert run(*words) == 0
        assert opened.count("pool.jsonl") == (2 if words[0] == "rerun" else 1), words  # rerun exports as well
    assert out.read_bytes() == (tmp_path / "c.jsonl").read_bytes()


HOW: dict[str, tuple[list[dict[str, object]], tuple[str, ...]]] = {
    "rejected": ([{**_hub_row(at)} for at in range(4)], ("--answer", "rejected")),
    "every answer": ([{"prompt": f"P{at}", "completion": "c", "label": at > 1} for at in range(4)],
                     ("--answer", "all")),
    "by hand": ([{"instruction": f"I{at}", "output": "o", "more": "m"} for at in range(4)],
                ("--map", "prompt=instruction,response=more")),
    "columns": ([{"question": f"q{at}", "answer": "a"} for at in range(4)], ()),
    "every turn": ([{"messages": [{"role": role, "content": f"{role} {turn} {at}"}
                                  for turn in range(2) for role in ("user", "assistant")]} for at in range(3)],
                   ("--turns", "every")),
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_what_was_stored_before_it_was_recorded_how_rows_were_read_is_found_out(
    model: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out, again = tmp_path / "pool.jsonl", tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    rows, asked = HOW[how]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert run(*curate(pool, model, out, *asked)) == 0
    manifest = tmp_path / "out.manifest.json"
    entry = read_manifest(manifest).pool
    assert entry.options is not None
    entry = replace(entry, options=replace(entry.options, text_only=True))  # so were all rows read at that time
    with duckdb.connect(tmp_path / "w" / "delift.duckdb") as connection:
        connection.execute("UPDATE datasets SET options = NULL, hub_commit = NULL")
    assert run("export", "s1", "--out", out, "--workspace", tmp_path / "w") == 0
    assert read_manifest(manifest).pool == entry
    document = json.loads(manifest.read_text("utf-8"))
    for one in document["inputs"]:
        del one["options"], one["commit"]
    manifest.write_text(json.dumps(document), "utf-8")
    capsys.readouterr()
    assert run("verify", manifest) == 0
    assert "character by character" in capsys.readouterr().out
    assert run("rerun", manifest, "--out", again, "--workspace", tmp_path / "fresh") == 0
    assert again.read_bytes() == out.read_bytes()
    assert read_manifest(tmp_path / "again.manifest.json").pool == entry
