"""What a turn holds beside its text: thoughts, tool calls, the call that a tool turn answers; and a record's tools.

A turn is read in two steps, since data sets of earlier versions hold texts alone: first its role and text, then, by
`with_structure`, its thoughts, tool calls and call id. The text of a turn that only calls tools is `calls_text`:
`{"name": …, "arguments": {…}}`, as ShareGPT files write it under `function_call`, or a JSON list of such objects.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from delift_core.data.formats.base import (
    CALL_ID_KEYS,
    CALL_KEYS,
    CALL_WORDS,
    ROLE_KEYS,
    TEXT_KEYS,
    THOUGHT_KEYS,
    RecordError,
    is_missing,
)
from delift_core.samples import Message, Role, ToolCall, calls_text


@dataclass(frozen=True, slots=True, eq=False)
class TurnWithFields(Message):
    """A turn with more than a role and a text, while its record is read.

    Attributes:
        given: the turn, spelt role/content or from/value.
        where: its path in the record.
    """

    given: Mapping[str, object] = field(default_factory=dict)
    where: str = ""


def with_structure(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns of a record with their thoughts, tool calls and call ids.

    Raises:
        RecordError: a tool call names no function.
    """
    return tuple(_with_structure(one) if isinstance(one, TurnWithFields) else one for one in messages)


def as_text(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns of a record as earlier versions read them: texts alone, tool calls as JSON where there is no text.

    Calls before the response keep their JSON, ids included.
    """
    kept = [Message(one.role, one.content, one.trained) if isinstance(one, TurnWithFields) else one for one in messages]
    last = messages[-1]
    if isinstance(last, TurnWithFields) and is_only_calls(last.given):
        kept[-1] = Message("assistant", response_text(last.given))
    return tuple(kept)


def is_only_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn holds tool calls and no text."""
    if not has_calls(turn):
        return False
    key = first_present(turn, TEXT_KEYS)
    text = turn[key] if key else None
    return not text or (isinstance(text, str) and not text.strip())


def has_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn in OpenAI's spelling holds tool calls."""
    # Most turns have neither key, which one line tells sooner than the loop.
    filled = turn.get("tool_calls") or turn.get("function_call")
    return bool(filled) and any(turn.get(key) and not is_missing(turn[key]) for key in CALL_KEYS)


def thoughts_of(fields: Mapping[str, object], keys: Sequence[str] = THOUGHT_KEYS) -> str:
    """The thoughts in the fields of a turn or a record; "" if there are none."""
    names = {str(name).lower(): name for name in fields}
    texts = (_thought_text(fields[names[key]]) for key in keys if key in names)
    return next((text for text in texts if text.strip()), "")


def tools_text(value: object, field: str) -> str:
    """A record's tool definitions, a list or its JSON text, as one JSON list in text; "" if there are none.

    Raises:
        RecordError: the value is neither.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return ""
    found = decode_json(value)
    listed = [found] if isinstance(found, Mapping) else found
    tools = [decode_json(one) for one in listed] if isinstance(listed, list | tuple) else None
    if found is None or tools == []:
        return ""
    if tools is None or not all(isinstance(tool, Mapping) for tool in tools):
        what = "the tool definitions are not JSON" if isinstance(found, str) else "a tool definition is not an object"
        raise RecordError("bad-tools", field, what, "Write them as a list of objects, or rename the field.")
    return json.dumps(tools, ensure_ascii=False, default=str)


def _thought_text(value: object) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "\n".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else ""


def _with_structure(turn: TurnWithFields) -> Message:
    given = turn.given
    if turn.role == "tool":
        call_id, name = (_first_text(given, keys) for keys in (CALL_ID_KEYS, ("name",)))
        return Message("tool", turn.content, turn.trained, call_id=call_id, name=name)
    calls = _calls(given, turn.where)
    only_calls = bool(calls) and (not has_calls(given) or is_only_calls(given))
    content = calls_text(calls) if only_calls else turn.content
    return Message(turn.role, content, turn.trained, thoughts_of(given), calls)


def _calls(turn: Mapping[str, object], where: str) -> tuple[ToolCall, ...]:
    """The calls in a turn's fields or, in a turn whose role says that it is a call, in its text."""
    key = next((key for key in CALL_KEYS if turn.get(key) and not is_missing(turn[key])), None)
    in_text = key is None and _is_call_role(turn)
    key = first_present(turn, TEXT_KEYS) if in_text else key
    found = decode_json(turn[key]) if key else ()
    listed = found if isinstance(found, list | tuple) else [found]
    listed = [call for call in listed if not is_missing(call)]
    if in_text and not all(isinstance(call, Mapping) for call in listed):
        return ()
    calls = [_tool_call(call) for call in listed]
    known = tuple(call for call in calls if call is not None)
    if len(known) < len(calls) or (not known and is_only_calls(turn)):
        what = "the tool calls are not JSON" if isinstance(found, str) else "a tool call names no function"
        remedy = "Give each call a name and arguments, or remove the record."
        raise RecordError("unnamed-call", f"{where}.{key}", what, remedy)
    return known


def _tool_call(call: object) -> ToolCall | None:
    """A tool call; None if it names no function."""
    if not isinstance(call, Mapping):
        return None
    function = call.get("function")
    named = function if isinstance(function, Mapping) else call
    name = named.get("name")
    if not isinstance(name, str) or not name.strip():
        return None
    value: object = next((named[key] for key in _ARGUMENT_KEYS if not is_missing(named.get(key))), {})
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return ToolCall(name, text if text.strip() else "{}", _first_text(call, ("id", "call_id")))


def _is_call_role(turn: Mapping[str, object]) -> bool:
    word = turn.get(first_present(turn, ROLE_KEYS) or "")
    return isinstance(word, str) and word.strip().lower() in CALL_WORDS


def has_more(turn: Mapping[str, object], role: Role, word: object) -> bool:
    """Whether a turn has more to read than its text, given its role and the record's word for it."""
    if role == "assistant":
        more = len(turn) > 2 and (has_calls(turn) or bool(thoughts_of(turn)))
        return more or (word not in ("assistant", "gpt") and _is_call_role(turn))
    return role == "tool" and len(turn) > 2 and bool(_first_text(turn, (*CALL_ID_KEYS, "name")))


def _first_text(turn: Mapping[str, object], keys: Sequence[str]) -> str:
    return next((str(turn[key]) for key in keys if isinstance(turn.get(key), str | int) and turn[key] != ""), "")


def response_text(turn: Mapping[str, object]) -> str:
    """The text of the tool calls of the response in earlier versions."""
    value = turn.get("tool_calls") or turn.get("function_call")
    listed = decode_json(value)
    calls = [_name_and_arguments(call) for call in (listed if isinstance(listed, list | tuple) else [listed])]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        return json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(known[0] if len(known) == 1 else known, ensure_ascii=False, default=str)


def decode_json(value: object) -> object:
    """Decodes a text that is JSON; returns any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


_ARGUMENT_KEYS = ("arguments", "args", "input", "parameters")


def _name_and_arguments(call: object) -> dict[str, object] | None:
    """Name and arguments of a tool call; None if it names no function."""
    if not isinstance(call, Mapping):
        return None
    function = call.get("function")
    named = function if isinstance(function, Mapping) else call
    name = named.get("name")
    if not isinstance(name, str):
        return None
    arguments: object = next((named[key] for key in _ARGUMENT_KEYS if named.get(key) is not None), {})
    inner = decode_json(arguments)
    return {"name": name, "arguments": ({} if arguments == "" else inner) if inner is not None else arguments}


def first_present(turn: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first key with a value; tables fill absent keys of a turn with null or NaN."""
    return next((key for key in keys if not is_missing(turn.get(key))), None)
