"""Samples: hashes of conversations, and thoughts inside a text."""

from dataclasses import replace

import pytest

from delift_core.samples import (
    Conversation,
    Message,
    ToolCall,
    calls_text,
    hash_conversation,
    inline_thoughts,
    sha256_of,
)

CALL = ToolCall("weather", '{"city": "Oslo"}', "c1")
ASK = Message("user", "Is it raining in Oslo?")
ANSWER = Message("assistant", "Yes.")
PLAIN = Conversation((ASK, ANSWER))


def test_the_hash_of_plain_text_is_of_roles_and_texts_alone() -> None:
    expected = sha256_of('[["user","Is it raining in Oslo?"],["assistant","Yes."]]')
    assert hash_conversation(PLAIN) == expected


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, tools='[{"name": "weather"}]'),
        replace(PLAIN, scored="answer"),
        Conversation((ASK, replace(ANSWER, thoughts="Look outside."))),
        Conversation((ASK, replace(ANSWER, calls=(CALL,)))),
        Conversation((ASK, replace(ANSWER, calls=(replace(CALL, id="c2"),)))),
        Conversation((replace(ASK, name="weather"), ANSWER)),
        Conversation((replace(ASK, call_id="c1"), ANSWER)),
    ],
)
def test_whatever_a_model_reads_changes_the_hash(other: Conversation) -> None:
    assert hash_conversation(other) != hash_conversation(PLAIN)


def test_calls_as_text() -> None:
    assert calls_text((CALL,)) == '{"name": "weather", "arguments": {"city": "Oslo"}}'
    assert calls_text((CALL, ToolCall("say", "not JSON"))) == (
        '[{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "say", "arguments": "not JSON"}]'
    )
    assert Message("assistant", calls_text((CALL,)), calls=(CALL,)).only_calls
    assert not Message("assistant", "I look.", calls=(CALL,)).only_calls


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("<think>\nA bus.\n</think>\n\nYes.", "\nA bus.\n", "Yes."),
        ("A bus.</think>Yes.", "A bus.", "Yes."),
        ("<thinking>A bus.</thinking> Yes.", "A bus.", "Yes."),
        ("<think>A <thinking> bus.</think>Yes.", "A <thinking> bus.", "Yes."),
    ],
)
def test_thoughts_inside_a_text(text: str, thoughts: str, answer: str) -> None:
    found = inline_thoughts(text)
    assert found is not None
    assert (text[found.start : found.end], text[found.answer :]) == (thoughts, answer)


@pytest.mark.parametrize("text", ["Yes.", "", "<think>\n\n</think>\n\nYes.", "<think>never closed", "</think>Yes."])
def test_a_text_without_thoughts(text: str) -> None:
    assert inline_thoughts(text) is None
