"""OpenAI chat records: text parts, null content, tool calls, roles."""

import json

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record, render_record
from delift_core.samples import Conversation, Message

USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":"é"}'}}]


def conversation(turns, **fields):
    record = {"messages": turns, **fields}
    assert detect_format(record) == "messages"
    return [(m.role, m.content) for m in parse_record("messages", record).messages]


def test_plain_and_developer_roles():
    turns = [{"role": "developer", "content": "D"}, {**USER, "name": "Ann"}, {**ANSWER, "weight": 1}]
    assert conversation(turns) == [("system", "D"), ("user", "u"), ("assistant", "a")]


def test_text_parts_are_joined_as_they_are():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert conversation([{"role": "user", "content": parts}, ANSWER])[0] == ("user", "one two")


def test_a_tool_call_before_the_answer_becomes_text():
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "content": "ok"},
        ANSWER,
    ]
    found = conversation(turns)
    assert [role for role, _ in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1][1] == '{"name": "f", "arguments": {"x": "é"}}'
    before = parse_record("messages", {"messages": turns}, text_only=True).messages
    assert json.loads(before[1].content) == CALLS


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}])
def test_a_last_turn_of_tool_calls_only_is_read(content):
    found = conversation([USER, {"role": "assistant", "tool_calls": CALLS, **content}])
    assert found[-1] == ("assistant", '{"name": "f", "arguments": {"x": "é"}}')


def test_tool_calls_beside_text_keep_the_text():
    assert conversation([USER, {**ANSWER, "tool_calls": CALLS}])[-1] == ("assistant", "a")


@pytest.mark.parametrize(
    ("turns", "kind", "field"),
    [
        ([USER, {"role": "assistant", "content": None}], "not-text", "messages[1].content"),
        ([USER, {"role": "assistant"}], "not-text", "messages[1].content"),
        ([USER, {"role": "assistant", "content": {"a": 1}}], "not-text", "messages[1].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}, ANSWER], "not-text", "messages[0].content[0]"),
        ([{"role": "user", "content": ["hi"]}, ANSWER], "not-text", "messages[0].content[0]"),
        ([{"role": "critic", "content": "x"}, ANSWER], "unknown-role", "messages[0].role"),
        ([{"role": "system", "content": "x"}, ANSWER], "empty-prompt", "messages"),
        ([USER], "no-assistant-turn", "messages"),
    ],
)
def test_problems_name_kind_and_field(turns, kind, field):
    with pytest.raises(RecordError) as caught:
        conversation(turns)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_render():
    messages = [Message("user", "u"), Message("assistant", "a")]
    assert render_record("messages", Conversation(tuple(messages))) == {"messages": [USER, ANSWER]}
