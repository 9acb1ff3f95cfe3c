"""Turns that are spelt otherwise than role/content or from/value, as turns with a role and a content.

LangChain (type and data, or its serialised objects), Gemini and Vertex (parts), Anthropic (blocks of text, tool use and
tool results), Cohere (message), and exports that name a sender, an author or a speaker beside a text. Knows one turn.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

from delift_core.data.formats.base import ROLES
from delift_core.data.formats.tool_calls import openai_call, openai_calls

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
_SPEAKER_KEYS = ("sender", "author", "speaker", "type")
_MORE_TEXT_KEYS = ("text", "message", "utterance", "parts")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
_HIDDEN = ("user_editable_context", "model_editable_context", "thoughts", "reasoning_recap")  # of a ChatGPT export
THOUGHT = "reasoning_content"

Turn = Mapping[str, object]


def is_dialect(value: object) -> bool:
    """Whether a value is a turn in one of these spellings, by a role that is known."""
    turns = list(standard(value)) if isinstance(value, Mapping) else []
    return bool(turns) and all(is_known(turn) for turn in turns)


def is_known(turn: object) -> bool:
    """Whether a turn has a role that is known, beside a text or calls."""
    if not isinstance(turn, Mapping):
        return False
    word = next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None)
    said = any(turn.get(key) is not None for key in (*TEXT_KEYS, "tool_calls", "function_call"))
    return isinstance(word, str) and word.strip().lower() in ROLES and said


def standard(turn: Turn) -> Iterable[Turn]:
    """A turn with `role` and `content`, its other fields as found; several where it holds results of tools too.

    A turn that is spelt role/content or from/value, with a text or with parts that are texts, is given as it is, and so
    is one whose spelling is not known.
    """
    text = turn.get("content")
    text = turn.get("value") if text is None else text
    named = turn.get("role") is not None or turn.get("from") is not None
    if named and (isinstance(text, str) or (text is None and not _other_text(turn))):
        return (turn,)
    return _respelt(turn, named)


def _respelt(turn: Turn, named: bool) -> Iterator[Turn]:
    inner = _unwrapped(turn)
    word = _role_word(inner)
    if word is None:
        yield from _response_item(turn)
        return
    text_key = next((key for key in (*TEXT_KEYS, *_MORE_TEXT_KEYS) if inner.get(key) is not None), None)
    content = inner.get(text_key) if text_key else None
    if named and text_key in TEXT_KEYS and not _has_blocks(content) and inner is turn:
        yield turn
        return
    dropped = (*ROLE_KEYS, *_SPEAKER_KEYS, *TEXT_KEYS, text_key, "additional_kwargs", "example")
    rest = {key: value for key, value in inner.items() if key not in dropped and value not in (None, [], {})}
    rest = {key: value for key, value in rest.items() if key not in _MORE_TEXT_KEYS or value != _plain_text(content)}
    if "tool_calls" in rest:
        rest["tool_calls"] = openai_calls(rest["tool_calls"])
    more = inner.get("additional_kwargs")
    if isinstance(more, Mapping):
        rest = {**{key: more[key] for key in ("tool_calls", "function_call", THOUGHT) if more.get(key)}, **rest}
    yield from _of_content(word, content, rest)


def _other_text(turn: Turn) -> bool:
    calls = turn.get("tool_calls") or turn.get("function_call")
    return not calls and any(turn.get(key) is not None for key in _MORE_TEXT_KEYS)


def _unwrapped(turn: Turn) -> Turn:
    """LangChain's turns keep their fields under `data` or `kwargs`."""
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
    for key in _SPEAKER_KEYS:
        word = turn.get(key)
        word = word.get("role") if isinstance(word, Mapping) else word
        word = word.removesuffix("Chunk") if isinstance(word, str) else None
        if word and word.strip().lower() in ROLES and word not in ("function_call", "tool_result"):
            return word
    return "user" if isinstance(turn.get("parts"), list) and turn.get("role") is None else None


def _response_item(turn: Turn) -> Iterator[Turn]:
    """OpenAI's items beside messages: calls and their output; anything else is given as it is."""
    if turn.get("type") == "function_call" and "name" in turn:
        call = openai_call(turn["name"], turn.get("arguments"), turn.get("call_id"))
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
    elif turn.get("type") == "function_call_output":
        yield {"role": "tool", "tool_call_id": turn.get("call_id"), "content": _as_text(turn.get("output"))}
    elif turn.get("type") != "reasoning" or "summary" not in turn:
        yield turn


def _has_blocks(content: object) -> bool:
    """Whether a content holds more than texts and what cannot be read."""
    if isinstance(content, Mapping):
        return "parts" in content or isinstance(content.get("text"), str)
    if not isinstance(content, list | tuple):
        return False
    return any(isinstance(block, Mapping) and _kind(block) != "text" for block in content)


def _of_content(word: str, content: object, rest: Turn) -> Iterator[Turn]:
    if isinstance(content, Mapping):  # of a ChatGPT export, or one block alone
        if content.get("content_type") in _HIDDEN:
            return
        content = content.get("parts", [content])
    if not isinstance(content, list | tuple):
        yield {"role": word, "content": content, **rest}
        return
    kept: list[object] = []
    calls: list[dict[str, object]] = []
    thoughts: list[str] = []
    for block in content:
        kind = _kind(block)
        if kind == "call" and isinstance(block, Mapping):
            calls.append(_call(block))
        elif kind == "result" and isinstance(block, Mapping):
            yield _result(block)
        elif kind == "thought" and isinstance(block, Mapping):
            thoughts += [str(block[key]) for key in ("thinking", "text", "reasoning") if block.get(key)][:1]
        elif block != "":
            kept.append(block)
    results = any(_kind(block) == "result" for block in content)
    if kept or calls or thoughts or not results:
        own = {"tool_calls": calls} if calls else {}
        thought = {THOUGHT: "\n".join(thoughts)} if thoughts else {}
        yield {"role": word, "content": _joined(kept) if kept or not calls else None, **own, **thought, **rest}


def _kind(block: object) -> str:
    """What a block of a content is: "text", "call", "result" or "thought"; "text" for what is not known."""
    if not isinstance(block, Mapping):
        return "text"
    if block.get("type") in _THOUGHTS or (block.get("thought") is True and isinstance(block.get("text"), str)):
        return "thought"
    if block.get("type") == "tool_use" or any(isinstance(block.get(key), Mapping) for key in _GEMINI_CALLS):
        return "call"
    if block.get("type") == "tool_result" or any(isinstance(block.get(key), Mapping) for key in _GEMINI_RESULTS):
        return "result"
    return "text"


_GEMINI_CALLS = ("functionCall", "function_call")
_GEMINI_RESULTS = ("functionResponse", "function_response")


def _call(block: Turn) -> dict[str, object]:
    inner = next((block[key] for key in _GEMINI_CALLS if isinstance(block.get(key), Mapping)), None)
    if isinstance(inner, Mapping):
        return openai_call(inner.get("name"), inner.get("args"), inner.get("id"))
    return openai_call(block.get("name"), block.get("input"), block.get("id"))


def _result(block: Turn) -> Turn:
    inner = next((block[key] for key in _GEMINI_RESULTS if isinstance(block.get(key), Mapping)), None)
    if isinstance(inner, Mapping):
        return {"role": "tool", "name": inner.get("name"), "content": _as_text(inner.get("response"))}
    content = block.get("content")
    said = content if isinstance(content, str | list) else _as_text(content)
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}


def _plain_text(content: object) -> object:
    """What a content says, where it is one text or parts that are texts."""
    return _joined(content) if isinstance(content, list | tuple) else content


def _joined(parts: Sequence[object]) -> object:
    """The texts of parts behind each other; the parts themselves where one of them is no text."""
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else list(parts)


def _as_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


# numpy prints objects below each other without commas; inside a string that Python printed no line ends.
_NO_COMMA = re.compile(r"\}\r?\n ?\{")


def list_in_text(text: str) -> list[object] | None:
    """The list that a text is; None for any other text."""
    text = text.strip()
    if not (text[:1] == "[" and text[-1:] == "]"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python_list(text)
    return found if isinstance(found, list) else None


def turns_in_text(value: object) -> object:
    """The list of turns that a text is, every one of them with a known role; any other value as it is."""
    found = list_in_text(value) if isinstance(value, str) else None
    return found if found and all(is_dialect(turn) for turn in found) else value


def _python_list(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a text that Python did not print
            found = ast.literal_eval(_NO_COMMA.sub("}, {", text))
        return json.loads(json.dumps(found))  # Python has keys and values that JSON has not
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
