"""Lists of turns, spelt role/content, from/value, as {human, assistant} pairs or as `turn_spellings` knows them.

A tool call that is the response is scored as `{"name": …, "arguments": {…}}`, as ShareGPT files write it under
`function_call`; several calls as a JSON list of such objects. Calls before the response keep their JSON, ids included.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from delift_core.data.formats.base import (
    CALL_KEYS,
    LIST_KEYS,
    PAIR_KEYS,
    ROLE_KEYS,
    SYSTEM_KEYS,
    TEXT_KEYS,
    LocatedTurn,
    RecordError,
    describe,
    is_missing,
    not_text_error,
    require_role,
    require_text,
)
from delift_core.data.formats.training_labels import is_trained
from delift_core.data.formats.turn_spellings import standard_turns
from delift_core.samples import Message


def is_turn_list(value: object) -> bool:
    """Whether a value is a list whose first element is a turn."""
    return isinstance(value, list | tuple) and bool(value) and is_turn(value[0])


def is_turn(value: object) -> bool:
    """Whether a value is one turn: a role with a text or tool calls, or a {human, assistant} pair."""
    if not isinstance(value, Mapping):
        return False
    role_key = _first_present(value, ROLE_KEYS)
    if role_key is None:
        return _is_pair(value)
    return isinstance(value[role_key], str) and any(key in value for key in (*TEXT_KEYS, *CALL_KEYS))


def turn_list_key(record: Mapping[str, object]) -> str | None:
    """The key of the list of turns that is read, if the record holds one in a spelling that trainers read."""
    if not any(key in record for key in LIST_KEYS):
        return None
    turns = record.get("messages")
    if names_roles(turns):
        return "messages"
    for key in LIST_KEYS[1:]:
        if is_turn_list(record.get(key)):
            return key
    first = turns[0] if isinstance(turns, list | tuple) and turns else None
    return "messages" if isinstance(first, Mapping) and "from" in first and is_turn(first) else None


def names_roles(turns: object) -> bool:
    """Whether the first element of a list is a turn with a `role`."""
    first = turns[0] if isinstance(turns, list | tuple) and turns else None
    return isinstance(first, Mapping) and first.get("role") is not None


def parse_turns(value: object, field: str, *, has_response: bool = True) -> list[Message]:
    """Reads a list of turns.

    Args:
        value: the list as decoded from JSON.
        field: the path of the list in the record, for errors.
        has_response: whether the response is one of these turns; tool calls in it are written as `response_text`.

    Returns:
        Every turn in order; those that are flagged as context only are not `trained`.

    Raises:
        RecordError: not a list of objects, an unknown role, or a value that is not text.
    """
    if not isinstance(value, list | tuple):
        remedy = "Give a list of turns, or choose another format or column mapping."
        raise RecordError("not-text", field, f"the value is {describe(value)}, not a list of turns", remedy)
    return parse_located_turns([(f"{field}[{at}]", turn) for at, turn in enumerate(value)], has_response=has_response)


def parse_located_turns(turns: Sequence[LocatedTurn], *, has_response: bool = True) -> list[Message]:
    """Reads turns with their paths; see `parse_turns`."""
    messages: list[Message] = []
    response: tuple[int, Mapping[str, object]] | None = None
    for where, given in turns:
        if not isinstance(given, Mapping):
            raise RecordError(
                "not-text", where, f"the turn is {describe(given)}, not an object", "Give each turn a role and a text."
            )
        trained = is_trained(given)
        if _is_pair(given):
            pair = _parse_pair(given, where)
            messages += pair if trained else [replace(message, trained=False) for message in pair]
            response = None if trained else response
            continue
        for turn in standard_turns(given):
            message = _parse_turn(turn, where)
            is_learnt = trained and (turn is given or is_trained(turn))
            messages.append(message if is_learnt else replace(message, trained=False))
            if message.role == "assistant" and is_learnt:
                response = (len(messages) - 1, turn)
    if has_response and response is not None and is_only_calls(response[1]):
        messages[response[0]] = Message("assistant", response_text(response[1]))
    return messages


def add_system(system: str | None, messages: Sequence[Message]) -> list[Message]:
    """Puts a record's system text before its turns, unless they begin with a system turn of their own."""
    if system is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", system), *messages]


def system_text(value: object, field: str) -> str | None:
    """Reads a system text given as text, as parts or as an object of parts; None if it is missing or blank."""
    if isinstance(value, Mapping):
        key = _first_present(value, ("parts", "content", "text"))
        if key is None:
            raise not_text_error(value, field)
        return system_text(value[key], f"{field}.{key}")
    if is_missing(value):
        return None
    text = _text(value, field)
    return text if text.strip() else None


def record_system_text(record: Mapping[str, object]) -> str | None:
    """The first system text that is not blank among a record's own fields."""
    found = (system_text(record[key], key) for key in SYSTEM_KEYS if key in record)
    return next((text for text in found if text is not None), None)


def is_only_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn holds tool calls and no text."""
    if not has_calls(turn):
        return False
    key = _first_present(turn, TEXT_KEYS)
    text = turn[key] if key else None
    return not text or (isinstance(text, str) and not text.strip())


def has_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn in OpenAI's spelling holds tool calls."""
    return any(turn.get(key) and not is_missing(turn[key]) for key in CALL_KEYS)


def response_text(turn: Mapping[str, object]) -> str:
    """The text of the tool calls of the response."""
    value = turn.get("tool_calls") or turn.get("function_call")
    listed = _decode_json(value)
    calls = [_name_and_arguments(call) for call in (listed if isinstance(listed, list | tuple) else [listed])]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        return json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(known[0] if len(known) == 1 else known, ensure_ascii=False, default=str)


def _parse_turn(turn: Mapping[str, object], where: str) -> Message:
    role_key = _first_present(turn, ROLE_KEYS)
    if role_key is None:
        remedy = "Give each turn a role (role or from): system, user, assistant or tool."
        raise RecordError("unknown-role", where, "the turn names no role", remedy)
    role = require_role(turn[role_key], f"{where}.{role_key}")
    if role == "assistant" and is_only_calls(turn):
        calls = turn.get("tool_calls")
        return Message(role, json.dumps(calls, ensure_ascii=False, default=str) if calls else response_text(turn))
    text_key = _first_present(turn, TEXT_KEYS)
    if text_key is not None:
        return Message(role, _text(turn[text_key], f"{where}.{text_key}"))
    expected = "value" if role_key == "from" else "content"
    raise not_text_error(None, f"{where}.{expected}")


def _parse_pair(turn: Mapping[str, object], where: str) -> list[Message]:
    user_key = _first_present(turn, PAIR_KEYS) or PAIR_KEYS[0]
    return [
        Message("user", require_text(turn[user_key], f"{where}.{user_key}")),
        Message("assistant", require_text(turn["assistant"], f"{where}.assistant")),
    ]


def _text(value: object, where: str) -> str:
    """A text, or the text parts of an OpenAI content list joined without a separator."""
    if not isinstance(value, list | tuple):
        return require_text(value, where)
    parts = []
    for index, part in enumerate(value):
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            what = f"the part is of type {kind!r}, not text" if kind else f"the part is {describe(part)}, not text"
            raise RecordError("not-text", f"{where}[{index}]", what, "Keep text parts only, or remove the record.")
        parts.append(part["text"])
    return "".join(parts)


def _decode_json(value: object) -> object:
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
    inner = _decode_json(arguments)
    return {"name": name, "arguments": ({} if arguments == "" else inner) if inner is not None else arguments}


def _is_pair(turn: Mapping[str, object]) -> bool:
    names_role = _first_present(turn, ROLE_KEYS) is not None
    return not names_role and "assistant" in turn and _first_present(turn, PAIR_KEYS) is not None


def _first_present(turn: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first key with a value; tables fill absent keys of a turn with null or NaN."""
    return next((key for key in keys if not is_missing(turn.get(key))), None)
