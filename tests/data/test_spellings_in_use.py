"""Every spelling that loading reads is read by conversion, the check table, text edits and remedies too."""

import json
from typing import Any

import pytest

from delift_core.data.loading import ReadOptions, load_bytes
from delift_core.data.loading.record_reader import edit_texts, reader_of, record_texts
from delift_core.data.quality.checks import find_issues
from delift_core.data.quality.cleaning import fix_records
from delift_core.export.conversion import convert_sample
from delift_core.export.trainers import check_table
from delift_core.export.writers import render_lines

U, A, B = "What is brass?", "Copper and zinc.", "And bronze?"


def turn(role: str, text: object) -> dict[str, object]:
    return {"role": role, "content": text}


def part(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"text": text}]}


def human(text: str) -> dict[str, object]:
    return {"type": "human", "data": {"content": text}}


TURNS = [turn("user", U), turn("assistant", A), turn("user", B)]
# Each with a question behind the last answer.
SPELT: dict[str, Any] = {
    "strings": {"conversations": [U, A, B]},
    "dialog": {"dialog": TURNS},
    "parts": {"contents": [part("user", U), part("model", A), part("user", B)]},
    "LangChain": {"messages": [human(U), {"type": "ai", "data": {"content": A}}, human(B)]},
    "body": {"body": {"messages": TURNS}},
    "JSON text": {"messages": json.dumps(TURNS)},
    "any key": {"log": TURNS},
}
READ_BY_TRAINERS = {"dialog", "any key"}
WHOLE_TEXTS: dict[str, Any] = {
    "JSON text": SPELT["JSON text"],
    "Python text": {"conversation": repr(TURNS)},
    "ChatML": {"text": f"<|im_start|>user\n{U}<|im_end|>\n<|im_start|>assistant\n{A}<|im_end|>\n"},
    "chat": {"chat": f"USER: {U} ASSISTANT: {A}"},
}


def one(record: object) -> Any:
    return load_bytes(json.dumps(record).encode(), "x.jsonl", ReadOptions(answer="chosen"))


@pytest.mark.parametrize("name", [*SPELT, *WHOLE_TEXTS])
def test_it_is_converted_and_comes_out_as_it_went_in(name: str) -> None:
    record = (SPELT | WHOLE_TEXTS)[name]
    sample = one(record).samples[0]
    assert list(render_lines([sample], "same")) == [json.dumps(record) + "\n"]
    found = convert_sample(sample, "messages")
    assert json.loads(found.line) == {"messages": TURNS[:2]}
    assert set(found.losses) <= {"later-turns"}
    assert json.loads(convert_sample(sample, "sharegpt").line)["conversations"][1] == {"from": "gpt", "value": A}


@pytest.mark.parametrize("name", SPELT)
def test_turns_behind_the_answer_are_found_and_taken_out(name: str) -> None:
    dataset = one(SPELT[name])
    assert "trailing-turns" in {finding.kind for finding in find_issues(dataset.samples).findings}
    mended = fix_records(dataset, "trailing-turns")
    assert mended.changed == 1
    assert "trailing-turns" not in {finding.kind for finding in find_issues(mended.dataset.samples).findings}
    assert mended.dataset.samples[0].messages == dataset.samples[0].messages


def test_turns_out_of_order_are_put_in_order_in_a_cell_too() -> None:
    turns = [turn("user", "a"), turn("user", "b"), turn("assistant", "c")]
    for record in ({"messages": json.dumps(turns)}, {"dialog": turns}, {"body": {"messages": turns}}):
        mended = fix_records(one(record), "odd-turns").dataset.samples[0]
        assert [message.content for message in mended.messages] == ["a\n\nb", "c"]


@pytest.mark.parametrize("name", SPELT)
def test_a_trainer_is_said_to_read_a_spelling_only_where_it_does(name: str) -> None:
    for check in check_table([SPELT[name]] * 2, limit=100):
        assert check.note.startswith("read as" if name in READ_BY_TRAINERS else "it cannot read"), check


@pytest.mark.parametrize("name", SPELT)
def test_the_text_of_an_answer_is_edited_in_its_record(name: str) -> None:
    dataset = one(SPELT[name])
    sample, reading = dataset.samples[0], reader_of(dataset)
    texts = {text.path: text.text.replace(A, "Tin.") for text in record_texts(sample)}
    assert any("Tin." in text for text in texts.values())
    after = edit_texts(sample, texts, reading)
    assert (after.response, after.prompt) == ("Tin.", U)
    assert after.raw == sample.raw.replace(A, "Tin.")


@pytest.mark.parametrize("name", WHOLE_TEXTS)
def test_a_conversation_in_one_text_is_edited_as_that_text(name: str) -> None:
    dataset = one(WHOLE_TEXTS[name])
    sample = dataset.samples[0]
    [text] = record_texts(sample)
    assert edit_texts(sample, {text.path: text.text.replace(A, "Tin.")}, reader_of(dataset)).response == "Tin."


def test_a_call_stays_a_call_where_the_format_has_them_and_becomes_its_text_where_it_has_not() -> None:
    call = {"type": "tool_use", "id": "t", "name": "melt", "input": {"metal": "tin"}}
    sample = one({"messages": [turn("user", U), turn("assistant", [call])]}).samples[0]
    written = json.loads(convert_sample(sample, "messages").line)["messages"][1]
    assert written["tool_calls"][0]["function"] == {"name": "melt", "arguments": '{"metal": "tin"}'}
    written = json.loads(convert_sample(sample, "sharegpt").line)["conversations"][1]
    assert written == {"from": "function_call", "value": sample.response}
    assert json.loads(sample.response) == {"name": "melt", "arguments": {"metal": "tin"}}


@pytest.mark.parametrize("answer", ["chosen", "rejected"])
def test_either_side_of_a_preference_in_texts(answer: Any) -> None:
    sides = {"chosen": f"\n\nHuman: {U}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {U}\n\nAssistant: Gold."}
    listed = {
        side: repr([turn("user", U), turn("assistant", text)]) for side, text in (("chosen", A), ("rejected", "Gold."))
    }
    for record in (sides, listed, listed | {"prompt": U}):
        sample = load_bytes(json.dumps(record).encode(), "x.jsonl", ReadOptions(answer=answer)).samples[0]
        assert [message.content for message in sample.messages] == [U, A if answer == "chosen" else "Gold."]
