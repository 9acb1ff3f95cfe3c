"""The health report: each class finds its rows and leaves ordinary ones alone; leaving out loses nothing."""

import json

import pytest

from delift_core.data.loading import load_bytes
from delift_core.data.quality.checks import ISSUE_CLASSES, IssueKind, find_issues
from delift_core.data.quality.cleaning import leave_out

FINE = {"instruction": "Name a colour.", "output": "Blue, as in {x} or [1] or 3.14159265358979."}


def found(*records: object) -> dict[str, tuple[int, ...]]:
    data = load_bytes("\n".join(json.dumps(record) for record in records).encode(), "x.jsonl")
    assert not data.problems
    return {one.kind: one.positions for one in find_issues(data.samples, max_characters=400).findings}


def answer(text: str) -> dict[str, object]:
    return FINE | {"instruction": f"Tell me of {len(text)}", "output": text}


def chat(*roles: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} {at}"} for at, role in enumerate(roles)], **more}


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("template-residue", answer("Dear {{ name }}, hello")),
        ("template-residue", answer("<|im_start|>assistant")),
        ("template-residue", answer("Regards,\n[Your Name]")),
        ("template-residue", answer("### Response: yes")),
        ("refusal", answer("I'm sorry, but I can't do that.")),
        ("refusal", answer("As an AI language model, I have no body.")),
        ("personal-data", answer("Write to jo.doe+x@example.co.uk today")),
        ("personal-data", answer("Call +44 20 7946 0958 now")),
        ("personal-data", answer("Card 4111 1111 1111 1111 expires")),
        ("encoding-damage", answer("It\u00e2\u20ac\u2122s caf\u00c3\u00a9")),
        ("encoding-damage", answer("nul \x00 here")),
        ("encoding-damage", answer("lost \ufffd here")),
        ("echo", {"instruction": "Repeat this whole sentence.", "output": "repeat this whole  sentence."}),
        ("too-long", answer("word " * 100)),
        ("odd-turns", chat("user", "user", "assistant")),
        ("odd-turns", chat("user", "system", "assistant")),
        ("trailing-turns", chat("user", "assistant", "user")),
        ("tools", chat("user", "assistant", tools=[{"type": "function"}])),
        ("tools", chat("user", "tool", "assistant")),
        ("thoughts", {**FINE, "reasoning_content": "Let me see."}),
        ("thoughts", answer("<think>Let me see.</think>Yes.")),
        ("unread-thoughts", {**FINE, "rationale": "Let me see."}),
    ],
)
def test_each_class_finds_its_row_and_no_other(kind: IssueKind, record: object) -> None:
    assert found(FINE, record, chat("system", "user", "assistant", system="beside")) == {kind: (1,)}


def test_thoughts_and_calls_are_searched_as_well() -> None:
    mail = "Write to jo.doe+x@example.co.uk today"
    call = {"function": {"name": "send", "arguments": {"to": "jo.doe+x@example.co.uk"}}}
    asked = {"role": "user", "content": "Whom to ask?"}
    thought = {"role": "assistant", "content": "Jo.", "reasoning_content": mail}
    called = {"role": "assistant", "content": "I write.", "tool_calls": [call]}
    assert found({"messages": [asked, thought]}) == {"personal-data": (0,), "thoughts": (0,)}
    assert found({"messages": [asked, called]}) == {"personal-data": (0,), "tools": (0,)}
    assert found({"messages": [asked, {**thought, "reasoning_content": "x" * 400}]}) == {
        "too-long": (0,),
        "thoughts": (0,),
    }


@pytest.mark.parametrize(
    "text",
    ["I can help with that.", "Order 1234-5678-9012 of 2024-01-01 10:00", "café naïve Ünter Âme", "f'{name}' {{}}"],
)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    assert found(answer(text)) == {}


def test_what_only_a_whole_set_shows() -> None:
    rows = [
        {"id": 1, "instruction": "q", "output": "a"},
        {"id": 2, "instruction": "q", "output": "b"},
        {"id": "1", "instruction": "r", "output": "b"},
        {"id": 2, "instruction": "s", "output": "b"},
        {"instruction": "s", "output": "b"},
    ]
    assert found(*rows) == {"repeated-prompt": (0, 1), "repeated-id": (1, 3)}


def test_formats_are_counted_row_by_row() -> None:
    rows = [FINE, FINE, chat("user", "assistant"), {"question": "q", "answer": "a"}]
    data = load_bytes("\n".join(json.dumps(row) for row in rows).encode(), "x.jsonl")
    counts = [(one.format, one.rows) for one in find_issues(data.samples).formats]
    assert counts == [("alpaca", 2), ("messages", 1), ("columns", 1)]
    assert find_issues(()).findings == () == find_issues(()).formats


def test_rows_that_are_left_out_are_listed() -> None:
    data = load_bytes("\n".join(json.dumps(answer("x" * size)) for size in (1, 2, 3)).encode(), "x.jsonl")
    less = leave_out(data, [1], "answer is a refusal")
    assert [one.id for one in less.samples] == [data.samples[0].id, data.samples[2].id]
    assert [(one.kind, one.line, one.message) for one in less.problems] == [
        ("left-out-by-choice", 2, "answer is a refusal")
    ]
    assert less.content_hash != data.content_hash and len(data) == 3


def test_every_class_has_a_title_and_a_remedy() -> None:
    assert all(words.title and words.remedy.endswith(".") for words in ISSUE_CLASSES.values())
