"""Preference records: every form, the stated choice, and never an answer that was not asked for."""

import json

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.loading import ReadOptions, load_bytes, map_preview, read_columns_of_bytes
from delift_core.errors import DataError
from delift_core.samples import Conversation, Message

USER = {"role": "user", "content": "u"}
GOOD, BAD = {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}
FORMS = [
    {"prompt": "u", "chosen": "a", "rejected": "b"},
    {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"prompt": "u", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 1},
    {"instruction": "u", "input": "", "chosen": "a", "rejected": "b"},
    {"question": "u", "chosen": "a", "rejected": "b"},
    {
        "conversations": [{"from": "human", "value": "u"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
]
MARKED = [
    {"prompt": "u", "completion": "a", "label": True},
    {"prompt": [USER], "completion": [GOOD], "label": True},
    {"messages": [USER, GOOD], "kto_tag": True},
    {"instruction": "u", "input": "", "output": "a", "kto_tag": True},
]


@pytest.mark.parametrize("record", FORMS)
def test_either_answer_is_read_when_asked_for(record):
    assert detect_format(record) == "preference"
    assert parse_record("preference-chosen", record).messages == (Message("user", "u"), Message("assistant", "a"))
    assert parse_record("preference-rejected", record).messages == (Message("user", "u"), Message("assistant", "b"))


@pytest.mark.parametrize("record", MARKED)
def test_a_marked_answer_is_read_only_when_its_mark_is_asked_for(record):
    assert detect_format(record) == "preference"
    assert parse_record("preference-chosen", record).messages == (Message("user", "u"), Message("assistant", "a"))
    with pytest.raises(RecordError) as caught:
        parse_record("preference-rejected", record)
    assert caught.value.kind == "other-answer"


def test_system_texts_and_inputs_are_kept():
    record = {"system": "S", "instruction": "u", "input": "x", "chosen": "a", "rejected": "b"}
    texts = [message.content for message in parse_record("preference-chosen", record).messages]
    assert texts == ["S", "u\n\nx", "a"]


@pytest.mark.parametrize("record", [*FORMS, *MARKED])
def test_without_a_choice_nothing_is_read(record):
    with pytest.raises(RecordError) as caught:
        parse_record("preference", record)
    assert caught.value.kind == "no-choice" and "--answer" in caught.value.remedy
    with pytest.raises(DataError, match="--answer chosen"):
        load_bytes(json.dumps(record).encode(), "x.jsonl")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"chosen": "a", "rejected": "b"}, "empty-prompt"),
        ({"prompt": "u", "chosen": "", "rejected": "b"}, "empty-response"),
        ({"prompt": "u", "chosen": 1, "rejected": "b"}, "not-text"),
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, "not-text"),
    ],
)
def test_problems(record, kind):
    with pytest.raises(RecordError) as caught:
        parse_record("preference-chosen", record)
    assert caught.value.kind == kind


def test_a_file_with_marked_and_plain_rows():
    rows = [MARKED[0], MARKED[0] | {"label": False}, {"prompt": "p", "completion": "c"}, FORMS[0], FORMS[1]]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    dataset = load_bytes(data, "x.jsonl", ReadOptions(answer="chosen"))
    assert dataset.format == "preference-chosen"
    assert [sample.line for sample in dataset.samples] == [1, 3, 4, 5]
    assert [(one.line, one.kind) for one in dataset.problems] == [(2, "other-answer")]
    preview = read_columns_of_bytes(data, "x.jsonl")
    assert preview.detected == "preference"
    assert map_preview(preview, ReadOptions(answer="rejected"))[3] == Conversation(
        (Message("user", "u"), Message("assistant", "b"))
    )
