"""Turns that are marked as not to be trained are context: what is scored, what is a row, what cannot be used."""

import json

import pytest

from delift_core.data.loading import ReadOptions, load_bytes
from delift_core.data.quality.fixes import drop_trailing_turns, reorder_turns
from delift_core.errors import DataError
from delift_core.samples import Message

OFF = [
    {"weight": 0},
    {"weight": 0.0},
    {"weight": "0"},
    {"train": False},
    {"train": "false"},
    {"training": 0},
    {"trainable": "no"},
    {"loss": False},
    {"loss_weight": 0},
    {"loss_mask": 0},
    {"train_on_turn": False},
    {"trainOnTurn": "False"},
    {"mask": True},
    {"mask": 1},
    {"masked": "True"},
    {"ignore_loss": True},
    {"train_detail": [{"begin_offset": 0, "end_offset": 9, "train": False}]},
]
ON = [
    {},
    {"weight": 1},
    {"weight": 0.5},
    {"weight": None},
    {"weight": float("nan")},
    {"train": "true"},
    {"mask": False},
    {"mask": "User"},
    {"loss": 2.5},
    {"train_detail": [{"begin_offset": 0, "end_offset": 3, "train": True}, {"train": False}]},
]


def talk(marks: list[dict[str, object]], spelling: str = "messages") -> dict[str, object]:
    """Questions q0, q1… and answers a0, a1… with marks of their own."""
    role, text, words = (
        ("from", "value", ("human", "gpt")) if spelling != "messages" else ("role", "content", ("user", "assistant"))
    )
    found: list[dict[str, object]] = []
    for at, mark in enumerate(marks):
        found += [{role: words[0], text: f"q{at}"}, {role: words[1], text: f"a{at}", **mark}]
    return {spelling: found}


def read(record: object, **more: object) -> list[str]:
    return [one.response for one in load_bytes(json.dumps(record).encode(), "x.jsonl", ReadOptions(**more)).samples]  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", ["messages", "conversations"])
@pytest.mark.parametrize("mark", OFF)
def test_the_last_turn_to_be_trained_is_the_response(mark: dict[str, object], spelling: str) -> None:
    assert read(talk([{}, {}, mark], spelling)) == ["a1"]
    assert read(talk([{}, mark, {}, mark], spelling), turns="every") == ["a0", "a2"]
    (sample,) = load_bytes(json.dumps(talk([mark, {}], spelling)).encode(), "x.jsonl").samples
    assert sample.messages[1] == Message("assistant", "a0")  # context, and in the conversation
    with pytest.raises(DataError, match="marked as not to be trained"):
        read(talk([mark, mark], spelling))


@pytest.mark.parametrize("mark", ON)
def test_other_values_leave_a_turn_as_it_is(mark: dict[str, object]) -> None:
    assert read(talk([{}, mark])) == ["a1"]


def test_a_mark_changes_no_id() -> None:
    plain = load_bytes(json.dumps(talk([{}, {}])).encode(), "x.jsonl").samples[0]
    marked = load_bytes(json.dumps(talk([{"train": False}, {"train": True}])).encode(), "x.jsonl").samples[0]
    assert (plain.id, plain.content_hash, plain.messages) == (marked.id, marked.content_hash, marked.messages)


def test_a_record_without_a_turn_to_train_is_named_and_the_others_load() -> None:
    data = "\n".join(json.dumps(talk(marks)) for marks in ([{}], [{"weight": 0}])).encode()
    dataset = load_bytes(data, "x.jsonl")
    assert len(dataset) == 1
    assert [(one.kind, one.line) for one in dataset.problems] == [("not-trained", 2)]


def test_other_forms() -> None:
    prompt = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "earlier"},
        {"role": "user", "content": "r"},
    ]
    answer = {"role": "assistant", "content": "a"}
    assert read({"prompt": prompt, "completion": [answer]}) == ["a"]
    with pytest.raises(DataError, match="not to be trained"):
        read({"prompt": prompt, "completion": [answer | {"weight": 0}]})
    assert read(
        {"conversation": [{"human": "q", "assistant": "a"}, {"human": "r", "assistant": "b", "weight": 0}]}
    ) == ["a"]
    assert read(
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b", "mask": True}]
    ) == ["a"]


def test_remedies_know_the_marks() -> None:
    record = talk([{}, {"train": False}])
    assert json.loads(drop_trailing_turns(json.dumps(record))) == talk([{}])
    both = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "b", "weight": 0},
        ]
    }
    assert reorder_turns(json.dumps(both)) == json.dumps(both)
