"""Parquet and CSV: what was written reads back, what a table cannot hold is refused, formulas are quoted by choice."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.errors import ExportError
from delift_core.export.containers import unquoted, write_rows
from delift_core.export.export import export_selection
from delift_core.export.verify import verify
from delift_core.export.writers import ExportFormat, manifest_path
from delift_core.sources import load_file
from tests.export.scored import Scored

CHAT = {"messages": [{"role": "user", "content": "u\u2028"}, {"role": "assistant", "content": "a"}]}
TOOL = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "name": "x"}], "n": None}
FLAT = {"instruction": "NA", "input": None, "output": 'None\r\n"é"', "n": 2**60}


def write(path: Path, *records: object, **options: str) -> tuple[str, int]:
    return write_rows(path, [json.dumps(record) + "\n" for record in records], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_read_back_as_the_same_conversations(tmp_path: Path, suffix: str) -> None:
    plain, out = tmp_path / "plain.jsonl", tmp_path / f"out{suffix}"
    for rows in ([FLAT, FLAT | {"n": 1, "system": "s"}], [CHAT, TOOL, CHAT]):
        if suffix == ".csv" and rows[0] is CHAT:
            continue
        write(plain, *rows)
        assert write(out, *rows)[1] == len(rows)
        assert load_file(out).content_hash == load_file(plain).content_hash


def test_what_a_table_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for name, rows, words in [
        ("o.csv", [FLAT, CHAT], "row 2, field 'messages' is a list"),
        ("o.parquet", [FLAT, FLAT | {"n": "text"}], "'n' cannot be a Parquet column"),
        ("o.parquet", [FLAT | {"n": 2**70}], "'n' cannot be a Parquet column"),
        ("o.parquet", [[{"from": "human", "value": "u"}]], "row 1 is a list"),
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
    assert [unquoted(cell) for cell in found[:3]] == ["+1", "-2", "@x"]


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
    digests = {write(tmp_path / f"{at}.parquet", FLAT, FLAT)[0] for at in range(2)}
    assert len(digests) == 1


cells = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"question": cells, "answer": cells}), min_size=1, max_size=4))
def test_any_text_survives_both_tables(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    from delift_core.sources import RawRecord, read_records

    folder = tmp_path_factory.mktemp("tables")
    for name in ("x.csv", "x.parquet"):
        write(folder / name, *rows)
        found = [one.value for one in read_records(folder / name) if isinstance(one, RawRecord)]
        assert found == rows
