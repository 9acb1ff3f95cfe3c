"""From every format to every other: what the target can hold is kept, what it cannot is named before it is written."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.cli import main
from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.formats.base import ROLES
from delift_core.data.loading import ReadOptions, load_bytes
from delift_core.export.conversion import LOSS_DESCRIPTIONS, convert_each, convert_sample, losses
from delift_core.export.writers import render_lines, unwritable
from delift_core.samples import Conversation, ExportFormat, FormatName, Message, Sample, hash_conversation

TARGETS: list[FormatName] = [name for name in get_args(ExportFormat) if name != "same"]
# How other tools spell a turn: none of these words says anything of the conversation.
SPELLING = (
    "type",
    "data",
    "parts",
    "text",
    "human",
    "ai",
    "tool_use",
    "tool_result",
    "thinking",
    "functionCall",
    "args",
)
SPELLING += ("input", "tool_use_id", "label", "true", "false", "messages")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(str.strip)
LEAF = (
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=4
)
EXTRAS = st.dictionaries(st.sampled_from(["id", "topic", "n", "größe", "meta"]), VALUE, max_size=2)
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@st.composite
def openai_turns(draw: st.DrawFn) -> list[dict[str, object]]:
    """Turns with all that OpenAI's format allows: names, weights, reasoning, parts, tool calls and their results."""
    turns: list[dict[str, object]] = []
    if draw(st.booleans()):
        turns.append({"role": draw(st.sampled_from(["system", "developer"])), "content": draw(TEXT)})
    for _ in range(draw(st.integers(1, 3))):
        content = draw(TEXT)
        parts = [{"type": "text", "text": content}] if draw(st.booleans()) else content
        turns.append({"role": "user", "content": parts, **({"name": "Jo"} if draw(st.booleans()) else {})})
        if draw(st.booleans()):
            call: dict[str, object] = {"role": "assistant", "content": None, "tool_calls": CALLS}
            if draw(st.booleans()):
                del call["content"]
            turns += [call, {"role": "tool", "tool_call_id": "c1", "content": draw(TEXT)}]
        spoken = [
            {},
            {"weight": 0},
            {"reasoning_content": "so"},
            {"thinking": "so"},
            {"train": False},
            {"tool_calls": CALLS},
        ]
        more = draw(st.sampled_from(spoken))
        turns.append({"role": "assistant", "content": draw(TEXT), **more})
    if draw(st.booleans()):
        turns.append({"role": "user", "content": draw(TEXT)})
    return turns


def _turn(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


@st.composite
def records(draw: st.DrawFn) -> object:
    """A record in a format or a variant of one, with fields of its own."""
    kind = draw(st.sampled_from(["alpaca", "dolly", "sharegpt", "functions", "pairs", "items", "bare", "messages", "pc",
                                 "pc-turns", "qa", "pair", "text", "strings", "cell", "parts", "langchain", "blocks",
                                 "body", "chat-text", "segments", "thread"]))  # fmt: skip
    extras = draw(EXTRAS)
    question, answer, system = draw(TEXT), draw(TEXT), draw(TEXT)
    flat: dict[str, dict[str, object]] = {
        "alpaca": {"instruction": question, "input": draw(st.sampled_from(["", "more"])), "output": answer},
        "dolly": {"instruction": question, "context": "c", "response": answer},
        "pc": {"prompt": question, "completion": answer},
        "qa": {"question": question, "answer": answer},
        "pair": {"prompt": question, "chosen": answer, "rejected": "no"},
        "text": {"text": f"{question} {answer} end"},
        "pairs": {"conversation": [{"human": question, "assistant": answer}], "system": system},
    }
    if kind == "alpaca" and draw(st.booleans()):
        flat["alpaca"] |= {"system": system, "history": [["q", "a"]]}
    if kind in flat:
        return flat[kind] | extras
    other: dict[str, dict[str, object]] = {
        "strings": {"conversations": [question, answer]},
        "cell": {"messages": json.dumps([_turn("user", question), _turn("assistant", answer)])},
        "parts": {
            "contents": [
                {"role": "user", "parts": [{"text": question}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            ],
            "systemInstruction": {"parts": [{"text": system}]},
        },
        "langchain": {
            "messages": [{"type": "human", "data": {"content": question}}, {"type": "ai", "data": {"content": answer}}]
        },
        "blocks": {
            "messages": [
                _turn("user", question),
                _turn("assistant", [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]),
                _turn("user", [{"type": "tool_result", "tool_use_id": "c", "content": system}]),
                _turn("assistant", [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": answer}]),
            ]
        },
        "body": {"custom_id": "1", "body": {"messages": [_turn("user", question), _turn("assistant", answer)]}},
        "chat-text": {"text": f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"},
        "segments": {"segments": [{"label": False, "text": question}, {"label": True, "text": answer}]},
        "thread": {
            "thread": [
                {"message_id": "a", "parent_id": None, "role": "prompter", "text": question},
                {"message_id": "b", "parent_id": "a", "role": "assistant", "text": answer, "rank": 0},
            ]
        },
    }
    if kind in other:
        return other[kind] | extras
    turns = draw(openai_turns())
    tools = {"tools": TOOLS} if draw(st.booleans()) else {}
    if kind == "messages":
        return {"messages": turns, **tools, **extras}
    if kind == "items":
        return {"items": turns, "system": system, **extras}
    if kind == "pc-turns":
        last = max(at for at, turn in enumerate(turns) if turn["role"] == "assistant")
        return {"prompt": turns[:last], "completion": turns[last : last + 1], **tools, **extras}
    words = {"user": "human", "assistant": "gpt", "tool": "observation"}
    spoken = [{"from": words.get(str(t["role"]), "system"), "value": t["content"]} for t in turns if t.get("content")]
    if kind == "functions":
        spoken.insert(len(spoken) - 1, {"from": "function_call", "value": '{"name": "f", "arguments": {}}'})
        return {"conversations": spoken, "tools": json.dumps(TOOLS), **extras}
    return spoken if kind == "bare" else {"conversations": spoken, **extras}


def load(record: object) -> Sample | None:
    try:
        dataset = load_bytes(json.dumps(record, ensure_ascii=False).encode(), "x.jsonl", ReadOptions(answer="chosen"))
    except RecordError:
        return None
    except Exception as error:  # the loader says what is wrong with a record; that is another test
        assert "x.jsonl" in str(error)
        return None
    return dataset.samples[0] if len(dataset.samples) == 1 else None


def pieces(value: object) -> list[str]:
    """Every text, number and name in a JSON value that says something."""
    if isinstance(value, Mapping):
        return [piece for key, item in value.items() for piece in (str(key), *pieces(item))]
    if isinstance(value, list):
        return [piece for item in value for piece in pieces(item)]
    return [] if value is None or value == "" else [value if isinstance(value, str) else json.dumps(value)]


def held_by(format: FormatName, conversation: Conversation) -> Conversation:
    """What a format can hold of a conversation."""
    if format == "alpaca":
        return Conversation(tuple(Message(one.role, one.content) for one in conversation.messages))
    if format != "sharegpt":
        return conversation
    turns = (
        replace(one, calls=one.calls if one.only_calls else ()) for one in with_respelt_arguments(conversation).messages
    )
    without = (replace(one, calls=tuple(replace(call, id="") for call in one.calls)) for one in turns)
    return replace(conversation, messages=tuple(without))


def with_respelt_arguments(conversation: Conversation) -> Conversation:
    """Arguments of calls as JSON values that are written again."""
    return replace(
        conversation,
        messages=tuple(
            replace(
                one, calls=tuple(replace(call, arguments=json.dumps(json.loads(call.arguments))) for call in one.calls)
            )
            for one in conversation.messages
        ),
    )


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(records(), st.sampled_from(TARGETS))
def test_nothing_is_lost_that_is_not_named(record: object, target: FormatName) -> None:
    sample = load(record)
    if sample is None:
        return
    if unwritable([sample], target):
        assert losses(convert_each([sample], target)) == ()
        return
    found = convert_sample(sample, target)
    assert "\n" not in found.line
    written = json.loads(found.line)
    assert detect_format(written) == target
    held = held_by(target, sample.conversation)
    assert parse_record(target, written) == held
    named = {"thoughts", "calls", "call-ids", "tools"} & set(found.losses)
    assert bool(named) is (with_respelt_arguments(held) != with_respelt_arguments(sample.conversation))
    assert found.content_hash == ("" if held == sample.conversation else hash_conversation(held))
    assert list(render_lines([sample], target)) == [f"{found.line}\n"]
    if isinstance(record, dict):
        for key in ("id", "topic", "n", "größe", "meta"):
            named = "fields" in found.losses or record.get(key) in [message.content for message in sample.messages]
            assert key not in record or written.get(key, named) == record[key] or named
    if found.losses:
        assert {loss.kind for loss in losses(convert_each([sample], target))} == set(found.losses)
        assert all(LOSS_DESCRIPTIONS[kind] for kind in found.losses)
        return
    # Nothing was named: every text of the record is in what was written, whole or as a part of a longer one.
    if isinstance(written.get("tools"), str):
        written["tools"] = json.loads(written["tools"])
    whole = "\n".join((*pieces(written), *(json.dumps(text) for text in pieces(written))))
    spelling = ("from", "value", "role", "content", *ROLES, *SPELLING)
    called = [one.content for one in parse_record(target, written).messages if one.only_calls]  # a text in ShareGPT
    if isinstance(record, dict) and isinstance(record.get("tools"), str):  # ShareGPT has them as text
        record = record | {"tools": json.loads(str(record["tools"]))}
    if isinstance(record, dict) and isinstance(record.get("messages"), str):
        record = record | {"messages": json.loads(str(record["messages"]))}
    if isinstance(record, dict) and str(record.get("text")).startswith("<|im_start|>"):
        record = record | {"text": [message.content for message in sample.messages]}
    for piece in pieces(list(record.values()) if isinstance(record, dict) else record):
        assert piece.strip() in whole or piece in spelling or piece in called, (piece, found)


@settings(max_examples=150, deadline=None)
@given(records(), st.sampled_from(TARGETS), st.sampled_from(TARGETS))
def test_there_and_back_is_the_same_conversation(record: object, target: FormatName, back: FormatName) -> None:
    sample = load(record)
    if sample is None or unwritable([sample], target):
        return
    there = load(json.loads(convert_sample(sample, target).line))
    assert there is not None and there.conversation == held_by(target, sample.conversation)
    if not unwritable([there], back):
        again = load(json.loads(convert_sample(there, back).line))
        assert again is not None and again.conversation == held_by(back, there.conversation)


CHAT = {
    "messages": [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "u"}], "name": "Jo"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "content": "r", "tool_call_id": "c1"},
        {"role": "assistant", "content": "a", "reasoning_content": "so", "weight": 1},
        {"role": "user", "content": "later"},
    ],
    "tools": TOOLS,
    "id": "r1",
    "n": 12345678901234567890.5,
}


@pytest.mark.parametrize(
    ("target", "kept", "lost"),
    [
        ("messages", ["developer", "Jo", "tool_calls", "reasoning_content", "tools", "r1", '"parts"'], {"later-turns"}),
        ("prompt-completion", ["developer", "Jo", "tool_calls", "reasoning_content", "tools", "r1"], {"later-turns"}),
        ("sharegpt", ["Jo", "function_call", "reasoning_content", "tools", "r1"], {"later-turns", "call-ids", "parts"}),
    ],
)
def test_what_a_target_holds(target: FormatName, kept: list[str], lost: set[str]) -> None:
    sample = load_bytes(json.dumps(CHAT).encode(), "x.jsonl").samples[0]
    found = convert_sample(sample, target)
    assert set(found.losses) == lost
    assert all(word in found.line for word in kept if word != '"parts"')
    assert '"n": 1.2345678901234567e+19' in found.line


def test_a_row_that_was_stored_as_text_is_written_as_before() -> None:
    sample = load_bytes(json.dumps(CHAT).encode(), "x.jsonl", ReadOptions(text_only=True)).samples[0]
    assert sample.messages[2].content == json.dumps(CALLS)
    written = json.loads(convert_sample(sample, "messages").line)
    assert written["messages"][2]["tool_calls"] == CALLS and written["tools"] == TOOLS
    assert parse_record("messages", written, text_only=True) == sample.conversation


def test_numbers_of_other_fields_stay_digit_for_digit_and_trainers_names_are_left_out() -> None:
    raw = '{"question": "q", "answer": "a", "n": 1.50, "big": 123456789012345678901234567890, "label": 3, "text": "t"}'
    found = convert_sample(load_bytes(raw.encode(), "x.jsonl").samples[0], "prompt-completion")
    assert found.line.endswith('"n": 1.50, "big": 123456789012345678901234567890}')
    assert "label" not in found.line and set(found.losses) == {"fields"}
    odd = '{"question": "q", "answer": "a", "n": NaN}'
    found = convert_sample(load_bytes(odd.encode(), "x.jsonl").samples[0], "messages")
    assert found.line.endswith('"n": null}') and found.losses == ()
    calls = '[{"function": {"name": "f", "arguments": {"n": 4.0}}}]'
    turns = f'{{"role": "user", "content": "u"}}, {{"role": "assistant", "content": null, "tool_calls": {calls}}}'
    raw = f'{{"messages": [{turns}, {{"role": "tool", "content": "r"}}, {{"role": "assistant", "content": "a"}}]}}'
    for text in (raw, raw.replace("4.0", "4"), raw.replace("4.0", "9" * 30)):
        assert convert_sample(load_bytes(text.encode(), "x.jsonl").samples[0], "messages").losses == ()


def test_the_command_says_what_is_lost_before_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(f"{json.dumps({'instruction': 'q', 'input': 'i', 'output': 'a'})}\n{json.dumps(CHAT)}\n")
    assert main(["convert", str(source), "--format", "messages", "--out", str(tmp_path / "o.jsonl"), "--json"]) == 0
    said = capsys.readouterr()
    assert "in 1 rows further columns of the prompt (input, context…) are joined to it; the first is row 1" in said.err
    assert {"kind": "later-turns", "rows": 1, "first_line": 2} in json.loads(said.out)["losses"]
