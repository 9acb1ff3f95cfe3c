"""ShareGPT records: the spellings met in the wild, role words, the scored turn, problems."""

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record, render_record
from delift_core.samples import Conversation, Message

TURNS = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]


def conversation(record):
    return [(m.role, m.content) for m in parse_record("sharegpt", record).messages]


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": TURNS},
        {"conversation": TURNS},
        {"items": TURNS},
        {"messages": TURNS},
        TURNS,
        {"id": 3, "conversations": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "content": "u"}, {"role": "assistant", "value": "a"}]},
        {"conversation": [{"human": "u", "assistant": "a"}]},
        {"conversation": [{"user": "u", "assistant": "a"}], "system": ""},
        {"conversations": [{"from": "human", "value": "u", "role": None}, {"from": "gpt", "value": "a", "weight": 1}]},
        {"conversations": None, "items": TURNS},
    ],
)
def test_every_spelling_reads_the_same(record):
    assert detect_format(record) == "sharegpt"
    assert conversation(record) == [("user", "u"), ("assistant", "a")]


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("human", "user"),
        ("User", "user"),
        ("gpt", "assistant"),
        ("assistant", "assistant"),
        ("chatgpt", "assistant"),
        ("bard", "assistant"),
        ("function_call", "assistant"),
        ("system", "system"),
        ("tool", "tool"),
        ("observation", "tool"),
        ("function", "tool"),
    ],
)
def test_role_words(word, role):
    record = {"conversations": [TURNS[0], {"from": word, "value": "x"}, {"from": "gpt", "value": "a"}]}
    assert conversation(record)[1] == (role, "x")


def test_record_level_system_comes_first_unless_a_system_turn_does():
    assert conversation({"conversations": TURNS, "system": "S"})[0] == ("system", "S")
    turns = [{"from": "system", "value": "T"}, *TURNS]
    assert conversation({"conversations": turns, "system": "S"}) == [
        ("system", "T"),
        ("user", "u"),
        ("assistant", "a"),
    ]


def test_what_follows_the_last_assistant_turn_is_cut():
    later = [*TURNS, {"from": "human", "value": "u2"}, {"from": "gpt", "value": "a2"}, {"from": "human", "value": "u3"}]
    assert [text for _, text in conversation({"conversations": later})] == ["u", "a", "u2", "a2"]


@pytest.mark.parametrize(
    ("turns", "kind", "field"),
    [
        ([], "no-assistant-turn", "conversations"),
        ([TURNS[0]], "no-assistant-turn", "conversations"),
        ([TURNS[1]], "empty-prompt", "conversations"),
        ([{"from": "human", "value": " "}, TURNS[1]], "empty-prompt", "conversations"),
        ([TURNS[0], {"from": "gpt", "value": "\n"}], "empty-response", "conversations"),
        ([*TURNS, TURNS[0], {"from": "gpt", "value": ""}], "empty-response", "conversations"),
        ([TURNS[0], {"from": "alien", "value": "x"}], "unknown-role", "conversations[1].from"),
        ([TURNS[0], {"value": "x"}], "unknown-role", "conversations[1]"),
        ([TURNS[0], {"from": 1, "value": "x"}], "not-text", "conversations[1].from"),
        ([TURNS[0], {"from": "gpt", "value": 5}], "not-text", "conversations[1].value"),
        ([TURNS[0], {"from": "gpt"}], "not-text", "conversations[1].value"),
        ([TURNS[0], "a"], "not-text", "conversations[1]"),
        ([{"human": "u", "assistant": None}], "not-text", "conversations[0].assistant"),
        ("text", "not-text", "conversations"),
    ],
)
def test_problems_name_kind_and_field(turns, kind, field):
    with pytest.raises(RecordError) as caught:
        parse_record("sharegpt", {"conversations": turns})
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_a_record_without_turns_and_one_that_is_a_number():
    with pytest.raises(RecordError) as missing:
        parse_record("sharegpt", {"text": "x"})
    assert (missing.value.kind, missing.value.field) == ("unknown-format", "conversations")
    with pytest.raises(RecordError) as number:
        parse_record("sharegpt", 3)
    assert number.value.kind == "not-an-object"


def test_render_uses_the_role_words_of_trainers():
    messages = [Message("system", "S"), Message("user", "u"), Message("tool", "t"), Message("assistant", "a")]
    words = [turn["from"] for turn in render_record("sharegpt", Conversation(tuple(messages)))["conversations"]]
    assert words == ["system", "human", "observation", "gpt"]
