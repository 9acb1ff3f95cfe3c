"""Which part of an answer with thoughts is scored: the choice, its hash, rows without thoughts, the command line."""

import json
from pathlib import Path

import pytest

import delift_core as delift
from delift_core.cli import main
from delift_core.data.loading import ReadOptions, load_bytes, load_file
from delift_core.samples import ScoredPart

REASONING = Path(__file__).parents[1] / "fixtures" / "reasoning.jsonl"


def talk(*answers: dict[str, object]) -> str:
    turns = [turn for answer in answers for turn in ({"role": "user", "content": "q"}, {"role": "assistant", **answer})]
    return json.dumps({"messages": turns})


THOUGHT, INLINE, PLAIN = {"content": "a", "reasoning": "hm"}, {"content": "<think>hm</think>a"}, {"content": "a"}


def scored(part: ScoredPart, *rows: str, **more: object) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    """Line and part of each row, and line, kind and message of each problem."""
    dataset = load_bytes("\n".join(rows).encode(), "x.jsonl", ReadOptions(scored=part, **more))  # type: ignore[arg-type]
    problems = [(one.line, one.kind, one.message) for one in dataset.problems]
    return [(one.line, one.scored) for one in dataset.samples], problems


def test_each_choice_and_rows_without_thoughts() -> None:
    rows = (talk(THOUGHT), talk(INLINE), talk(PLAIN))
    assert scored("turn", *rows) == ([(1, "turn"), (2, "turn"), (3, "turn")], [])
    assert scored("answer", *rows) == ([(1, "answer"), (2, "answer"), (3, "turn")], [])
    none = (3, "no-thoughts", "the row has no thoughts to score")
    assert scored("thoughts", *rows) == ([(1, "thoughts"), (2, "thoughts")], [none])
    nothing = talk({"content": "<think>hm</think>  "})
    assert scored("answer", talk(PLAIN), nothing)[1] == [(2, "empty-response", "there is no answer after the thoughts")]


def test_every_answer_with_thoughts_is_a_row() -> None:
    mixed = talk(PLAIN, THOUGHT, INLINE)
    assert scored("answer", mixed, turns="every")[0] == [(1, "turn"), (1, "answer"), (1, "answer")]
    assert scored("thoughts", mixed, turns="every")[0] == [(1, "thoughts"), (1, "thoughts")]
    assert [kind for _, kind, _ in scored("thoughts", mixed, talk(THOUGHT, PLAIN), turns="every")[1]] == ["no-thoughts"]


def test_the_part_is_part_of_the_hash_only_where_it_changes_what_is_scored() -> None:
    data = "\n".join((talk(THOUGHT), talk(PLAIN))).encode()
    whole, answer = (load_bytes(data, "x.jsonl", ReadOptions(scored=part)).samples for part in ("turn", "answer"))
    assert whole[0].content_hash != answer[0].content_hash and whole[1] == answer[1]


def test_the_choice_in_python_and_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {one.scored for one in delift.load(REASONING, scored="thoughts").samples} == {"thoughts"}
    assert main(["inspect", str(REASONING), "--score-part", "thoughts"]) == 0
    said = capsys.readouterr().out
    assert "9 rows" in said and "1 no-thoughts" in said and "the row has no thoughts to score" in said
    out = tmp_path / "o.jsonl"
    assert main(["convert", str(REASONING), "--score-part", "answer", "--format", "messages", "--out", str(out)]) == 0
    assert len(load_file(out)) == 10
    assert main(["inspect", str(REASONING), "--score-part", "all"]) != 0
    assert "invalid choice: 'all'" in capsys.readouterr().err
