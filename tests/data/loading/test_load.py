"""Sources: raw text kept verbatim, layouts told apart, awkward bytes, problems, previews."""

import csv
import io
import json
import re
import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.loading import (
    RawRecord,
    ReadOptions,
    load_bytes,
    load_file,
    map_preview,
    read_columns,
    read_columns_of_bytes,
    read_records,
)
from delift_core.data.loading.json_records import compact
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, Conversation, Message, Problem

ROW = {"instruction": "q", "input": "", "output": "a"}
LINE = json.dumps(ROW)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def raws(path):
    return [item.raw for item in read_records(path) if isinstance(item, RawRecord)]


def problems(path):
    return [(item.line, item.kind) for item in read_records(path) if isinstance(item, Problem)]


AWKWARD = [
    '{"b":1.0,"a":1,"c":1e400,"d":-0.0,"e":1E+2}',
    '{ "spaced" :  [1 , 2 ] }',
    '{"big":123456789012345678901234567890}',
    '{"huge":' + "7" * 5000 + "}",
    '{"k":1,"k":2,"K":3}',
    '{"s":"\\u00e9 é \\/ / \\\\n \\" \\t \\ud83d\\ude00 😀"}',
    '{"s":"line\u2028sep\u2029next\u0085nel\\u000b"}',
    '{"nul":"a\\u0000b"}',
    '{"nested":"{\\"x\\": \\"\\\\\\"y\\\\\\"\\"}"}',
    '{"nan":NaN,"inf":-Infinity}',
    '{"":""}',
]


@pytest.mark.parametrize("newline", ["\n", "\r\n", " \t\n\n \n"])
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json"])
def test_json_lines_stay_verbatim(tmp_path, newline, suffix):
    path = write(tmp_path, "x" + suffix, b"\xef\xbb\xbf" + newline.join(AWKWARD).encode())
    assert raws(path) == AWKWARD
    assert problems(path) == []


@pytest.mark.parametrize("text", [*AWKWARD, '[ {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"} ]'])
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json"])
@pytest.mark.parametrize(("before", "behind"), [("", ""), ("", "\n"), (" \n\r\n\t", " \r\n\n")])
def test_one_line_alone_stays_verbatim(tmp_path, text, suffix, before, behind):
    path = write(tmp_path, "x" + suffix, b"\xef\xbb\xbf" + (before + text + behind).encode())
    (record,) = read_records(path)
    assert (record.raw, record.line) == (text, 1 + before.count("\n"))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_one_record_over_several_lines_becomes_one_line(tmp_path, newline):
    text = json.dumps({**ROW, "n": [1, 2]}, indent=2).replace("\n", newline)
    (record,) = read_records(write(tmp_path, "x.json", f"\n{text}\n"))
    assert (record.raw, record.line) == (compact(text), 1 + (newline == "\r"))
    assert not {"\n", "\r"} & set(record.raw)


def test_a_single_line_that_wraps_a_list_is_a_document(tmp_path):
    path = write(tmp_path, "x.jsonl", f'{{"data": [{LINE}, {LINE}]}}\n')
    assert raws(path) == [compact(LINE)] * 2


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = write(tmp_path, "x.jsonl", f"\n{LINE}\n\n{LINE}")
    assert [item.line for item in read_records(path)] == [2, 4]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "template", ["[{}]", "\n[\n  {}\n]\n", '{{"version": "[1]", "data": [\n{}\n], "n": {{"data": [0]}}}}', "[{},]"]
)
def test_array_elements_keep_every_token(tmp_path, template, suffix):
    pretty = [text.replace(":", " :\n\t", 1).replace("{", "{\r\n  ", 1) for text in AWKWARD]
    path = write(tmp_path, "x" + suffix, template.format("\n ,\n".join(pretty)))
    found = list(read_records(path))
    assert [item.line for item in found] == list(range(1, len(AWKWARD) + 1))
    assert [item.raw for item in found] == [text if " " not in text[:3] else compact(text) for text in AWKWARD]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values, indent=st.integers(0, 3), escaped=st.booleans())
def test_compacting_is_writing_without_spaces(value, indent, escaped):
    pretty = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert compact(pretty) == json.dumps(value, separators=(",", ":"), ensure_ascii=escaped)


# A list whose first element is a turn is one record, not several.
record_keys = st.text(max_size=5).filter(lambda key: key not in ("from", "role", "user", "human"))


@pytest.mark.slow
@given(rows=st.lists(st.dictionaries(record_keys, json_values, min_size=1), min_size=1, max_size=4))
def test_any_array_gives_the_records_of_the_json_module(rows):
    data = json.dumps(rows, indent=1).encode()
    expected = json.loads(data)
    try:
        preview = read_columns_of_bytes(data, "x.json")
    except DataError:
        # Only text that UTF-8 cannot hold may stand in the way.
        assert re.search(rb"\\ud[89a-f]", data)
        return
    assert [record.value for record in preview.records] == [row for row in expected if _utf8(row)]


def _utf8(value):
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def test_bad_lines_are_reported_and_passed_over(tmp_path):
    lines = [
        b"not json",
        LINE.encode(),
        b'{"instruction": "q", "output": "\xff\xfe"}',
        b'{"instruction": "q", "output": "cut \\ud83d"}',
        b'{"x": ' + b"[" * 200_000,
        b'{"s": "raw \x00 control"}',
        LINE.encode(),
        b'{"instruction": "q", "outp',
    ]
    path = write(tmp_path, "x.jsonl", b"\n".join(lines))
    found = list(read_records(path))
    kinds = ["not-json", "", "bad-encoding", "bad-encoding", "not-json", "not-json", "", "not-json"]
    assert [item.kind if isinstance(item, Problem) else "" for item in found] == kinds
    assert [item.line for item in found] == list(range(1, 9))
    assert found[2].field == found[3].field == "output"
    assert "nested" in found[4].message
    for item in found:
        if isinstance(item, Problem):
            assert len(item.excerpt) <= 120
            assert f"{item}\n{item.excerpt}".encode()  # printable and storable


def test_a_well_formed_surrogate_pair_is_no_problem(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"prompt": "\\uD83D\\uDE00", "response": "b"}')
    assert load_file(path).samples[0].prompt == "😀"


def test_a_broken_element_of_an_array_costs_only_itself(tmp_path):
    broken = '{"instruction": tru, "x": [1, {"]": "}, ]"}]}'
    path = write(tmp_path, "x.json", f"[{LINE},\n{broken},\n{LINE} {LINE}]")
    assert problems(path) == [(2, "not-json")]
    assert [item.line for item in read_records(path)] == [1, 2, 3, 4]
    assert len(raws(path)) == 3


def test_bad_bytes_in_an_array_cost_only_their_record(tmp_path):
    path = write(tmp_path, "x.json", b'[\n{"a": "\xe9"},\n{"a": "e"}]')
    assert problems(path) == [(1, "bad-encoding")]
    assert raws(path) == ['{"a":"e"}']


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"[{LINE},\n{LINE}", [(3, "not-json")]),
        (f'[{LINE},\n{{"instruction": "cut', [(2, "not-json")]),
        (f"[\n{LINE}\n]\nand more", [(1, "not-json")]),
    ],
)
def test_a_truncated_array_and_text_behind_one_are_reported(tmp_path, content, expected):
    path = write(tmp_path, "x.json", content)
    assert problems(path) == expected
    assert raws(path)[0] == compact(LINE)


def test_layouts_are_told_apart_by_content(tmp_path):
    turns = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
    bare = json.dumps(turns)
    assert len(load_file(write(tmp_path, "a.json", bare))) == 1
    assert len(load_file(write(tmp_path, "b.jsonl", f"{bare}\n{bare}"))) == 2
    assert len(load_file(write(tmp_path, "c.json", f"[{bare}, {bare}]"))) == 2
    assert len(load_file(write(tmp_path, "d.json", json.dumps({"conversations": turns}, indent=1)))) == 1
    assert len(load_file(write(tmp_path, "e.jsonl", f'broken {{\n{LINE}\n{{"data": ['))) == 1
    pairs = json.dumps([{"user": "u", "assistant": "a"}] * 3, indent=1)
    assert len(load_file(write(tmp_path, "f.json", pairs))) == 3
    with pytest.raises(DataError, match="train, test"):
        load_file(write(tmp_path, "g.json", json.dumps({"train": [ROW], "test": [ROW]})))


def table(rows, delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.csv", ";"), ("x.csv", "\t"), ("x.tsv", "\t")])
def test_csv_cells_stay_text(tmp_path, name, delimiter):
    cells = ["NA", "None", "1.0", "", 'a\r\nb,;\t"c"', "2024-01-01", "é\u2028\x00", "x" * 200_000]
    rows = [["question", "answer", "n"], *([cell, "a" + cell, "7"] for cell in cells)]
    path = write(tmp_path, name, b"\xef\xbb\xbf" + table(rows, delimiter).encode())
    found = list(read_records(path))
    expected = [{"question": cell, "answer": "a" + cell, "n": "7"} for cell in cells]
    assert [item.value for item in found] == expected
    assert [json.loads(item.raw) for item in found] == expected
    assert [item.line for item in found] == list(range(1, len(cells) + 1))
    data = load_file(path)
    assert (len(data), [(p.line, p.kind) for p in data.problems]) == (7, [(4, "empty-prompt")])


def test_odd_csv_rows(tmp_path):
    content = b'question,answer\nq\n\nq,a,b\n"q"x,a\nq,\xff\nq,a\n"q,a'
    path = write(tmp_path, "x.csv", content)
    found = list(read_records(path))
    assert found[0].value == {"question": "q", "answer": None}
    kinds = [item.kind if isinstance(item, Problem) else "" for item in found]
    assert kinds == ["", "not-an-object", "not-an-object", "bad-encoding", "", "not-an-object"]
    with pytest.raises(DataError, match="twice"):
        load_file(write(tmp_path, "y.csv", "a,b,a\n1,2,3\n"))
    with pytest.raises(DataError, match="header"):
        load_file(write(tmp_path, "h.csv", '"a"b,c\n1,2\n'))
    with pytest.raises(DataError, match="no records"):
        load_file(write(tmp_path, "z.csv", "question,answer\n"))


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    turns = [{"role": "user", "content": "u é"}, {"role": "assistant", "content": "a"}]
    columns = {"messages": [turns, turns], "score": [1.5, float("nan")], "day": [datetime(2024, 1, 2)] * 2}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    data = load_file(path)
    assert (data.format, [s.line for s in data.samples]) == ("messages", [1, 2])
    expected = {"messages": turns, "score": 1.5, "day": "2024-01-02T00:00:00"}
    assert json.loads(data.samples[0].raw) == expected
    assert json.loads(data.samples[1].raw)["score"] is None
    assert "é" in data.samples[0].raw
    assert load_bytes(path.read_bytes(), "up.parquet").content_hash == data.content_hash
    # A date is not text: it must not slip in as a response in another spelling.
    with pytest.raises(DataError, match="datetime"):
        load_file(path, ReadOptions(mapping=ColumnMapping("day", "day")))
    with pytest.raises(DataError, match="Parquet"):
        load_bytes(path.read_bytes()[:-10], "cut.parquet")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b"", "empty"),
        ("x.jsonl", b"\n \n", "no records"),
        ("x.json", b"[]", "no records"),
        ("x.jsonl", b"hello\nworld\n", "line 1"),
        ("x.json", b"<html>", "web page"),
        ("x.jsonl", LINE.encode("utf-16"), "UTF-16"),
        ("x.docx", b"x", ".jsonl, .ndjson, .csv, .tsv, .parquet"),
        ("x.parquet", b"PAR1", "Parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, name, content, words):
    with pytest.raises(DataError) as caught:
        load_file(write(tmp_path, name, content))
    message = str(caught.value)
    assert words in message and name in message and "\n" not in message


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_file(tmp_path / "no.jsonl")
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(DataError, match="folder"):
        load_file(tmp_path / "d.jsonl")


def test_load_file_keeps_order_lines_raw_and_reports_the_rest(tmp_path):
    rows = [ROW, {**ROW, "output": ""}, ROW, {"instruction": "q"}, 5, {"note": "x"}, {**ROW, "output": 3}]
    text = "\n".join(json.dumps(row) for row in rows)
    data = load_file(write(tmp_path, "my.pool.jsonl", text))
    assert (data.name, data.format, data.mapping) == ("my.pool", "alpaca", None)
    assert [(s.line, s.source, s.raw) for s in data.samples] == [(n, "my.pool.jsonl", LINE) for n in (1, 3)]
    assert data.samples[1].id == data.samples[0].id + "-2"
    assert [(p.line, p.kind, p.field) for p in data.problems] == [
        (2, "empty-response", "output"),
        (4, "unknown-format", "output"),
        (5, "not-an-object", ""),
        (6, "unknown-format", "instruction"),
        (7, "not-text", "output"),
    ]
    assert all(p.source == "my.pool.jsonl" and p.excerpt == json.dumps(rows[p.line - 1]) for p in data.problems)
    assert load_bytes(text.encode(), "up/load.jsonl", name="n").content_hash == data.content_hash


def test_auto_reads_each_known_format_and_names_the_most_frequent(tmp_path):
    pair, lost = {"question": "q", "answer": "a"}, {"input": "i", "output": "o"}
    rows = [pair, ROW, ROW, {"prompt": "p", "completion": "c"}, lost, ROW]
    path = write(tmp_path, "x.jsonl", "\n".join(json.dumps(row) for row in rows))
    data = load_file(path)
    assert data.format == "alpaca"
    assert [(s.prompt, s.response) for s in data.samples] == [("q", "a")] * 3 + [("p", "c"), ("q", "a")]
    # An Alpaca record that lost its instruction must not pass as a pair of columns.
    assert [(p.line, p.field) for p in data.problems] == [(5, "instruction")]


def test_columns_by_detection_and_by_hand(tmp_path):
    rows = [{"question": "q", "answer": "a", "alt": "b"}, {"query": "q2", "response": "a2"}]
    path = write(tmp_path, "x.jsonl", "\n".join(json.dumps(row) for row in rows))
    data = load_file(path)
    assert (data.format, data.mapping) == ("columns", ColumnMapping("question", "answer"))
    assert [s.response for s in data.samples] == ["a", "a2"]
    mapped = load_file(path, ReadOptions(mapping=ColumnMapping("question", "alt")))
    assert [s.response for s in mapped.samples] == ["b"]
    assert [(p.line, p.kind, p.field) for p in mapped.problems] == [(2, "unknown-format", "question")]


def test_format_found_only_after_the_first_records(tmp_path):
    text = "\n".join([json.dumps({"note": "x"})] * 300 + [json.dumps({"question": "q", "answer": "a"})])
    data = load_file(write(tmp_path, "x.jsonl", text))
    assert (len(data), data.format, data.mapping) == (1, "columns", ColumnMapping("question", "answer"))
    assert len(data.problems) == 300


def test_nothing_usable_lists_the_columns_and_the_way_out(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"frage": "q", "antwort": "a"}\n')
    with pytest.raises(DataError, match=r"frage, antwort.*--map prompt=COL,response=COL.*Data page"):
        load_file(path)
    with pytest.raises(DataError, match=r"line 1, field 'output'"):
        load_file(write(tmp_path, "y.jsonl", json.dumps({**ROW, "output": 1})))


def test_preview_shows_text_and_what_a_mapping_would_give(tmp_path):
    rows = [{"a": "q", "b": 1}, {"b": "x", "c": [1, "é"], "a": "q2"}, {"a": None, "b": "y"}]
    path = write(tmp_path, "x.json", json.dumps(rows, indent=2))
    preview = read_columns(path, limit=2)
    assert (preview.columns, preview.detected, preview.suggested) == (("a", "b", "c"), None, None)
    assert preview.rows == ({"a": "q", "b": "1", "c": ""}, {"a": "q2", "b": "x", "c": '[1, "é"]'})
    first, second = map_preview(preview, ReadOptions(ColumnMapping("a", "b")))
    assert isinstance(first, Problem) and (first.kind, first.field, first.line) == ("not-text", "b", 1)
    assert second == Conversation((Message("user", "q2"), Message("assistant", "x")))
    known = read_columns_of_bytes(b"question,answer\nq,a\n", "x.csv")
    assert (known.detected, known.suggested) == ("columns", ColumnMapping("question", "answer"))
    assert map_preview(known) == (Conversation((Message("user", "q"), Message("assistant", "a"))),)


def test_importing_sources_is_light():
    heavy = ("datasets", "pyarrow", "pandas")
    code = f"import delift_core.data.loading, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
