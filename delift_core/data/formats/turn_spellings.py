"""Turns in the spellings of other tools, converted to role/content.

LangChain (type and data, or serialised objects), Gemini and Vertex (parts), Anthropic (content blocks), Cohere
(message), and exports with a sender, an author or a speaker.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

from delift_core.data.formats.base import CALL_KEYS, MORE_TEXT_KEYS, ROLE_KEYS, SPEAKER_KEYS, TEXT_KEYS, known_role

_REASONING_TYPES = ("thinking", "redacted_thinking", "reasoning")
# In ChatGPT exports.
_HIDDEN_TYPES = ("user_editable_context", "model_editable_context", "thoughts", "reasoning_recap")
REASONING_KEY = "reasoning_content"

Turn = Mapping[str, object]


def is_known_turn(value: object) -> bool:
    """Whether a value is a turn with a known role, in any spelling."""
    turns = list(standard_turns(value)) if isinstance(value, Mapping) else []
    return bool(turns) and all(has_known_role(turn) for turn in turns)


def has_known_role(turn: object) -> bool:
    """Whether a turn spelt role/content or from/value has a known role, and a text or tool calls."""
    if not isinstance(turn, Mapping):
        return False
    role = next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None)
    return known_role(role) is not None and any(turn.get(key) is not None for key in (*TEXT_KEYS, *CALL_KEYS))


def standard_turns(turn: Turn) -> Iterable[Turn]:
    """Converts a turn to role/content, other fields unchanged; a turn with tool results becomes several.

    A turn spelt role/content or from/value with a text or text parts is returned as it is, as is an unknown spelling.
    """
    text = turn.get("content")
    text = turn.get("value") if text is None else text
    named = turn.get("role") is not None or turn.get("from") is not None
    if named and (isinstance(text, str) or (text is None and not _other_text(turn))):
        return (turn,)
    return _converted_turns(turn, named)


def _converted_turns(turn: Turn, named: bool) -> Iterator[Turn]:
    inner = _unwrapped(turn)
    role = _role_word(inner)
    if role is None:
        yield from _from_response_item(turn)
        return
    text_key = next((key for key in (*TEXT_KEYS, *MORE_TEXT_KEYS) if inner.get(key) is not None), None)
    content = inner.get(text_key) if text_key else None
    if named and text_key in TEXT_KEYS and not _has_blocks(content) and inner is turn:
        yield turn
        return
    dropped = (*ROLE_KEYS, *SPEAKER_KEYS, *TEXT_KEYS, text_key, "additional_kwargs", "example")
    rest = {key: value for key, value in inner.items() if key not in dropped and value not in (None, [], {})}
    text = _join_texts(content) if isinstance(content, list | tuple) else content
    rest = {key: value for key, value in rest.items() if key not in MORE_TEXT_KEYS or value != text}
    if "tool_calls" in rest:
        rest["tool_calls"] = openai_calls(rest["tool_calls"])
    more = inner.get("additional_kwargs")
    if isinstance(more, Mapping):
        rest = {**{key: more[key] for key in (*CALL_KEYS, REASONING_KEY) if more.get(key)}, **rest}
    yield from _split_content(role, content, rest)


def _other_text(turn: Turn) -> bool:
    calls = turn.get("tool_calls") or turn.get("function_call")
    return not calls and any(turn.get(key) is not None for key in MORE_TEXT_KEYS)


def _unwrapped(turn: Turn) -> Turn:
    """The fields of a LangChain turn, which are under `data` or `kwargs`."""
    data, kwargs, path = turn.get("data"), turn.get("kwargs"), turn.get("id")
    if isinstance(data, Mapping) and isinstance(turn.get("type"), str):
        return {**data, "type": turn["type"]}
    if turn.get("lc") is not None and isinstance(kwargs, Mapping):
        own = kwargs.get("type") or (path[-1] if isinstance(path, list) and path else None)
        return {**{key: value for key, value in kwargs.items() if key != "type"}, "type": own}
    return turn


def _role_word(turn: Turn) -> str | None:
    for key in ROLE_KEYS:
        if isinstance(turn.get(key), str):
            return str(turn[key])
    for key in SPEAKER_KEYS:
        word = turn.get(key)
        word = word.get("role") if isinstance(word, Mapping) else word
        word = word.removesuffix("Chunk") if isinstance(word, str) else None
        if word and known_role(word) and word not in ("function_call", "tool_result"):
            return word
    return "user" if isinstance(turn.get("parts"), list) and turn.get("role") is None else None


def _from_response_item(turn: Turn) -> Iterator[Turn]:
    """Converts an item of OpenAI's Responses API (a call or its output); other values are returned as they are."""
    if turn.get("type") == "function_call" and "name" in turn:
        call = openai_call(turn["name"], turn.get("arguments"), turn.get("call_id"))
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
    elif turn.get("type") == "function_call_output":
        yield {"role": "tool", "tool_call_id": turn.get("call_id"), "content": _as_text(turn.get("output"))}
    elif turn.get("type") != "reasoning" or "summary" not in turn:
        yield turn


def _has_blocks(content: object) -> bool:
    """Whether a content has blocks of tool use, tool results or reasoning, or is a single object."""
    if isinstance(content, Mapping):
        return "parts" in content or isinstance(content.get("text"), str)
    if not isinstance(content, list | tuple):
        return False
    return any(isinstance(block, Mapping) and _block_kind(block) != "text" for block in content)


def _split_content(role: str, content: object, rest: Turn) -> Iterator[Turn]:
    if isinstance(content, Mapping):  # ChatGPT export, or a single block
        if content.get("content_type") in _HIDDEN_TYPES:
            return
        content = content.get("parts", [content])
    if not isinstance(content, list | tuple):
        yield {"role": role, "content": content, **rest}
        return
    kept: list[object] = []
    calls: list[dict[str, object]] = []
    thoughts: list[str] = []
    for block in content:
        kind = _block_kind(block)
        if kind == "call" and isinstance(block, Mapping):
            calls.append(_block_call(block))
        elif kind == "result" and isinstance(block, Mapping):
            yield _block_result(block)
        elif kind == "thought" and isinstance(block, Mapping):
            thoughts += [str(block[key]) for key in ("thinking", "text", "reasoning") if block.get(key)][:1]
        elif block != "":
            kept.append(block)
    results = any(_block_kind(block) == "result" for block in content)
    if kept or calls or thoughts or not results:
        own = {"tool_calls": calls} if calls else {}
        thought = {REASONING_KEY: "\n".join(thoughts)} if thoughts else {}
        yield {"role": role, "content": _join_texts(kept) if kept or not calls else None, **own, **thought, **rest}


def _block_kind(block: object) -> str:
    """The kind of a content block: "call", "result" or "thought"; "text" for everything else."""
    if not isinstance(block, Mapping):
        return "text"
    if block.get("type") in _REASONING_TYPES or (block.get("thought") is True and isinstance(block.get("text"), str)):
        return "thought"
    if block.get("type") == "tool_use" or any(isinstance(block.get(key), Mapping) for key in _GEMINI_CALLS):
        return "call"
    if block.get("type") == "tool_result" or any(isinstance(block.get(key), Mapping) for key in _GEMINI_RESULTS):
        return "result"
    return "text"


_GEMINI_CALLS = ("functionCall", "function_call")
_GEMINI_RESULTS = ("functionResponse", "function_response")


def _block_call(block: Turn) -> dict[str, object]:
    inner = next((block[key] for key in _GEMINI_CALLS if isinstance(block.get(key), Mapping)), None)
    if isinstance(inner, Mapping):
        return openai_call(inner.get("name"), inner.get("args"), inner.get("id"))
    return openai_call(block.get("name"), block.get("input"), block.get("id"))


def _block_result(block: Turn) -> Turn:
    inner = next((block[key] for key in _GEMINI_RESULTS if isinstance(block.get(key), Mapping)), None)
    if isinstance(inner, Mapping):
        return {"role": "tool", "name": inner.get("name"), "content": _as_text(inner.get("response"))}
    content = block.get("content")
    text = content if isinstance(content, str | list) else _as_text(content)
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}


def openai_call(name: object, arguments: object, call_id: object = None) -> dict[str, object]:
    """A tool call in OpenAI's spelling, with its arguments as JSON text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
    own = {"id": call_id} if call_id is not None else {}
    return {**own, "type": "function", "function": {"name": name, "arguments": text}}


def openai_calls(calls: object) -> object:
    """Converts LangChain's tool calls (name, args, id) to OpenAI's spelling; returns other values unchanged."""
    if not isinstance(calls, list | tuple):
        return calls
    return [
        openai_call(call["name"], call["args"], call.get("id"))
        if isinstance(call, Mapping) and "name" in call and "args" in call
        else call
        for call in calls
    ]


def _join_texts(parts: Sequence[object]) -> object:
    """The texts of parts joined without a separator; the parts themselves if one of them is not text."""
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else list(parts)


def _as_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


# numpy prints the objects of an array on separate lines without commas.
_NO_COMMA = re.compile(r"\}\r?\n ?\{")


def parse_list(text: str) -> list[object] | None:
    """Parses a list written as JSON or as a Python literal; None for any other text."""
    text = text.strip()
    if not (text[:1] == "[" and text[-1:] == "]"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python_list(text)
    return found if isinstance(found, list) else None


def parse_if_turns(value: object) -> object:
    """Parses a text that is a list of turns with known roles; returns any other value unchanged."""
    found = parse_list(value) if isinstance(value, str) else None
    return found if found and all(is_known_turn(turn) for turn in found) else value


def _python_list(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes
            found = ast.literal_eval(_NO_COMMA.sub("}, {", text))
        return json.loads(json.dumps(found))  # refuses keys and values that JSON does not have
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
