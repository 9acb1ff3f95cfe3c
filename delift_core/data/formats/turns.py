"""Lists of turns, spelt role/content, from/value, as {human, assistant} pairs or as `turn_spellings` knows them."""

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
from delift_core.data.formats.turn_structure import (
    TurnWithFields,
    first_present,
    has_more,
    is_only_calls,
    response_text,
)
from delift_core.samples import Message


def is_turn_list(value: object) -> bool:
    """Whether a value is a list whose first element is a turn."""
    return isinstance(value, list | tuple) and bool(value) and is_turn(value[0])


def is_turn(value: object) -> bool:
    """Whether a value is one turn: a role with a text or tool calls, or a {human, assistant} pair."""
    if not isinstance(value, Mapping):
        return False
    role_key = first_present(value, ROLE_KEYS)
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


def parse_turns(value: object, field: str) -> list[Message]:
    """Reads a list of turns.

    Args:
        value: the list as decoded from JSON.
        field: the path of the list in the record, for errors.

    Returns:
        Every turn in order; those that are flagged as context only are not `trained`.

    Raises:
        RecordError: not a list of objects, an unknown role, or a value that is not text.
    """
    if not isinstance(value, list | tuple):
        remedy = "Give a list of turns, or choose another format or column mapping."
        raise RecordError("not-text", field, f"the value is {describe(value)}, not a list of turns", remedy)
    return parse_located_turns([(f"{field}[{at}]", turn) for at, turn in enumerate(value)])


def parse_located_turns(turns: Sequence[LocatedTurn]) -> list[Message]:
    """Reads turns with their paths; see `parse_turns`."""
    messages: list[Message] = []
    for where, given in turns:
        if not isinstance(given, Mapping):
            raise RecordError(
                "not-text", where, f"the turn is {describe(given)}, not an object", "Give each turn a role and a text."
            )
        trained = is_trained(given)
        if _is_pair(given):
            pair = _parse_pair(given, where)
            messages += pair if trained else [replace(message, trained=False) for message in pair]
            continue
        for turn in standard_turns(given):
            message = _parse_turn(turn, where)
            is_learnt = trained and (turn is given or is_trained(turn))
            messages.append(message if is_learnt else replace(message, trained=False))
    return messages


def add_system(system: str | None, messages: Sequence[Message]) -> list[Message]:
    """Puts a record's system text before its turns, unless they begin with a system turn of their own."""
    if system is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", system), *messages]


def system_text(value: object, field: str) -> str | None:
    """Reads a system text given as text, as parts or as an object of parts; None if it is missing or blank."""
    if isinstance(value, Mapping):
        key = first_present(value, ("parts", "content", "text"))
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


def _parse_turn(turn: Mapping[str, object], where: str) -> Message:
    role_key = first_present(turn, ROLE_KEYS)
    if role_key is None:
        remedy = "Give each turn a role (role or from): system, user, assistant or tool."
        raise RecordError("unknown-role", where, "the turn names no role", remedy)
    role = require_role(turn[role_key], f"{where}.{role_key}")
    if role == "assistant" and is_only_calls(turn):
        calls = turn.get("tool_calls")
        text = json.dumps(calls, ensure_ascii=False, default=str) if calls else response_text(turn)
        return TurnWithFields(role, text, given=turn, where=where)
    text_key = first_present(turn, TEXT_KEYS)
    if text_key is not None:
        text = _text(turn[text_key], f"{where}.{text_key}")
        more = has_more(turn, role, turn[role_key])
        return TurnWithFields(role, text, given=turn, where=where) if more else Message(role, text)
    expected = "value" if role_key == "from" else "content"
    raise not_text_error(None, f"{where}.{expected}")


def _parse_pair(turn: Mapping[str, object], where: str) -> list[Message]:
    user_key = first_present(turn, PAIR_KEYS) or PAIR_KEYS[0]
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


def _is_pair(turn: Mapping[str, object]) -> bool:
    names_role = first_present(turn, ROLE_KEYS) is not None
    return not names_role and "assistant" in turn and first_present(turn, PAIR_KEYS) is not None
