"""The registry: detection order, and what is written is read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.formats import detect_format, parse_record, render_record
from delift_core.samples import ColumnMapping, Conversation, Message

TURNS = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
MAPPING = ColumnMapping("p", "r", "s")

# NUL, U+2028, quotes and emoji included; lone surrogates cannot be written as UTF-8 and are a loader's problem.
text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
filled = text.filter(str.strip)


@st.composite
def dialogues(draw):
    """Perhaps a system text, then questions and answers in turn."""
    system = draw(st.none() | filled)
    pairs = [(draw(text), draw(text)) for _ in range(draw(st.integers(0, 3)))] + [(draw(filled), draw(filled))]
    turns = [Message(role, words) for pair in pairs for role, words in zip(("user", "assistant"), pair, strict=True)]
    return tuple(turns if system is None else [Message("system", system), *turns])


@st.composite
def conversations(draw):
    """Any order of roles that has a user text and ends with an answer."""
    message = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), text)
    return (*draw(st.lists(message, max_size=6)), Message("user", draw(filled)), Message("assistant", draw(filled)))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": TURNS, "prompt": "u", "completion": "a"}, "messages"),
        ({"messages": TURNS, "conversations": TURNS}, "messages"),
        ({"conversations": TURNS, "instruction": "u", "output": "a"}, "sharegpt"),
        ({"messages": None, "conversations": [], "instruction": "u", "output": "a"}, "alpaca"),
        ({"prompt": "u", "completion": "a", "response": "b"}, "prompt-completion"),
        ({"instruction": "u", "input": "x", "output": "a", "question": "q", "answer": "b"}, "alpaca"),
        ({"question": "q", "answer": "a"}, "columns"),
        ({"turns": ["q"]}, None),
        ({"text": "all in one"}, "text"),
        ({"text": 3}, None),
        ({"text": "all in one", "question": "q", "answer": "a"}, "columns"),
        ([{"text": "x"}], None),
        ([], None),
        (None, None),
        ("text", None),
    ],
)
def test_detection_takes_the_first_format_in_the_stated_order(record, expected):
    assert detect_format(record) == expected


def through_json(record):
    return json.loads(json.dumps(record, ensure_ascii=False, allow_nan=False))


@pytest.mark.parametrize("fmt", ["sharegpt", "messages", "prompt-completion"])
@given(conversation=conversations())
def test_chat_formats_hold_every_conversation(fmt, conversation):
    record = through_json(render_record(fmt, Conversation(tuple(conversation))))
    assert detect_format(record) == fmt
    assert parse_record(fmt, record).messages == conversation


@given(conversation=dialogues())
def test_alpaca_holds_dialogues(conversation):
    record = through_json(render_record("alpaca", Conversation(tuple(conversation))))
    assert detect_format(record) == "alpaca"
    assert parse_record("alpaca", record).messages == conversation


@given(system=st.none() | filled, prompt=filled, response=filled)
def test_columns_hold_one_question_and_answer(system, prompt, response):
    turns = (Message("user", prompt), Message("assistant", response))
    conversation = turns if system is None else (Message("system", system), *turns)
    record = through_json({"s": system, "p": prompt, "r": response})
    assert parse_record("columns", record, MAPPING).messages == conversation
