"""What `inspect` and `convert` say of marks, of the columns of a prompt, and of columns that are not read."""

import json
from pathlib import Path

import pytest

from delift_core.cli import main

ROWS = [
    {
        "question": f"Who built bridge {at}?",
        "context": f"Bridge {at}: built by {who}.",
        "answer": who,
        "by": "me",
        "kto": at,
    }
    for at, who in enumerate(("Ada", "Bo"))
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


def test_inspect_names_marks_parts_and_unread_columns(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(source), "--answer", "chosen", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["left_out"], found["format"]) == (1, 1, "preference-chosen")
    assert found["prompt_columns"] == ["question", "context"]
    assert (found["marks"], found["unread_columns"]) == (["kto"], ["by"])
    assert main(["inspect", str(source), "--answer", "all"]) == 0
    said = capsys.readouterr().out
    assert "prompt: joined from question, context, in this order" in said and "not read: by" in said


def test_an_answer_without_effect_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps({"instruction": "i", "output": "o"}))
    for command in (["inspect", str(plain)], ["convert", str(plain), "--format", "same", "--out", str(tmp_path / "o")]):
        for answer in ("chosen", "rejected", "all"):
            assert main([*command, "--answer", answer]) == 2
            said = capsys.readouterr().err
            assert "--answer" in said and "leave it out" in said and said.count("\n") == 1
    assert not (tmp_path / "o").exists()
    assert main(["inspect", str(source)]) == 2 and "--answer chosen" in capsys.readouterr().err


def test_columns_mapped_by_hand_with_a_context(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    columns = "prompt=question,response=answer,context=by,context=context"
    given = ["convert", str(source), "--map", columns, "--answer", "all", "--format", "messages", "--out", str(out)]
    assert main(given) == 0
    first = json.loads(out.read_text().splitlines()[0])["messages"][0]["content"]
    assert first == "Who built bridge 0?\n\nme\n\nBridge 0: built by Ada."


@pytest.mark.slow
def test_what_a_model_reads_of_a_row(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = tmp_path / "pool.jsonl"
    rows = [{"prompt": "2 + 2?", "completion": "4"}, {"prompt": "A colour?", "completion": "<think>Sky.</think>Blue."}]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["inspect", str(pool), "--model", str(model_folder), "--row", "2", "--example", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "of them thoughts" in printed and "reads of row 2 after row 1:" in printed
    assert printed.index("--- example") < printed.index("2 + 2?") < printed.index("--- scored response")
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rendering"]["template"] == "chat"
    assert document["thought_tokens"] == len("Sky.</think>")
    assert "".join(part["text"] for part in document["text"]["parts"]).endswith("Sky.</think>Blue.")
    assert main(["inspect", str(pool), "--model", str(model_folder), "--row", "9"]) == 2
    assert capsys.readouterr().err.strip().endswith("has no usable row 9; `inspect` names the rows that were left out")
    assert main(["inspect", str(pool), "--model", str(model_folder), "--chat-template-kwargs", "x=1"]) == 2
    assert "not a JSON object" in capsys.readouterr().err
