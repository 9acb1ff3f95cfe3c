"""Load, then export in the same format, is the identity: every input that other loaders were seen to change."""

import csv
import json
from pathlib import Path

import pytest

from delift_core.data.loading import load_bytes, load_file
from delift_core.export.containers import write_rows
from delift_core.export.writers import render_lines, samples_with_nan
from delift_core.samples import ExportFormat

PLAIN = '{"instruction": "q", "input": "", "output": "a"}'
USER = '{"role": "user", "content": "u"}'
ANSWER = '{"role": "assistant", "content": "a"}'
CALL = '{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": %s}}]}'


def alpaca(output: str, more: str = "") -> str:
    return f'{{"instruction": "q", "input": "", "output": {output}{more}}}'


def chat(*turns: str, more: str = "") -> str:
    return f'{{"messages": [{", ".join(turns)}]{more}}}'


CASES: dict[str, list[str]] = {
    "dates stay text": [alpaca('"2024-01-01"')] * 3,
    "times stay text": [alpaca('"2024-01-01T10:00:00Z"')],
    "a key that comes late": [PLAIN] * 300 + [alpaca('"a"', ', "system": "s"')],
    "null for long, then text": [alpaca('"a"', ', "note": null')] * 300 + [alpaca('"a"', ', "note": "late"')],
    "several types in one field": [alpaca('"a"', f', "x": {x}') for x in ('"1"', "1", '{"a": 1}', "[1, null]", "true")],
    "content as text and as parts": [
        chat(USER, ANSWER),
        chat('{"role": "user", "content": [{"type": "text", "text": "u"}]}', ANSWER),
    ],
    "tool arguments with different keys": [
        chat(USER, CALL % arguments, '{"role": "tool", "content": "r", "tool_call_id": "c"}', ANSWER)
        for arguments in ('"{\\"a\\": 1}"', '{"a": 1}', '{"b": [null]}')
    ],
    "a key twice in an object": ['{"instruction": "p", "instruction": "q", "output": "a"}'],
    "big and odd numbers": [
        alpaca('"a"', f', "n": {n}') for n in ("123456789012345678901234567890", "1e400", "-0.0", "1.50", "1E+2")
    ],
    "line separators inside a text": [alpaca('"a\u2028b\u2029c\u0085d"')],
    "escapes as they were spelt": [alpaca('"\\u00e9 \u00e9 \\/ \\ud83d\\ude00 \U0001f600"')],
    "a NUL in a text": [alpaca('"a\\u0000b"')],
    "null, missing and empty are three things": [
        '{"instruction": "q", "output": "a"}',
        '{"instruction": "q", "input": null, "output": "a"}',
        PLAIN,
    ],
    "key order and odd spacing": ['{"output" :"a",  "instruction":"q"}', PLAIN],
    "exact copies and ids used twice": [alpaca('"a"', ', "id": 7')] * 3,
    "words that mean missing elsewhere": [alpaca(f'"{word}"') for word in ("NA", "None", "N/A", "null", "nan")],
    "developer role, names and reasoning": [
        chat(
            '{"role": "developer", "content": "s"}',
            '{"role": "user", "content": "u", "name": "Jo"}',
            '{"role": "assistant", "content": "a", "reasoning_content": "r", "weight": 1}',
            more=', "tools": [], "parallel_tool_calls": false',
        )
    ],
    "turns behind the last answer": [chat(USER, ANSWER, USER)],
    "bare lists": [f"[{USER}, {ANSWER}]"] * 2,
    "pairs and items": [
        '{"conversation": [{"human": "u", "assistant": "a"}], "system": "s"}',
        f'{{"items": [{USER}, {ANSWER}], "system": "s"}}',
    ],
    "words for numbers inside a text": [alpaca('"NaN, -Infinity"', ', "NaN": "Infinity"')],
}


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_come_out_as_they_went_in(tmp_path: Path, lines: list[str], newline: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + (newline.join(lines) + newline + newline).encode())
    dataset = load_file(source)
    assert not dataset.problems
    write_rows(out, render_lines(dataset.samples, "same"))
    assert out.read_bytes() == ("\n".join(lines) + "\n").encode()
    assert load_file(out).content_hash == dataset.content_hash


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
def test_an_array_keeps_every_token(tmp_path: Path, lines: list[str]) -> None:
    source, out = tmp_path / "in.json", tmp_path / "out.jsonl"
    source.write_bytes(("[\n" + ",\n".join(lines) + "\n]").encode())
    dataset = load_file(source)
    write_rows(out, render_lines(dataset.samples, "same"))
    assert load_file(out).content_hash == dataset.content_hash
    values = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    found = [json.loads(line, parse_float=str, parse_int=str) for line in out.read_text("utf-8").split("\n")[:-1]]
    assert repr(found) == repr(values)


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("alpaca", alpaca('"a"', ', "system": "s", "history": [["u", "b"]], "id": 1.50')),
        ("messages", chat(USER, ANSWER, more=', "tools": [{"type": "function"}], "n": 1e3')),
        ("sharegpt", '{"id": "x", "conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}'),
        ("prompt-completion", f'{{"prompt": [{USER}], "completion": [{ANSWER}], "chat_template_kwargs": {{}}}}'),
    ],
)
def test_naming_the_format_it_is_in_changes_nothing(tmp_path: Path, format: ExportFormat, line: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes((line + "\n").encode())
    assert list(render_lines(load_file(source).samples, format)) == [line + "\n"]


def test_what_json_does_not_have_becomes_null_and_nothing_else_changes() -> None:
    lines = ['{"output" :"NaN",  "instruction":"q", "score": NaN, "n": [-Infinity, 1.50]}', alpaca('"a"')]
    samples = load_bytes("\n".join(lines).encode(), "x.jsonl").samples
    assert [one.raw for one in samples] == lines and samples_with_nan(samples) == samples[:1]
    written = ['{"output" :"NaN",  "instruction":"q", "score": null, "n": [null, 1.50]}\n', f"{lines[1]}\n"]
    assert list(render_lines(samples, "same")) == written


def test_what_utf8_or_json_cannot_hold_is_named_not_changed(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [PLAIN.encode(), b'{"instruction": "q", "output": "\\ud83d"}', b'{"instruction": "\xff", "output": "a"}']
    source.write_bytes(b"\n".join([*lines, b'{"instruction": "q", "outp']))
    dataset = load_file(source)
    assert len(dataset) == 1
    assert [(one.line, one.kind) for one in dataset.problems] == [
        (2, "bad-encoding"),
        (3, "bad-encoding"),
        (4, "not-json"),
    ]


PUBLIC = sorted((Path(__file__).parents[1] / "fixtures" / "public").iterdir())


@pytest.mark.parametrize("source", PUBLIC, ids=[path.name for path in PUBLIC])
def test_public_files_come_out_as_they_went_in(tmp_path: Path, source: Path) -> None:
    dataset = load_file(source)
    assert not dataset.problems
    write_rows(tmp_path / "out.jsonl", render_lines(dataset.samples, "same"))
    written = (tmp_path / "out.jsonl").read_text("utf-8")
    if source.suffix == ".jsonl":
        assert written == source.read_text("utf-8")
        return
    tokens = [list(json.JSONDecoder(object_pairs_hook=list).decode(line)) for line in written.splitlines()]
    assert tokens == json.JSONDecoder(object_pairs_hook=list).decode(source.read_text("utf-8"))


WORDS = ["NA", "None", "N/A", "null", "1.0", "007", "2024-01-01", "TRUE"]
CELLS = [*WORDS, '"quoted", and\nbroken', "é\u2028", "=1+1", " "]


def test_a_table_of_text_comes_out_as_it_went_in(tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["question", "answer", "n"])
        writer.writerows([f"q{cell}", f"a{cell}", cell] for cell in CELLS)
    dataset = load_file(source)
    assert not dataset.problems
    write_rows(out, render_lines(dataset.samples, "same"))
    assert out.read_bytes() == source.read_bytes()


def test_records_within_another_are_found() -> None:
    (sample,) = load_bytes(b'{"data": [' + PLAIN.encode() + b"]}", "x.json").samples
    assert sample.raw == PLAIN.replace(": ", ":").replace(", ", ",")
