"""Conversations in the spellings of other tools and public sets: each is read as the same turns, wherever it stands."""

import json
from typing import Any

import pytest

from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.formats.conversations import find_conversation
from delift_core.samples import Conversation, Message, hash_conversation

TURNS = [{"role": "user", "content": "Where is the key?"}, {"role": "assistant", "content": "Under the mat."}]
U, A = "Where is the key?", "Under the mat."


def read(record: Any, *, text_only: bool = False) -> list[tuple[str, str]]:
    found = detect_format(record)
    assert found is not None, record
    read = parse_record(found, record, text_only=text_only)
    return [(message.role, message.content) for message in read.messages]


def lang(kind: str, text: str) -> dict[str, object]:
    path = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": text, "additional_kwargs": {}}}


LISTS: dict[str, Any] = {
    "strings": {"conversations": [U, A], "source": "w"},
    "strings under data": {"data": [U, A], "id": "1"},
    "strings under dialog": {"dialog": [U, A, "Thanks"]},
    "pairs of strings": {"history": [[U, A]]},
    "pairs under messages": {"messages": [{"user": U, "assistant": A}]},
    "another key": {"dialogue": TURNS},
    "any key": {"talk_of_the_day": TURNS, "n": 3},
    "JSON text": {"messages": json.dumps(TURNS), "id": "3"},
    "JSON text of strings": {"conversations": json.dumps([U, A])},
    "JSON text under any key": {"log": json.dumps(TURNS)},
    "Python text": {"conversation": repr(TURNS)},
    "numpy text": {"messages": f"[{TURNS[0]!r}\n {TURNS[1]!r}]"},
    "Vertex": {"contents": [{"role": "user", "parts": [{"text": U}]}, {"role": "model", "parts": [{"text": A}]}]},
    "Gemini without a first role": {"contents": [{"parts": [{"text": U}]}, {"role": "model", "parts": [{"text": A}]}]},
    "LangChain": {
        "messages": [{"type": "human", "data": {"content": U, "type": "human"}}, {"type": "ai", "data": {"content": A}}]
    },
    "LangChain dumps": {"messages": [{"type": "human", "content": U, "name": None}, {"type": "ai", "content": A}]},
    "LangChain objects": {"messages": [lang("HumanMessage", U), lang("AIMessage", A)]},
    "LangChain bare": [{"type": "human", "data": {"content": U}}, {"type": "ai", "data": {"content": A}}],
    "Cohere words": {"messages": [{"role": "User", "content": U}, {"role": "Chatbot", "content": A}]},
    "Cohere messages": {"chat_history": [{"role": "USER", "message": U}, {"role": "CHATBOT", "message": A}]},
    "Cohere request": {"chat_history": [], "message": U, "response": A},
    "senders": {"chat_messages": [{"sender": "human", "text": U}, {"sender": "assistant", "text": A}], "name": "c"},
    "speakers": {"dialogue": [{"speaker": "customer", "utterance": U}, {"speaker": "agent", "utterance": A}]},
    "Anthropic": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": U}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": A}]},
        ]
    },
    "batch request": {"custom_id": "1", "url": "/v1", "body": {"model": "m", "messages": TURNS}},
    "Anthropic batch": {"custom_id": "1", "params": {"messages": TURNS, "max_tokens": 3}},
    "batch with answers": {
        "body": {"messages": TURNS[:1]},
        "response": {"body": {"choices": [{"message": TURNS[1]}]}},
    },
    "segments": {"segments": [{"label": False, "text": f"<s>{U}"}, {"label": True, "text": f"{A}</s>"}]},
    "segments with a template": {
        "segments": [
            {"label": False, "text": f"<|im_start|>user\n{U}<|im_end|>\n<|im_start|>assistant\n"},
            {"label": True, "text": f"{A}<|im_end|>"},
        ]
    },
    "ChatGPT export": {
        "title": "t",
        "mapping": {
            "r": {"parent": None, "message": None, "children": ["u"]},
            "s": {"parent": "r", "message": {"author": {"role": "system"}, "content": {"parts": [""]}}},
            "u": {"parent": "s", "message": {"author": {"role": "user"}, "content": {"parts": [U]}}},
            "o": {"parent": "u", "message": {"author": {"role": "assistant"}, "content": {"parts": ["Not shown."]}}},
            "a": {
                "parent": "u",
                "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": [A]}},
            },
        },
        "current_node": "a",
    },
    "Open Assistant tree": {
        "message_tree_id": "m",
        "prompt": {
            "text": U,
            "role": "prompter",
            "replies": [
                {"text": "No idea.", "role": "assistant", "rank": 1, "replies": []},
                {"text": A, "role": "assistant", "rank": 0, "replies": []},
            ],
        },
    },
    "Label Studio": {
        "id": 1,
        "data": {"prompt": U},
        "annotations": [{"result": [{"type": "textarea", "from_name": "answer", "value": {"text": [A]}}]}],
    },
    "Argilla": {
        "fields": {"instruction": U, "response": "draft"},
        "responses": {"corrected_response": [{"value": A}], "quality": [{"value": 4}]},
    },
    "Argilla of version 1": {
        "fields": {"prompt": U},
        "responses": [{"status": "submitted", "values": {"answer": {"value": A}}}],
    },
}


@pytest.mark.parametrize("name", LISTS)
def test_every_spelling_is_read_as_the_same_turns(name: str) -> None:
    assert read(LISTS[name])[-2:] == [("user", U), ("assistant", A)]
    assert find_conversation(LISTS[name]) is not None


@pytest.mark.parametrize(
    "record",
    [
        {"systemInstruction": {"parts": [{"text": "S"}]}, "contents": LISTS["Vertex"]["contents"]},
        {"system_instruction": "S", "contents": LISTS["Vertex"]["contents"]},
        {"system": [{"type": "text", "text": "S", "cache_control": {}}], "messages": TURNS},
        {"preamble": "S", **LISTS["Cohere messages"]},
        {"system": "S", "data": [U, A]},
        {"body": {"system": "S", "messages": TURNS}},
        {"text": f"S\n\n### Human: {U}### Assistant: {A}"},
        {"system": "SYSTEM: S", "chat": f"USER: {U}\n\n\nASSISTANT: {A} <|endoftext|>\n\n\n"},
    ],
)
def test_a_system_text_beside_them_comes_first(record: Any) -> None:
    assert read(record) == [("system", "S"), ("user", U), ("assistant", A)]


CALL = {"name": "find", "arguments": {"what": "clé", "n": [1, 2]}}
ARGUMENTS = json.dumps(CALL["arguments"])
ASK = {"role": "user", "content": U}
CALLS: dict[str, Any] = {
    "ShareGPT": {
        "conversations": [
            {"from": "human", "value": U},
            {"from": "function_call", "value": json.dumps(CALL, ensure_ascii=False)},
        ]
    },
    "tool_calls, null": {
        "messages": [
            ASK,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "find", "arguments": ARGUMENTS}}],
            },
        ]
    },
    "tool_calls, empty text": {
        "messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]}]
    },
    "tool_calls, absent text": {
        "messages": [ASK, {"role": "assistant", "tool_calls": [{"id": "c", "function": CALL}]}]
    },
    "function_call": {
        "messages": [
            ASK,
            {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": ARGUMENTS}},
        ]
    },
    "results behind": {
        "messages": [
            ASK,
            {"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]},
            {"role": "tool", "content": "r"},
        ]
    },
    "Anthropic": {
        "messages": [
            ASK,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "find", "input": CALL["arguments"]}],
            },
        ]
    },
    "Gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": U}]},
            {"role": "model", "parts": [{"functionCall": {"name": "find", "args": CALL["arguments"]}}]},
        ]
    },
    "LangChain": {
        "messages": [
            {"type": "human", "content": U},
            {"type": "ai", "content": "", "tool_calls": [{"name": "find", "args": CALL["arguments"], "id": "c"}]},
        ]
    },
    "items": {
        "messages": [ASK, {"type": "function_call", "name": "find", "arguments": ARGUMENTS, "call_id": "c"}],
    },
    "prompt and completion": {
        "prompt": [ASK],
        "completion": [{"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]}],
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_that_is_a_call_is_the_same_text_in_every_spelling(name: str) -> None:
    found = read(CALLS[name])
    assert (
        found == [("user", U), ("assistant", json.dumps(CALL, ensure_ascii=False))] == read(CALLS[name], text_only=True)
    )
    same = Conversation((Message("user", U), Message("assistant", json.dumps(CALL, ensure_ascii=False))))
    texts = Conversation(tuple(Message(role, text) for role, text in found))  # type: ignore[arg-type]
    assert hash_conversation(texts) == hash_conversation(same)


@pytest.mark.parametrize("text_only", [False, True])
def test_several_calls_are_a_list_and_what_names_no_function_was_kept_as_it_is(text_only: bool) -> None:
    def last(calls: list[object], text_only: bool = text_only) -> object:
        record = {"messages": [ASK, {"role": "assistant", "tool_calls": calls}]}
        return json.loads(read(record, text_only=text_only)[-1][1])

    assert last([{"function": CALL}, {"name": "g", "arguments": ""}]) == [CALL, {"name": "g", "arguments": {}}]
    assert last([{"function": {"name": "f", "arguments": "not JSON"}}]) == {"name": "f", "arguments": "not JSON"}
    assert last([{"odd": 1}], text_only=True) == [{"odd": 1}]


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": " \n"}, {"content": []}])
def test_a_call_before_the_answer_is_the_same_text_beside_any_empty_content(content: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [ASK, {"role": "assistant", "tool_calls": [call], **content}, {"role": "tool", "content": "r"}, TURNS[1]]
    assert read({"messages": turns})[1] == ("assistant", '{"name": "f", "arguments": {}}')
    assert read({"messages": turns}, text_only=True)[1] == ("assistant", json.dumps([call]))


def test_results_of_tools_are_turns_of_their_own() -> None:
    blocks = [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "sun"}]},
        {"type": "text", "text": "Go on."},
    ]
    anthropic = [ASK, CALLS["Anthropic"]["messages"][1], {"role": "user", "content": blocks}, TURNS[1]]
    assert [role for role, _ in read({"messages": anthropic})] == ["user", "assistant", "tool", "user", "assistant"]
    assert read({"messages": anthropic})[2] == ("tool", "sun")
    part = {"functionResponse": {"name": "find", "response": {"r": 1}}}
    gemini = [
        *CALLS["Gemini"]["contents"],
        {"role": "user", "parts": [part]},
        {"role": "model", "parts": [{"text": A}]},
    ]
    assert read({"contents": gemini})[2:] == [("tool", '{"r": 1}'), ("assistant", A)]


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (
            {"contents": [{"role": "user", "parts": [{"inlineData": {}}]}, {"role": "model", "parts": []}]},
            "contents[0]",
        ),
        ({"body": {"messages": [ASK, {"role": "assistant", "content": 3}]}}, "body.messages[1]"),
        ({"body": {"messages": [ASK]}}, "body.messages"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place(record: Any, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(record)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize(
    "record",
    [
        {"data": ["one string"]},
        {"turns": ["a question", "another question"]},
        {"data": ["a", 3]},
        {"a": TURNS, "b": TURNS},
        {"conversation_a": TURNS, "conversation_b": TURNS},
        {"segments": [{"label": 1, "text": "x"}]},
        {"mapping": {"en": "a", "de": "b"}},
        {"list": "[1, 2]"},
        {"messages": "[" * 3000},
        {"messages": "[{'role': __import__('os')}]"},
        {"messages": "[{'role': 'user', 'content': {(1, 2): 3}}, {'role': 'assistant', 'content': 'a'}]"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {
            "data": {"prompt": U, "context": "A passage to read."},
            "annotations": [{"result": [{"type": "textarea", "from_name": "answer", "value": {"text": [A]}}]}],
        },
        {"fields": {"text": U}, "responses": {"quality": [{"value": "good"}]}},
        {"fields": {"prompt": U}, "responses": {"answer": [{"value": A}, {"value": "Another."}]}},
    ],
)
def test_what_is_no_conversation_without_doubt_is_not_read(record: Any) -> None:
    assert detect_format(record) is None
    with pytest.raises(RecordError) as caught:
        parse_record("messages", record)
    assert "\n" not in str(caught.value)


def test_what_another_format_reads_stays_its() -> None:
    assert detect_format({"instruction": "q", "output": "a", "history": [["x", "y"]]}) == "alpaca"
    assert detect_format({"question": "q", "answer": "a", "dialogue": TURNS}) == "columns"
    assert detect_format({"question_id": 1, "turns": ["q", "r"], "reference": ["a", "b"]}) == "mt-bench"
