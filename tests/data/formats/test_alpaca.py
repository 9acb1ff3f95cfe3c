"""Alpaca records: joins, optional fields, problems, rendering."""

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record, render_record
from delift_core.samples import Conversation, Message


def conversation(record):
    return [(m.role, m.content) for m in parse_record("alpaca", record).messages]


@pytest.mark.parametrize("absent", [{}, {"input": None}, {"input": ""}, {"input": " \n"}])
def test_without_an_input_the_prompt_is_the_instruction_alone(absent):
    record = {"instruction": "Say hi.", "output": "hi", **absent}
    assert detect_format(record) == "alpaca"
    assert conversation(record) == [("user", "Say hi."), ("assistant", "hi")]


def test_instruction_and_input_are_joined_by_a_blank_line():
    record = {"instruction": "Sum up. ", "input": " a b\n", "output": " short "}
    assert conversation(record) == [("user", "Sum up. \n\n a b\n"), ("assistant", " short ")]


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_instruction_leaves_the_input_as_prompt(blank):
    assert conversation({"instruction": blank, "input": "2+2?", "output": "4"})[0] == ("user", "2+2?")


def test_system_and_history_come_before_the_prompt():
    record = {"instruction": "c", "input": "", "output": "d", "system": "S", "history": [["a", "b"]]}
    assert conversation(record) == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    assert conversation({**record, "system": "", "history": None}) == [("user", "c"), ("assistant", "d")]


def test_dolly_context_is_the_input():
    record = {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada", "category": "qa"}
    assert detect_format(record) == "alpaca"
    assert conversation(record) == [("user", "Who?\n\nAda wrote it."), ("assistant", "Ada")]


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"output": 5}, "not-text", "output"),
        ({"output": None}, "not-text", "output"),
        ({"output": ["a"]}, "not-text", "output"),
        ({"output": " \n"}, "empty-response", "output"),
        ({"instruction": 3}, "not-text", "instruction"),
        ({"input": {"a": 1}}, "not-text", "input"),
        ({"instruction": "", "input": ""}, "empty-prompt", "instruction"),
        ({"system": 1}, "not-text", "system"),
        ({"history": 7}, "not-text", "history"),
        ({"history": [["a"]]}, "not-text", "history[0]"),
        ({"history": [["a", "b"], ["a", None]]}, "not-text", "history[1][1]"),
    ],
)
def test_problems_name_kind_and_field(change, kind, field):
    with pytest.raises(RecordError) as caught:
        parse_record("alpaca", {"instruction": "q", "input": "", "output": "a", **change})
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert caught.value.remedy.endswith(".") and not caught.value.message.endswith(".")


def test_a_missing_output_is_named():
    with pytest.raises(RecordError) as caught:
        parse_record("alpaca", {"instruction": "q"})
    assert (caught.value.kind, caught.value.field) == ("unknown-format", "output")


def test_render_writes_optional_fields_only_where_needed():
    plain = [Message("user", "q"), Message("assistant", "a")]
    assert render_record("alpaca", Conversation(tuple(plain))) == {"instruction": "q", "input": "", "output": "a"}
    long = [Message("system", "S"), Message("user", "p"), Message("assistant", "b"), *plain]
    expected = {"instruction": "q", "input": "", "output": "a", "system": "S", "history": [["p", "b"]]}
    assert render_record("alpaca", Conversation(tuple(long))) == expected


@pytest.mark.parametrize(
    ("roles", "kind"),
    [
        (["user", "assistant", "tool", "assistant"], "unknown-role"),
        (["user", "assistant", "system", "user", "assistant"], "unknown-role"),
        (["user", "user", "assistant"], "unknown-format"),
        (["assistant", "user", "assistant"], "unknown-format"),
        (["user"], "no-assistant-turn"),
        ([], "no-assistant-turn"),
    ],
)
def test_render_refuses_what_alpaca_cannot_hold(roles, kind):
    with pytest.raises(RecordError) as caught:
        render_record("alpaca", Conversation(tuple(Message(role, "x") for role in roles)))
    assert caught.value.kind == kind
