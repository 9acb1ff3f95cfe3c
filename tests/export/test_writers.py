import hashlib
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.formats import parse_record
from delift_core.data.loading import load_bytes
from delift_core.errors import ExportError
from delift_core.export.writers import ensure_writable, render_lines, unwritable, write_lines
from delift_core.samples import ExportFormat, Message, ParsedRecord, Role, Sample, with_ids

FORMATS = [name for name in get_args(ExportFormat) if name != "same"]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


def sample(*turns: tuple[Role, str], raw: str = "{}") -> Sample:
    messages = tuple(Message(role, text) for role, text in turns)
    return with_ids([ParsedRecord(messages, raw, "pool.jsonl", 7)])[0]


@given(st.lists(TEXT, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0), st.sampled_from(FORMATS))
def test_a_rendered_conversation_reads_back_and_stays_on_its_line(texts: list[str], format: ExportFormat) -> None:
    turns: list[tuple[Role, str]] = [(("user", "assistant")[at % 2], text) for at, text in enumerate(texts)]
    one = sample(*turns)
    (line,) = render_lines([one], format)
    assert line.endswith("\n") and "\n" not in line[:-1]
    assert parse_record(format, json.loads(line)).messages == one.messages  # type: ignore[arg-type]


def test_same_keeps_the_record_as_found() -> None:
    raw = '{"output" :"b",  "instruction":"a\\u00e9", "n":1.50}'
    assert list(render_lines([sample(("user", "a"), ("assistant", "b"), raw=raw)], "same")) == [raw + "\n"]


@pytest.mark.parametrize(
    "raw",
    [
        '{"instruction": "Add.", "input": "2 and 2", "output": "4", "topic": "sums"}',
        '{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "tools": [{"n": 1}]}',
        '{"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}], "id": "x1"}',
        '{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}], "n": 1}',
    ],
)
def test_a_record_that_is_in_the_format_stays_as_found(raw: str) -> None:
    dataset = load_bytes(f"{raw}\n{raw}\n".encode(), "pool.jsonl")
    assert list(render_lines(dataset.samples, dataset.format)) == [raw + "\n"] * 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "format", "expected"),
    [
        (
            '{"instruction": "Add.", "context": "2", "response": "4"}',  # Dolly's keys, which an Alpaca reader misses
            "alpaca",
            {"instruction": "Add.\n\n2", "input": "", "output": "4"},
        ),
        (
            '{"conversations": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}',
            "sharegpt",
            {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]},
        ),
        (
            '{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},'
            ' {"role": "user", "content": "thanks"}]}',  # what follows the response is not trained on
            "messages",
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
        ),
    ],
)
def test_a_dialect_of_the_format_is_written_anew(raw: str, format: ExportFormat, expected: dict[str, object]) -> None:
    (line,) = render_lines(load_bytes(raw.encode(), "pool.jsonl").samples, format)
    assert json.loads(line) == expected


def test_rows_that_do_not_fit_are_refused_before_the_first_line() -> None:
    plain = sample(("user", "a"), ("assistant", "b"))
    tool = sample(("user", "a"), ("tool", "t"), ("assistant", "b"))
    with pytest.raises(ExportError, match=r"2 of 3 rows .* alpaca.* pool.jsonl, line 7: .*tool turn"):
        render_lines([plain, tool, tool], "alpaca")
    assert [one.sample for one in unwritable([plain, tool], "alpaca")] == [tool]
    assert unwritable([tool], "same") == () == unwritable([tool], "messages")


def test_written_bytes_have_the_hash_that_is_given(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    digest, count = write_lines(out, ["é\u2028\n", "b\n"])
    assert out.read_bytes() == "é\u2028\nb\n".encode()
    assert (digest, count) == (hashlib.sha256(out.read_bytes()).hexdigest(), 2)
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_midway_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before\n")
    with pytest.raises(ExportError, match=r"line 2 of .* surrogate"):
        write_lines(out, ["fine\n", "half \ud83d\n"])
    assert out.read_text() == "before\n"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "pool.manifest.json"
    source.touch()
    with pytest.raises(ExportError, match="does not exist"):
        write_lines(tmp_path / "none" / "out.jsonl", [])
    with pytest.raises(ExportError, match="is a folder"):
        write_lines(tmp_path, [])
    with pytest.raises(ExportError, match="overwrite the input"):
        ensure_writable(tmp_path / ".." / tmp_path.name / "pool.jsonl", [source], [source])
