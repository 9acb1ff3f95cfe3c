"""Layouts of JSON besides lines and lists: records one behind another, and tables as one object."""

import io
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.loading import RawRecord, load_bytes, read_bytes
from delift_core.errors import DataError
from delift_core.samples import Problem

ROWS = [{"question": "q", "answer": "é\u2028", "n": 1.50}, {"question": "r }\n{", "answer": "b", "n": None}]


def values(text: str, name: str = "x.json") -> list[object]:
    return [one.value for one in read_bytes(text.encode(), name) if isinstance(one, RawRecord)]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("between", ["\n", "\n\n", ",\n", "", " "])
def test_records_over_several_lines_one_behind_another(name: str, between: str) -> None:
    text = between.join(json.dumps(row, indent=2) for row in ROWS * 2)
    found = list(read_bytes(text.encode(), name))
    assert [(one.line, one.value) for one in found if isinstance(one, RawRecord)] == [
        (at, ROWS[(at - 1) % 2]) for at in (1, 2, 3, 4)
    ]
    assert all("\n" not in one.raw for one in found if isinstance(one, RawRecord))


def test_a_broken_record_among_others_costs_only_itself() -> None:
    good = json.dumps(ROWS[0], indent=2)
    found = list(read_bytes(f'{good}\n{{\n  "question": oh\n}}\n{good}\n'.encode(), "x.json"))
    assert [isinstance(one, Problem) for one in found] == [False, True, False]


def test_records_on_one_line_and_lines_that_end_with_a_comma() -> None:
    one, two = (json.dumps(row) for row in ROWS)
    assert values(f"{one}{two}", "x.jsonl") == values(f"{one}, {two}") == values(f"{one},\n{two},\n") == ROWS
    found = list(read_bytes(f"{one}\n{one} {two}\n{two}\n".encode(), "x.jsonl"))
    assert [one.line for one in found] == [1, 2, 3] and isinstance(found[1], Problem)
    assert found[1].remedy == "Put each record on its own line."


def test_what_python_prints_is_called_so() -> None:
    with pytest.raises(DataError, match="a Python literal; write the rows with json.dumps"):
        list(read_bytes(str(ROWS[1]).encode(), "x.jsonl"))


TABLE = pd.DataFrame({"question": ["q", "r \n"], "answer": ["é", "b"], "n": [1.5, None]})


@pytest.mark.parametrize("index", [None, ["x", "y"], [7, 3]])
@pytest.mark.parametrize("orient", ["columns", "index", "split", "table", "records"])
def test_every_layout_of_pandas_is_read(orient: str, index: list[object] | None) -> None:
    text = TABLE.set_axis(index or [0, 1]).to_json(orient=orient, indent=1)
    data = load_bytes(text.encode(), "x.json")
    assert [(one.prompt, one.response) for one in data.samples] == [("q", "é"), ("r \n", "b")]
    assert [one.line for one in data.samples] == [1, 2] and not data.problems
    assert {"question": "q", "answer": "é", "n": 1.5}.items() <= json.loads(data.samples[0].raw).items()


def test_lists_by_column_are_read_and_keep_their_numbers() -> None:
    (first, second) = read_bytes(b'{"question": ["q", "r"], "answer": ["a", "b"], "n": [1.50, 1e2]}', "x.json")
    assert isinstance(first, RawRecord) and first.raw == '{"question": "q", "answer": "a", "n": 1.50}'
    assert isinstance(second, RawRecord) and second.raw.endswith('"n": 1e2}')
    turns = [[{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]] * 2
    assert values(json.dumps({"messages": turns, "id": [1, 2]})) == [
        {"messages": turns[0], "id": 1},
        {"messages": turns[1], "id": 2},
    ]


def test_columns_to_be_mapped_by_hand_are_found() -> None:
    assert values('{"frage": {"0": "q", "1": "r"}, "antwort": {"0": "a", "1": "b"}}') == [
        {"frage": "q", "antwort": "a"},
        {"frage": "r", "antwort": "b"},
    ]
    assert values('{"frage": ["q", "r"], "antwort": ["a", "b"]}')[0] == {"frage": "q", "antwort": "a"}


RECORDS = [
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "tools": [{}, {}]},
    {"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]},
    {"question_id": 1, "turns": ["q"], "reference": ["a"]},
    {"question": "q", "answer": "a"},
    {"meta": {"a": 1}, "more": {"b": 2}},
    {"tags": ["x"], "words": ["y", "z"]},
]


@pytest.mark.parametrize("record", RECORDS)
def test_one_record_is_no_table(record: dict[str, object]) -> None:
    assert values(json.dumps(record, indent=1)) == [record]


cells = st.text(st.characters(codec="utf-8"), max_size=6) | st.none() | st.integers(-9, 9) | st.booleans()
names = st.text(st.characters(codec="utf-8"), max_size=4)
tables = st.integers(1, 4).flatmap(
    lambda rows: st.dictionaries(names, st.lists(cells, min_size=rows, max_size=rows), min_size=1, max_size=3)
)


@given(table=tables, indent=st.sampled_from([None, 0, 2]))
def test_a_table_by_columns_gives_its_rows(table: dict[str, list[object]], indent: int | None) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    layouts = (
        {name: {str(at): cell for at, cell in enumerate(column)} for name, column in table.items()},
        {"columns": list(table), "index": list(range(len(rows))), "data": [list(row.values()) for row in rows]},
    )
    for layout in layouts:
        assert values(json.dumps(layout, indent=indent)) == rows


several = st.lists(st.dictionaries(st.text(max_size=3), cells, min_size=1), min_size=2, max_size=4)


@given(rows=several, indent=st.integers(0, 2))
def test_any_records_one_behind_another_are_found(rows: list[dict[str, object]], indent: int) -> None:
    stream = io.StringIO()
    for row in rows:
        stream.write(json.dumps(row, indent=indent) + "\n")
    assert values(stream.getvalue()) == rows
