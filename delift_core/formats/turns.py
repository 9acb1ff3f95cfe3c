"""Lists of turns, in every spelling: from/value, role/content, {human, assistant} pairs, text parts, tool calls.

Shared by the chat formats; knows nothing of which key of a record holds the list.
"""

import json
from collections.abc import Mapping, Sequence

from delift_core.formats.base import RecordError, describe, not_text, require_text, role_of
from delift_core.samples import Message

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
PAIR_KEYS = ("human", "user")


def is_turn_list(value: object) -> bool:
    """Whether a value is a list that starts with a turn in a spelling we read."""
    return isinstance(value, list | tuple) and bool(value) and is_turn(value[0])


def is_turn(value: object) -> bool:
    """Whether a value is one turn: a role word beside a text (or tool calls), or a {human, assistant} pair."""
    if not isinstance(value, Mapping):
        return False
    role_key = _present(value, ROLE_KEYS)
    if role_key is None:
        return _is_pair(value)
    return isinstance(value[role_key], str) and any(key in value for key in (*TEXT_KEYS, "tool_calls"))


def parse_turns(value: object, field: str, *, answered: bool = True) -> list[Message]:
    """Reads a list of turns.

    Args:
        value: the list as decoded from JSON.
        field: the path of the list, which starts the path named in an error.
        answered: the answer to learn is among these turns; in a prompt the last word of the assistant may be a call.

    Returns:
        Every turn in order, uncut.

    Raises:
        RecordError: not a list of objects, an unknown role, a value that is not text, or a last assistant turn that
            holds nothing but tool calls.
    """
    if not isinstance(value, list | tuple):
        remedy = "Give a list of turns, or choose another format or column mapping."
        raise RecordError("not-text", field, f"the value is {describe(value)}, not a list of turns", remedy)
    messages: list[Message] = []
    calls_only: str | None = None
    for index, turn in enumerate(value):
        where = f"{field}[{index}]"
        if not isinstance(turn, Mapping):
            raise RecordError(
                "not-text", where, f"the turn is {describe(turn)}, not an object", "Give each turn a role and a text."
            )
        found = _parse_pair(turn, where) if _is_pair(turn) else [_parse_turn(turn, where)]
        if found[-1].role == "assistant":
            calls_only = f"{where}.tool_calls" if _only_calls(turn) else None
        messages.extend(found)
    if answered and calls_only is not None:
        remedy = "Add the assistant's final answer in words, or remove the record."
        raise RecordError("not-text", calls_only, "the last assistant turn holds tool calls and no text", remedy)
    return messages


def with_system(system: str | None, messages: Sequence[Message]) -> list[Message]:
    """Puts a record-level system text first; a system turn that already opens the conversation wins over it."""
    if system is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", system), *messages]


def _parse_turn(turn: Mapping[str, object], where: str) -> Message:
    role_key = _present(turn, ROLE_KEYS)
    if role_key is None:
        remedy = "Give each turn a role (role or from): system, user, assistant or tool."
        raise RecordError("unknown-role", where, "the turn names no role", remedy)
    role = role_of(turn[role_key], f"{where}.{role_key}")
    text_key = _present(turn, TEXT_KEYS)
    if text_key is not None:
        return Message(role, _text(turn[text_key], f"{where}.{text_key}"))
    if role == "assistant" and turn.get("tool_calls"):
        # The model saw its own call as text; JSON is the spelling that all templates come close to.
        return Message(role, json.dumps(turn["tool_calls"], ensure_ascii=False, default=str))
    expected = "value" if role_key == "from" else "content"
    raise not_text(None, f"{where}.{expected}")


def _parse_pair(turn: Mapping[str, object], where: str) -> list[Message]:
    user_key = _present(turn, PAIR_KEYS) or PAIR_KEYS[0]
    return [
        Message("user", require_text(turn[user_key], f"{where}.{user_key}")),
        Message("assistant", require_text(turn["assistant"], f"{where}.assistant")),
    ]


def _text(value: object, where: str) -> str:
    """Text as such, or the text parts of an OpenAI content list joined without a separator."""
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


def _only_calls(turn: Mapping[str, object]) -> bool:
    key = _present(turn, TEXT_KEYS)
    return bool(turn.get("tool_calls")) and (key is None or not turn[key])


def _is_pair(turn: Mapping[str, object]) -> bool:
    return _present(turn, ROLE_KEYS) is None and "assistant" in turn and _present(turn, PAIR_KEYS) is not None


def _present(turn: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first key that holds something; tables fill absent keys of a turn with null, so null counts as absent."""
    return next((key for key in keys if turn.get(key) is not None), None)
