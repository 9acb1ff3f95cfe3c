"""Column pairs: known names, mappings by hand, problems."""

import pytest

from delift_core.data.formats import (
    RecordError,
    detect_columns,
    detect_format,
    parse_record,
    render_record,
)
from delift_core.samples import ColumnMapping, Conversation, Message


@pytest.mark.parametrize(
    ("names", "mapping"),
    [
        (["question", "answer"], ColumnMapping("question", "answer")),
        (["query", "response", "type"], ColumnMapping("query", "response")),
        (["prompt", "response"], ColumnMapping("prompt", "response")),
        (["instruction", "response"], ColumnMapping("instruction", "response")),
        (["system_prompt", "question", "response"], ColumnMapping("question", "response", "system_prompt")),
        (["prompt", "generation"], ColumnMapping("prompt", "generation")),
        (["INSTRUCTION", "RESPONSE"], ColumnMapping("INSTRUCTION", "RESPONSE")),
        (["id", "input", "output"], ColumnMapping("input", "output")),
    ],
)
def test_known_pairs(names, mapping):
    record = dict.fromkeys(names, "x")
    assert detect_format(record) == "columns"
    assert detect_columns(record) == mapping
    assert parse_record("columns", record).messages[-2:] == (Message("user", "x"), Message("assistant", "x"))


def test_a_mapping_by_hand_reads_any_columns():
    record = {"frage": "u", "antwort": "a", "rolle": "S"}
    assert detect_format(record) is None
    mapping = ColumnMapping("frage", "antwort", "rolle")
    expected = (Message("system", "S"), Message("user", "u"), Message("assistant", "a"))
    assert parse_record("columns", record, mapping).messages == expected
    assert parse_record("columns", {**record, "rolle": None}, mapping).messages == expected[1:]


@pytest.mark.parametrize(
    ("record", "kind", "field"),
    [
        ({"q": "u", "a": 7}, "not-text", "a"),
        ({"q": None, "a": "x"}, "not-text", "q"),
        ({"q": " ", "a": "x"}, "empty-prompt", "q"),
        ({"q": "u", "a": ""}, "empty-response", "a"),
        ({"q": "u"}, "unknown-format", "a"),
        ([1], "not-an-object", ""),
    ],
)
def test_problems_name_kind_and_field(record, kind, field):
    with pytest.raises(RecordError) as caught:
        parse_record("columns", record, ColumnMapping("q", "a"))
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_without_a_mapping_or_a_known_pair_the_fields_are_listed():
    with pytest.raises(RecordError, match="text, id"):
        parse_record("columns", {"text": "x", "id": 1})


def test_columns_are_not_written():
    with pytest.raises(RecordError):
        render_record("columns", Conversation((Message("user", "u"), Message("assistant", "a"))))
