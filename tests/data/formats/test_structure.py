"""Thoughts, tool calls, call ids and tools: one conversation from every spelling, one line for what is broken."""

import json
from typing import Any

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.samples import Conversation, Message, ToolCall, calls_text

ASK = {"role": "user", "content": "Is it raining in Oslo?"}
ARGUMENTS = {"city": "Oslo"}
TEXT = json.dumps(ARGUMENTS)
RESULT = {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"}
ANSWER = {"role": "assistant", "content": "Yes."}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Wetter – é", "parameters": {}}}]
CALL = ToolCall("weather", TEXT, "c1")
USER, YES = Message("user", "Is it raining in Oslo?"), Message("assistant", "Yes.")


def read(record: Any) -> Conversation:
    found = detect_format(record)
    assert found is not None, record
    return parse_record(found, record)


def messages(*turns: object, **fields: object) -> Conversation:
    return read({"messages": list(turns), **fields})


SPELLINGS: dict[str, list[object]] = {
    "OpenAI, arguments as text": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": TEXT}}],
        }
    ],
    "arguments as an object": [
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}],
        }
    ],
    "the list as text": [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": json.dumps([{"id": "c1", "function": {"name": "weather", "arguments": ARGUMENTS}}]),
        }
    ],
    "flat call": [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "weather", "arguments": ARGUMENTS}]}
    ],
    "nulls of a table": [
        {
            "role": "assistant",
            "content": float("nan"),
            "reasoning_content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": TEXT, "strict": None}}, None],
        }
    ],
    "Anthropic": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": ARGUMENTS}]}
    ],
    "Responses": [{"type": "function_call", "name": "weather", "arguments": TEXT, "call_id": "c1"}],
    "LangChain": [{"type": "ai", "content": "", "tool_calls": [{"name": "weather", "args": ARGUMENTS, "id": "c1"}]}],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_calls_of_every_spelling(name: str) -> None:
    called = Message("assistant", calls_text((CALL,)), calls=(CALL,))
    result = Message("tool", "rain", call_id="c1", name="weather")
    assert messages(ASK, *SPELLINGS[name]).messages == (USER, called)
    assert messages(ASK, *SPELLINGS[name], RESULT, ANSWER).messages == (USER, called, result, YES)


def test_calls_of_turns_whose_role_says_so() -> None:
    def sharegpt(word: str, value: object) -> Message:
        turns = [{"from": "human", "value": "q"}, {"from": word, "value": json.dumps(value)}]
        return read({"conversations": turns}).messages[-1]

    plain = ToolCall("weather", TEXT)
    for word in ("function_call", "tool_call"):
        assert sharegpt(word, {"name": "weather", "arguments": ARGUMENTS}).calls == (plain,)
        assert sharegpt(word, {"name": "weather", "arguments": TEXT}).calls == (plain,)
        assert sharegpt(word, [{"name": "weather", "arguments": ARGUMENTS}] * 2).calls == (plain, plain)
        assert sharegpt(word, {"name": "weather"}).calls == (ToolCall("weather", "{}"),)
        assert sharegpt(word, "weather(Oslo)") == Message("assistant", '"weather(Oslo)"')
    assert sharegpt("gpt", {"name": "weather", "arguments": ARGUMENTS}).calls == ()


def test_a_call_beside_a_text_and_thoughts_keeps_all_three() -> None:
    turn = {
        **ANSWER,
        "content": "I look.",
        "tool_calls": [{"function": {"name": "weather", "arguments": TEXT}}],
        "thinking": "hm",
    }
    assert messages(ASK, turn).messages[-1] == Message(
        "assistant", "I look.", thoughts="hm", calls=(ToolCall("weather", TEXT),)
    )
    legacy = {**ANSWER, "function_call": {"name": "weather", "arguments": "{}"}}
    assert messages(ASK, legacy).messages[-1].calls == (ToolCall("weather", "{}"),)


@pytest.mark.parametrize(
    ("fields", "thoughts"),
    [
        ({"reasoning_content": " hm\n"}, " hm\n"),
        ({"reasoning": "hm"}, "hm"),
        ({"Thinking": "hm"}, "hm"),
        ({"reasoning_content": None, "reasoning": "hm"}, "hm"),
        ({"reasoning": "first", "reasoning_content": "second"}, "second"),
        ({"reasoning": [{"type": "text", "text": "a"}, {"text": "b"}]}, "a\nb"),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}]}, "hm"),
        ({"reasoning": {"effort": "low"}}, ""),
        ({"thought": True}, ""),
        ({"thoughts": " "}, ""),
        ({"content": "<think>hm</think>Yes."}, ""),
    ],
)
def test_thoughts_of_a_turn(fields: dict[str, object], thoughts: str) -> None:
    found = messages(ASK, {**ANSWER, **fields}).messages[-1]
    assert found.thoughts == thoughts
    assert found.content == ("<think>hm</think>Yes." if fields.get("content") == "<think>hm</think>Yes." else "Yes.")
    assert messages({**ASK, "thoughts": "mine"}, ANSWER).messages == (USER, YES)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "Complex_CoT", "reasoning_trace"])
@pytest.mark.parametrize(
    "prompt, response", [("question", "answer"), ("prompt", "completion"), ("instruction", "output")]
)
def test_thoughts_in_a_field_beside_the_answer(key: str, prompt: str, response: str) -> None:
    record = {prompt: "q", key: "hm", response: "a"}
    assert read(record).messages == (Message("user", "q"), Message("assistant", "a", thoughts="hm"))
    for answer in ("<think>x</think>a", "First hm, then a."):
        assert read({**record, response: answer}).messages[-1] == Message("assistant", answer)


def test_fields_that_may_be_anything_else_are_no_thoughts() -> None:
    for key in ("reasoning", "rationale", "thought", "cot"):
        assert read({"question": "q", key: "hm", "answer": "a"}).messages[-1] == Message("assistant", "a")
    assert messages(ASK, ANSWER, reasoning_content="hm").messages[-1] == YES


LISTED = json.dumps(TOOLS, ensure_ascii=False)


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS), TOOLS[0], [json.dumps(TOOLS[0])], tuple(TOOLS)])
def test_tools_of_every_spelling(tools: object) -> None:
    assert messages(ASK, ANSWER, tools=tools).tools == LISTED
    sharegpt = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert read({"conversations": sharegpt, "tools": tools}).tools == LISTED
    assert read({"body": {"messages": [ASK, ANSWER], "tools": tools}}).tools == LISTED
    assert read({"prompt": [ASK], "completion": [ANSWER], "tools": tools}).tools == LISTED
    assert read({"instruction": "q", "output": "a", "tools": tools}).tools == LISTED
    chosen = {"prompt": [ASK], "chosen": [ANSWER], "rejected": [ANSWER], "tools": tools}
    assert parse_record("preference-chosen", chosen).tools == LISTED


@pytest.mark.parametrize("tools", [None, [], "", " ", "[]", "null", float("nan")])
def test_no_tools(tools: object) -> None:
    assert messages(ASK, ANSWER, tools=tools) == Conversation((USER, YES))


def test_a_flat_record_may_have_a_field_of_that_name_with_something_else() -> None:
    assert read({"instruction": "q", "output": "a", "tools": "hammer and saw"}).tools == ""
    assert read({"text": "USER: q ASSISTANT: a", "tools": LISTED}).tools == ""


@pytest.mark.parametrize(
    ("turn", "field", "kind", "words"),
    [
        ({"tool_calls": [{"id": "c"}]}, "messages[1].tool_calls", "unnamed-call", "names no function"),
        ({"tool_calls": [{"function": {"arguments": "{}"}}]}, "messages[1].tool_calls", "unnamed-call", "names no"),
        (
            {"content": "a", "tool_calls": [{"function": {"name": " "}}]},
            "messages[1].tool_calls",
            "unnamed-call",
            "names",
        ),
        ({"tool_calls": "weather("}, "messages[1].tool_calls", "unnamed-call", "not JSON"),
        ({"function_call": {"arguments": "{}"}}, "messages[1].function_call", "unnamed-call", "names no function"),
        ({"role": "function_call", "content": '{"a": 1}'}, "messages[1].content", "unnamed-call", "names no function"),
    ],
)
def test_a_call_without_a_name(turn: dict[str, object], field: str, kind: str, words: str) -> None:
    with pytest.raises(RecordError) as caught:
        messages(ASK, {"role": "assistant", **turn})
    assert (caught.value.field, caught.value.kind) == (field, kind)
    assert words in caught.value.message and "\n" not in str(caught.value)
    assert parse_record("messages", {"messages": [ASK, {"role": "assistant", **turn}]}, text_only=True).messages


@pytest.mark.parametrize("tools", ["get_weather(city)", '{"name":', 7, ["weather"], [TOOLS[0], 3], True])
def test_tools_that_are_not_json(tools: object) -> None:
    with pytest.raises(RecordError) as caught:
        messages(ASK, ANSWER, tools=tools)
    assert (caught.value.kind, caught.value.field) == ("bad-tools", "tools")
    assert parse_record("messages", {"messages": [ASK, ANSWER], "tools": tools}, text_only=True).messages == (USER, YES)
