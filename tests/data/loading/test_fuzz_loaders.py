"""Damaged files of every kind: a data set whose records all are accounted for, or one line of error; never else.

FUZZ_EXAMPLES=10000 looks at so many files of each test, and at rows of 100 MB; the default is quick.
"""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delift_core.data.formats import RecordError
from delift_core.data.loading import Dataset, ReadOptions, load_bytes, map_preview, read_columns_of_bytes
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.record_reader import edit_texts, reader_of, record_texts
from delift_core.data.quality.checks import find_issues
from delift_core.data.quality.cleaning import fix_records
from delift_core.errors import DataError, DeliftError
from delift_core.export.conversion import convert_sample
from delift_core.export.trainers import check_table
from delift_core.export.writers import render_lines
from delift_core.samples import FixableKind

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

ROWS = [
    {"instruction": "q\u2028", "input": "", "output": "a é"},
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
    {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}], "tools": "[]"},
    {"prompt": "p", "chosen": "a", "rejected": "b"},
    {"prompt": [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "completion": "c", "label": True},
    {"question": "NA", "answer": "None", "n": 12345678901234567890},
]
SPELT = [
    {"conversations": ["u", "a"], "n": 1},
    {"messages": '[{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]'},
    {"conversations": "[{'from': 'human', 'value': 'u'}\n {'from': 'gpt', 'value': 'a'}]"},
    {
        "contents": [
            {"role": "user", "parts": [{"text": "u"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
        ]
    },
    {"messages": [{"type": "human", "data": {"content": "u"}}, {"type": "ai", "data": {"content": "a"}}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "tool_result", "content": "r"}, {"type": "text", "text": "u"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
        ]
    },
    {"body": {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}, "custom_id": "1"},
    {
        "mapping": {
            "a": {"parent": "b", "message": {"author": {"role": "assistant"}, "content": {"parts": ["a"]}}},
            "b": {"parent": "a", "message": {"author": {"role": "user"}, "content": {"parts": ["u"]}}},
        }
    },
    {"segments": [{"label": False, "text": "<s>u "}, {"label": True, "text": "a</s>"}]},
    {"message_id": "m", "parent_id": None, "role": "prompter", "text": "u"},
    {"message_id": "n", "parent_id": "m", "role": "assistant", "text": "a", "rank": 0},
    {"conversation_id": 1, "turn": 0, "role": "user", "content": "u"},
    {"text": "<s>[INST] u [/INST] a</s>"},
    {"text": "### Human: u### Assistant: a"},
    {"chosen": "\n\nHuman: u\n\nAssistant: a", "rejected": "\n\nHuman: u\n\nAssistant: b"},
    {
        "data": {"prompt": "u"},
        "annotations": [{"result": [{"type": "textarea", "from_name": "answer", "value": {"text": ["a"]}}]}],
    },
    {"text": "a film", "label": 1},
]
FLAT = [{"instruction": "q", "output": "a", "n": 1.5}, {"instruction": "r", "output": "b", "n": None}]
ODD = [
    b'{"instruction": "a", "instruction": "b", "output": NaN}',
    b'{"output": "a", "instruction": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"instruction": "q", "output": "\\ud83d"}',
    b'{"instruction": "q", "output": "\xe9\xff"}',
    b'{"messages": [], "label": 1e999}',
    b'[{"from": "human"}, 3]',
    b"[" * 5000,
    b"\x00\x1a{}",
    b'"text"',
    b"-",
    b'{"messages": {"role": "user"}}',
    b'{"conversations": [[{"human": "u", "assistant": 3}]]}',
    b'{"kto_tag": true}',
    b'{"n": ' + b"9" * 5000 + b"}",
]


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows)


def table(rows: list[dict[str, object]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def parquet(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def arrow(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    whole = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(out, whole.schema) as writer:
        writer.write_table(whole)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


def views(rows: list[dict[str, object]]) -> bytes:
    """Texts as views, numbers as runs, turns as a list view, and a column of JSON text."""
    turns = pa.list_view(pa.struct([("from", pa.string_view()), ("value", pa.string_view())]))
    table = pa.table(
        {
            "conversations": pa.array([row["conversations"] for row in rows], turns),
            "n": pc.run_end_encode(pa.array([1.5] * len(rows))),
            "tools": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[{}]"] * len(rows))),
        }
    )
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


PRETTY = "\n".join(json.dumps(row, indent=1) for row in ROWS[:3]).encode()
BY_COLUMN = {name: {str(at): row[name] for at, row in enumerate(FLAT)} for name in FLAT[0]}
SPLIT = {"columns": list(FLAT[0]), "index": [0, 1], "data": [list(row.values()) for row in FLAT]}
WHOLE = [
    ("x.json", PRETTY),
    ("x.jsonl", PRETTY),
    ("x", lines(ROWS)),
    ("x.json", json.dumps(BY_COLUMN).encode()),
    ("x.json", json.dumps(SPLIT, indent=1).encode()),
    ("x.json", json.dumps({name: [row[name] for row in FLAT] for name in FLAT[0]}).encode()),
    ("x.csv", b"sep=;\n" + table(FLAT).replace(b",", b";")),
    ("x.arrow", views([ROWS[2]] * 3)),
    ("x.jsonl.bz2", bz2.compress(lines(ROWS))),
    ("x.jsonl.xz", lzma.compress(lines(ROWS))),
    ("x.jsonl", lines(ROWS)),
    ("x.json", json.dumps(ROWS, indent=1).encode()),
    ("x.json", json.dumps({"data": ROWS}).encode()),
    ("x.csv", table(FLAT)),
    ("x.tsv", table(FLAT)),
    ("x.parquet", parquet(FLAT)),
    ("x.parquet", parquet([ROWS[2]])),
    ("x.arrow", arrow(FLAT)),
    ("x.jsonl.gz", gzip.compress(lines(ROWS), mtime=0)),
    ("x.jsonl.zst", zstd(lines(ROWS))),
    ("x.parquet.gz", gzip.compress(parquet(FLAT), mtime=0)),
    ("x.jsonl", lines(SPELT)),
    ("x.json", json.dumps(SPELT).encode()),
    ("x.csv", table([SPELT[1]])),
    ("x.parquet", parquet([SPELT[5]])),
    ("x.jsonl", lines([{"question_id": 1, "turns": ["q"], "reference": ["a"]}, {"question_id": 1, "turns": ["r"]}])),
]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good file with pieces cut out, bytes changed or put in, or read in another encoding."""
    name, data = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "truncate", "insert", "change", "double", "encode"]))
        if kind == "cut":
            data = data[:at] + data[at + draw(st.integers(1, 40)) :]
        elif kind == "truncate":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + draw(st.sampled_from(ODD) | st.binary(max_size=12)) + data[at:]
        elif kind == "change":
            data = data[:at] + draw(st.binary(min_size=1, max_size=3)) + data[at + 1 :]
        elif kind == "double":
            data = data + data[at:]
        else:
            data = data.decode("latin-1").encode(draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "utf-32"])))
    return name, data


def look(name: str, data: bytes) -> tuple[int, int] | None:
    """Loads a file and does with it what pages and commands do; how many samples and problems, or None if refused."""
    for answer in (None, "chosen"):
        try:
            dataset = load_bytes(data, name, ReadOptions(answer=answer))
        except DeliftError as error:
            assert "\n" not in str(error) and str(error).encode(), str(error)
            continue
        _every_remedy(dataset)
        written = list(render_lines(dataset.samples, "same"))
        check_table([DECODER.decode(line) for line in written], limit=10)
        assert "".join(written).encode().count(b"\n") == len(dataset)
        for line in written:
            json.loads(line, parse_constant=pytest.fail, parse_int=str)
        for problem in dataset.problems:
            assert "\n" not in str(problem) and len(f"{problem}{problem.excerpt}".encode()) > 0
        return len(dataset), len(dataset.problems)
    try:
        map_preview(read_columns_of_bytes(data, name))
    except DeliftError as error:
        assert "\n" not in str(error)
    return None


def _every_remedy(dataset: Dataset) -> None:
    """A remedy loses no record, and each can be written in a format or is refused by name."""
    reading = reader_of(dataset)
    records = {(one.source, one.line) for one in (*dataset.samples, *dataset.problems)}
    for finding in find_issues(dataset.samples).findings:
        assert finding.positions
    for kind in get_args(FixableKind):
        mended = fix_records(dataset, kind).dataset
        assert {(one.source, one.line) for one in (*mended.samples, *mended.problems)} == records
        assert len({sample.id for sample in mended.samples}) == len(mended.samples)
    for sample in dataset.samples[:3]:
        assert edit_texts(sample, {one.path: one.text for one in record_texts(sample)}, reading) == sample
        with contextlib.suppress(RecordError):
            assert "\n" not in convert_sample(sample, "messages").line


@often
@given(damaged())
def test_damaged_files(file: tuple[str, bytes]) -> None:
    look(*file)


@often
@given(
    st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.tsv", "x.parquet", "x.feather", "x.csv.gz", "x.json.zst"])
    | st.sampled_from(["x", "x.txt", "x.jsonl.bz2", "x.xz"]),
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-16", "surrogatepass")),
)
def test_noise(name: str, data: bytes) -> None:
    look(name, data)


@often
@given(st.lists(st.sampled_from(ODD) | st.sampled_from([lines([row]) for row in ROWS]), min_size=2, max_size=8))
def test_no_line_of_json_lines_is_lost(parts: list[bytes]) -> None:
    data = b"\n".join([*parts, lines([FLAT[0]])])
    counts = look("x.jsonl", data)
    if parts[0][:1] == b"[" and counts is None:
        return  # a file that opens with a broken list is one document
    if counts is not None and parts[0] != b"[" * 5000:
        assert sum(counts) == len(parts) + 1


def test_a_column_that_is_named_in_two_ways_is_refused() -> None:
    whole = parquet([ROWS[2]])
    damaged_name = whole.replace(b"\x05value", b"\x05\x00alue", 1)  # in the schema, and not where its data are
    assert damaged_name != whole
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_bytes(damaged_name, "x.parquet")


@pytest.mark.parametrize("data", [b"\x80;\x80", b"\x80,b\nx,y"])
def test_names_of_columns_that_are_not_utf8_can_be_printed(data: bytes) -> None:
    with pytest.raises(DataError) as raised:
        load_bytes(data, "x.csv")
    assert str(raised.value).encode()


@pytest.mark.slow
def test_a_row_of_many_megabytes() -> None:
    megabytes = 100 if EXAMPLES >= 1000 else 20
    row = {"instruction": "q", "output": "é\u2028" * (megabytes * 200_000)}
    data = json.dumps(row, ensure_ascii=False).encode()
    assert len(data) > megabytes * 1_000_000
    dataset = load_bytes(data + b"\n" + data, "x.jsonl")
    assert len(dataset) == 2 and dataset.samples[1].raw.encode() == data
    cut = load_bytes(data + b"\n" + data[:-1], "x.jsonl")
    assert (len(cut), [problem.line for problem in cut.problems]) == (1, [2])


@pytest.mark.slow
@pytest.mark.parametrize("depth", [900, 5_000, 500_000])
def test_deep_nesting_is_read_or_refused(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for data in (nested, b'{"a": ' + nested + b"}", b'{"instruction": "q", "output": "a", "x": ' + nested + b"}"):
        for name in ("x.json", "x.jsonl"):
            look(name, data + b"\n" + lines([FLAT[0]]))
            look(name, data)
