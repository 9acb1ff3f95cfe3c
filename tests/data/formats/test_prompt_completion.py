"""TRL prompt/completion records: text form, conversational form, and mixtures."""

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record, render_record
from delift_core.samples import Conversation, Message

USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": " a"}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "u", "completion": " a"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": " a"},
        {"prompt": "u", "completion": [ANSWER, USER]},
    ],
)
def test_both_forms_read_the_same(record):
    assert detect_format(record) == "prompt-completion"
    assert parse_record("prompt-completion", record).messages == (Message("user", "u"), Message("assistant", " a"))


def test_the_prompt_may_hold_earlier_turns():
    record = {"prompt": [{"role": "system", "content": "S"}, USER, ANSWER, USER], "completion": [ANSWER]}
    roles = [m.role for m in parse_record("prompt-completion", record).messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("record", "kind", "field"),
    [
        ({"prompt": "u", "completion": ""}, "empty-response", "completion"),
        ({"prompt": "", "completion": "a"}, "empty-prompt", "prompt"),
        ({"prompt": 1, "completion": "a"}, "not-text", "prompt"),
        ({"prompt": "u", "completion": None}, "not-text", "completion"),
        ({"prompt": [USER, ANSWER], "completion": [USER]}, "no-assistant-turn", "completion"),
        ({"prompt": [USER], "completion": [{"role": "assistant", "content": 1}]}, "not-text", "completion[0].content"),
        ({"prompt": "u"}, "unknown-format", "completion"),
    ],
)
def test_problems_name_kind_and_field(record, kind, field):
    with pytest.raises(RecordError) as caught:
        parse_record("prompt-completion", record)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_render_puts_only_the_response_into_the_completion():
    messages = [Message("user", "u"), Message("assistant", "b"), Message("tool", "t"), Message("assistant", "c")]
    record = render_record("prompt-completion", Conversation(tuple(messages)))
    assert [turn["role"] for turn in record["prompt"]] == ["user", "assistant", "tool"]
    assert record["completion"] == [{"role": "assistant", "content": "c"}]
    with pytest.raises(RecordError):
        render_record("prompt-completion", Conversation(tuple(messages[:1])))
