"""Parquet and CSV: what was written reads back, what a table cannot hold is refused, formulas are quoted by choice."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.curation.curate import open_selection
from delift_core.data.loading import RawRecord, load_file, read_records
from delift_core.errors import ExportError
from delift_core.export.containers import WrittenFile, json_text_columns, unquote_formula, write_rows
from delift_core.export.preflight import ExportDraft
from delift_core.export.publish import save_to_disk
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.export.writers import manifest_path
from delift_core.samples import ExportFormat
from delift_core.system.access import Actor
from delift_core.workspace import Workspace
from tests.export.scored import Scored, scored

pytestmark = pytest.mark.slow

CHAT = {"messages": [{"role": "user", "content": "u\u2028"}, {"role": "assistant", "content": "a"}]}
TOOL = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "name": "x"}], "n": None}
FLAT = {"instruction": "NA", "input": None, "output": 'None\r\n"é"', "n": 2**60}


def write(path: Path, *records: object, **options: str) -> WrittenFile:
    return write_rows(path, [json.dumps(record) + "\n" for record in records], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_read_back_as_the_same_conversations(tmp_path: Path, suffix: str) -> None:
    plain, out = tmp_path / "plain.jsonl", tmp_path / f"out{suffix}"
    for rows in ([FLAT, FLAT | {"n": 1, "system": "s"}], [CHAT, TOOL, CHAT]):
        if suffix == ".csv" and rows[0] is CHAT:
            continue
        write(plain, *rows)
        assert write(out, *rows).rows == len(rows)
        assert load_file(out).content_hash == load_file(plain).content_hash


def test_what_a_table_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for name, rows, words in [
        ("o.csv", [FLAT, CHAT], "row 2, field 'messages' is a list"),
        ("o.parquet", [FLAT, FLAT | {"n": "text"}], "'n' cannot be a Parquet column"),
        ("o.parquet", [FLAT | {"n": 2**70}], "'n' cannot be a Parquet column"),
        ("o.parquet", [[{"from": "human", "value": "u"}]], "row 1 is a list"),
        ("o.arrow", [FLAT], "files ending in .arrow are not written"),
        ("o.jsonl.gz", [FLAT], "files ending in .gz are not written"),
    ]:
        with pytest.raises(ExportError, match=words):
            write(tmp_path / name, *rows)
    assert list(tmp_path.iterdir()) == []


def test_formulas_are_quoted_by_choice(tmp_path: Path) -> None:
    rows = [{"question": "=cmd|' /C calc'!A0", "answer": text} for text in ("+1", "-2", "@x", "'=y", "plain", "\tz")]
    kept, quoted = tmp_path / "kept.csv", tmp_path / "quoted.csv"
    write(kept, *rows)
    write(quoted, *rows, formulas="quote")
    assert [one.response for one in load_file(kept).samples] == [row["answer"] for row in rows]
    found = [one.response for one in load_file(quoted).samples]
    assert found == ["'+1", "'-2", "'@x", "'=y", "plain", "'\tz"]
    assert all(not one.prompt.startswith("=") for one in load_file(quoted).samples)
    assert [unquote_formula(cell) for cell in found[:3]] == ["+1", "-2", "@x"]


def test_names_of_columns_are_quoted_too_and_full_width_signs(tmp_path: Path) -> None:
    row = {"question": "\uff1d1+1", "answer": "a", "=HYPERLINK(1)": "b"}
    write(tmp_path / "quoted.csv", row, formulas="quote")
    assert (tmp_path / "quoted.csv").read_text("utf-8").splitlines() == [
        '"question","answer","\'=HYPERLINK(1)"',
        '"\'\uff1d1+1","a","b"',
    ]


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
@pytest.mark.parametrize("format", ["same", "alpaca"])
def test_an_exported_table_verifies(eight: Scored, tmp_path: Path, name: str, format: ExportFormat) -> None:
    out = tmp_path / name
    manifest = export_selection(eight.workspace, eight.selection_id, out, format=format, formulas="quote")
    assert manifest.output.rows == 3 and all(check.ok for check in verify(manifest_path(out)))
    out.write_bytes(out.read_bytes()[:-20])
    labels = {check.label for check in verify(manifest_path(out)) if not check.ok}
    assert {"Output hash", "Rows are the pool's"} <= labels


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    digests = {write(tmp_path / f"{at}.parquet", FLAT, FLAT).sha256 for at in range(2)}
    assert len(digests) == 1


cells = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"question": cells, "answer": cells}), min_size=1, max_size=4))
def test_any_text_survives_both_tables(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tables")
    for name in ("x.csv", "x.parquet"):
        write(folder / name, *rows)
        found = [one.value for one in read_records(folder / name) if isinstance(one, RawRecord)]
        assert found == rows


def called(name: str, arguments: dict[str, object], **more: object) -> dict[str, object]:
    """A conversation whose answer follows a call."""
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": name},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "r"},
            {"role": "assistant", "content": "a"},
        ],
        **more,
    }


def tool(name: str, **properties: object) -> dict[str, object]:
    return {"name": name, "parameters": {"type": "object", "properties": properties}}


WIND, SUM = called("wind", {"place": "Turku"}), called("sum", {"one": 1, "two": 2})
UNEVEN = {
    "arguments": ([WIND, SUM], ("messages",)),
    "types of arguments": ([called("at", {"hour": 9}), called("at", {"hour": "nine"})], ("messages",)),
    "whole and other numbers": ([called("at", {"hour": 9}), called("at", {"hour": 9.5})], ("messages",)),
    "order of arguments": ([SUM, called("sum", {"two": 2, "one": 1})], ("messages",)),
    "null as an argument": ([called("wind", {"place": None}), WIND], ("messages",)),
    "no arguments": ([called("now", {})] * 2, ("messages",)),
    "arguments called from": ([called("go", {"from": "x", "to": "y"}), called("go", {"from": "x"})], ("messages",)),
    "definitions": ([WIND | {"tools": [tool("wind", place={})]}, WIND | {"tools": [tool("sum", n={})]}], ("tools",)),
    "other objects": ([FLAT | {"meta": {"a": 1}}, FLAT | {"meta": {"b": [1, "x"]}}], ("meta",)),
    "the same keys": ([WIND, called("wind", {"place": "Oulu"})], ()),
    "fields of turns": ([CHAT, TOOL, WIND], ()),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_objects_that_differ_are_json_text_and_come_back(tmp_path: Path, name: str) -> None:
    import datasets

    rows, columns = UNEVEN[name]
    plain, out, folder = tmp_path / "plain.jsonl", tmp_path / "out.parquet", tmp_path / "folder"
    write(plain, *rows)
    assert json_text_columns("parquet", map(json.dumps, rows)) == write(out, *rows).json_columns == columns
    save_to_disk(plain, folder, actor=Actor("me", "admin"))
    for made in (out, folder):
        assert load_file(made).content_hash == load_file(plain).content_hash
        assert [one.raw for one in load_file(made).samples] == [one.raw for one in load_file(out).samples]
    loaded = datasets.load_from_disk(str(folder))
    for column in columns:
        assert list(loaded[column]) == [row.get(column) for row in rows]


@pytest.mark.parametrize("name", UNEVEN)
def test_a_table_of_objects_that_differ_verifies(workspace: Workspace, tmp_path: Path, name: str) -> None:
    rows, columns = UNEVEN[name]
    made = scored(workspace, tmp_path / "pool.jsonl", [json.dumps(row) for row in rows], budget="100%")
    manifest = export_selection(workspace, made.selection_id, tmp_path / "out.parquet")
    assert manifest.output.json_columns == columns and all(
        check.ok for check in verify(manifest_path(tmp_path / "out.parquet"))
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cells, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(["x", "y", "from", "role"]), values, max_size=3)
tools = st.lists(st.builds(tool, st.just("t"), x=objects), max_size=3)
calling = st.builds(called, cells.filter(str.strip), objects, tools=st.none() | tools)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(calling, min_size=1, max_size=4))
def test_any_call_survives_a_table_and_a_folder(
    rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("calls")
    write(place / "plain.jsonl", *rows)
    write(place / "out.parquet", *rows)
    save_to_disk(place / "plain.jsonl", place / "folder", actor=Actor("me", "admin"))
    expected = load_file(place / "plain.jsonl").content_hash
    assert load_file(place / "out.parquet").content_hash == load_file(place / "folder").content_hash == expected
    found = [one.value for one in read_records(place / "out.parquet") if isinstance(one, RawRecord)]
    for one, row in zip(found, rows, strict=True):
        assert isinstance(one, dict) and one.get("tools") == row["tools"]
        turns = [{key: item for key, item in turn.items() if item is not None} for turn in one["messages"]]
        assert turns == [{key: item for key, item in turn.items() if item is not None} for turn in row["messages"]]  # type: ignore[union-attr]


NUMBERS = [
    f'{{"question": "q{at} NaN", "answer": "-Infinity", "grade": {text}}}'
    for at, text in enumerate(("1", "NaN", "-Infinity", "1e999", "2.50"))
]


@pytest.mark.parametrize("format", ["same", "alpaca", "messages"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_numbers_that_json_lacks_become_null_and_are_named(
    workspace: Workspace, tmp_path: Path, name: str, format: ExportFormat
) -> None:
    made = scored(workspace, tmp_path / "pool.jsonl", NUMBERS, budget="100%")
    curated = open_selection(workspace, made.selection_id)
    named = next(check for check in ExportDraft(curated, format).checks() if check.label == "Numbers valid in JSON")
    assert not named.ok and "in 2 rows" in named.detail and "row 2" in named.detail
    export_selection(workspace, made.selection_id, tmp_path / name, format=format)
    assert all(check.ok for check in verify(manifest_path(tmp_path / name)))
    if name == "out.jsonl":
        lines = (tmp_path / name).read_text("utf-8").splitlines()
        records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
        assert [record["grade"] for record in records] == [1, None, None, float("inf"), 2.5]
        if format == "same":
            assert [line for line in lines if "null" not in line] == [NUMBERS[0], *NUMBERS[3:]]
