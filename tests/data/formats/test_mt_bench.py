"""MT-Bench: questions with the answers of another file, or with the hints beside them; none is lost without a word."""

import json
from pathlib import Path

import pytest

from delift_core.data.loading import ReadOptions, load_bytes, load_file
from delift_core.errors import DataError
from delift_core.export.writers import render_lines

FOLDER = Path(__file__).parents[2] / "fixtures" / "mt_bench"
QUESTIONS = (FOLDER / "mt_bench_question.jsonl").read_text("utf-8").splitlines()
ANSWERS = (FOLDER / "mt_bench_reference_gpt4.jsonl").read_text("utf-8").splitlines()


def test_a_folder_of_both_joins_questions_and_answers() -> None:
    data = load_file(FOLDER)
    assert data.format == "mt-bench"
    assert [json.loads(sample.raw)["question_id"] for sample in data.samples] == [101, 112, 131]
    assert [len(sample.messages) for sample in data.samples] == [4, 4, 2]  # its second hint is blank
    answers = json.loads(ANSWERS[0])["choices"][0]["turns"]
    assert [one.content for one in data.samples[0].messages if one.role == "assistant"] == answers
    assert [(one.kind, one.line) for one in data.problems] == [("no-assistant-turn", 1)]
    assert "folder that both files are in" in data.problems[0].remedy
    turns = load_file(FOLDER, ReadOptions(turns="every"))
    assert [len(sample.messages) for sample in turns.samples] == [2, 4, 2, 4, 2]


def test_what_was_joined_holds_both_records_and_is_read_again() -> None:
    data = load_file(FOLDER)
    lines = "".join(render_lines(data.samples, "same"))
    assert (
        lines.splitlines()[0]
        == QUESTIONS[1][:-1] + ', "choices": ' + ANSWERS[0].split('"choices": ')[1].split(', "tstamp"')[0] + "}"
    )
    assert lines.splitlines()[2] == QUESTIONS[3]
    again = load_bytes(lines.encode(), "again.jsonl")
    assert again.content_hash == data.content_hash and "".join(render_lines(again.samples, "same")) == lines


def test_either_file_alone() -> None:
    data = load_bytes("\n".join(QUESTIONS).encode(), "questions.jsonl")
    assert [sample.line for sample in data.samples] == [2, 3, 4]  # these carry hints of their own
    assert list(render_lines(data.samples, "same")) == [f"{line}\n" for line in QUESTIONS[1:]]
    with pytest.raises(DataError, match="questions to these answers are in another file"):
        load_bytes("\n".join(ANSWERS).encode(), "answers.jsonl")


def test_answers_to_no_question_and_second_answers_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(QUESTIONS[:2]), "utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join([ANSWERS[0], ANSWERS[0], ANSWERS[1]]), "utf-8")
    data = load_file(tmp_path)
    assert len(data) == 1
    assert sorted((one.kind, one.source, one.line) for one in data.problems) == [
        ("empty-prompt", "b.jsonl", 2),
        ("empty-prompt", "b.jsonl", 3),
        ("no-assistant-turn", "a.jsonl", 1),
    ]
