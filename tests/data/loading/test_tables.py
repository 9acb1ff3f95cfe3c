"""Tables: every layout that Arrow has for a text, and what a table does to the values of a record undone."""

import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from delift_core.data.loading import RawRecord, load_bytes, read_bytes
from delift_core.data.loading.size_limits import VALUE_COST, VARIABLE, unpacked_bytes
from delift_core.errors import DataError
from delift_core.samples import Problem

TEXTS = ["q", "a question that is longer than a view holds itself", "é"]
ANSWERS = ["a", "b", "b"]
PAIRS = list(zip(TEXTS, ANSWERS, strict=True))


def stream(table: pa.Table, opener=pa.ipc.new_file) -> bytes:  # type: ignore[no-untyped-def]
    out = io.BytesIO()
    with opener(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def values(data: bytes, name: str) -> list[object]:
    return [item.value for item in read_bytes(data, name) if isinstance(item, RawRecord)]


LAYOUTS = {
    "views": lambda texts: pa.array(texts, pa.string_view()),
    "large": lambda texts: pa.array(texts, pa.large_string()),
    "dictionary": lambda texts: pa.array(texts).dictionary_encode(),
    "runs": lambda texts: pc.run_end_encode(pa.array(texts)),
    "dictionary of views": lambda texts: pa.DictionaryArray.from_arrays(
        pa.array(range(len(texts))), pa.array(texts, pa.string_view())
    ),
    "runs of views": lambda texts: pa.RunEndEncodedArray.from_arrays(
        pa.array(range(1, len(texts) + 1), pa.int32()), pa.array(texts, pa.string_view())
    ),
}


@pytest.mark.parametrize("opener", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_texts_is_read(layout, opener) -> None:  # type: ignore[no-untyped-def]
    make = LAYOUTS[layout]
    table = pa.table({"question": make(TEXTS), "answer": make(ANSWERS)})
    data = load_bytes(stream(table, opener), "x.arrow")
    assert [(one.prompt, one.response) for one in data.samples] == PAIRS


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_every_layout_of_turns_is_read(listed, text) -> None:  # type: ignore[no-untyped-def]
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS]
    kind = listed(pa.struct([("role", text), ("content", text)]))
    data = load_bytes(stream(pa.table({"messages": pa.array(turns, kind)})), "x.arrow")
    assert [one.prompt for one in data.samples] == TEXTS and json.loads(data.samples[1].raw) == {"messages": turns[1]}


@pytest.mark.parametrize("text", [pa.large_string(), pa.string_view()])
def test_parquet_of_other_text_types(text) -> None:  # type: ignore[no-untyped-def]
    table = pa.table({"question": pa.array(TEXTS * 400, text), "answer": pa.array(ANSWERS * 400, text)})
    assert [one.prompt for one in load_bytes(parquet(table), "x.parquet").samples] == TEXTS * 400


def test_shared_bytes_count_as_often_as_they_are_read() -> None:
    long = "x" * 1000
    views = pa.array([long] * 50, pa.string_view())
    assert unpacked_bytes(views.slice(10)) >= 40 * 1000
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([10, 50], pa.int32()), pa.array([long, "y"]))
    assert 10_000 <= unpacked_bytes(runs) < 13_000 and 5_000 <= unpacked_bytes(runs.slice(5)) < 8_000
    lists = pa.ListViewArray.from_arrays(
        pa.array([0] * 50, pa.int32()), pa.array([20] * 50, pa.int32()), pa.array([long] * 20)
    )
    assert unpacked_bytes(lists) >= 50 * 20 * 1000


def test_lists_that_share_their_values_are_refused_before_they_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "16")
    most, rows = 1 << 20, 1 << 12
    offsets, sizes = pa.array([0] * rows, pa.int32()), pa.array([most] * rows, pa.int32())
    lists = pa.ListViewArray.from_arrays(offsets, sizes, pa.array([1] * most, pa.int8()))
    assert unpacked_bytes(lists) >= VALUE_COST * most * rows
    with pytest.raises(DataError, match="unpacks to more than"):
        list(read_bytes(stream(pa.table({"question": lists})), "x.arrow"))


def test_a_union_is_refused_in_a_line() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["a", "b"]), pa.array([1, 2])])
    with pytest.raises(DataError, match="'question' is of type sparse_union"):
        load_bytes(stream(pa.table({"question": union})), "x.arrow")


CALLS = [{"name": "wind", "arguments": {"place": "Turku"}}, {"name": "add", "arguments": {"one": 1, "two": 2}}]
TOOLS = [
    [{"name": call["name"], "parameters": {"type": "object", "properties": {key: {"type": "x"}}}}]
    for call, key in zip(CALLS, ("place", "one"), strict=True)
]


@pytest.mark.parametrize("pack", [parquet, stream])
def test_arguments_and_properties_of_other_rows_are_taken_out(pack) -> None:  # type: ignore[no-untyped-def]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": None, "tool_calls": [{"function": call}]},
                {"role": "tool", "content": "r"},
                {"role": "assistant", "content": "a"},
            ],
            "tools": tools,
        }
        for call, tools in zip(CALLS, TOOLS, strict=True)
    ]
    name = "x.parquet" if pack is parquet else "x.arrow"
    table = pa.Table.from_pylist(rows)
    padded = table.to_pylist()[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert padded == {"place": "Turku", "one": None, "two": None}
    found = values(pack(table), name)
    assert [row["messages"][1]["tool_calls"][0]["function"] for row in found] == CALLS  # type: ignore[index]
    assert [row["tools"] for row in found] == TOOLS  # type: ignore[index]
    plain = load_bytes("\n".join(json.dumps(row) for row in rows).encode(), "x.jsonl")
    assert load_bytes(pack(table), name).content_hash == plain.content_hash


def test_maps_are_objects_and_json_types_are_decoded() -> None:
    arguments = pa.array([[("place", "Turku")], [("one", "1")]], pa.map_(pa.string(), pa.string()))
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps(CALLS), '{"broken"']))
    table = pa.table({"call": pa.StructArray.from_arrays([arguments], ["arguments"]), "calls": texts})
    for data, name in ((stream(table), "x.arrow"), (parquet(table), "x.parquet")):
        assert values(data, name) == [
            {"call": {"arguments": {"place": "Turku"}}, "calls": CALLS},
            {"call": {"arguments": {"one": "1"}}, "calls": '{"broken"'},
        ]


def test_not_a_number_is_missing_and_infinity_stays() -> None:
    rows = {"question": ["q", "r"], "answer": ["a", "b"], "note": [math.nan, math.inf], "deep": [[math.nan], [1.0]]}
    for data, name in ((stream(pa.table(rows)), "x.arrow"), (parquet(pa.table(rows)), "x.parquet")):
        found = [item for item in read_bytes(data, name) if not isinstance(item, Problem)]
        assert [json.loads(item.raw) for item in found] == [item.value for item in found]
        assert found[0].value == {"question": "q", "answer": "a", "note": None, "deep": [None]}
        assert '"note": Infinity' in found[1].raw


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_separator_line_of_a_spreadsheet_is_no_header(first: str, end: str) -> None:
    text = end.join([first, "question;answer", "q, with a comma;a", "r;b"])
    data = load_bytes(text.encode(), "x.csv")
    assert [(one.prompt, one.response, one.line) for one in data.samples] == [
        ("q, with a comma", "a", 1),
        ("r", "b", 2),
    ]


def test_a_column_that_is_called_sep_is_a_column() -> None:
    assert values(b"sep,answer\nq,a\n", "x.csv") == [{"sep": "q", "answer": "a"}]


def test_words_for_missing_values_stay_words_in_text() -> None:
    assert values(b"question,answer\nnan,NA\n,None\n", "x.csv") == [
        {"question": "nan", "answer": "NA"},
        {"question": "", "answer": "None"},
    ]


def test_damaged_metadata_of_a_column_is_an_error() -> None:
    """A histogram of levels that is one too long; pyarrow ends the process where it is asked for such a column."""
    damaged = (Path(__file__).parents[2] / "fixtures" / "damaged_column.parquet").read_bytes()
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_bytes(damaged, "damaged.parquet")
