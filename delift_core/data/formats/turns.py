"""Lists of turns, in every spelling: the keys that hold them, and how they are read.

Turns are spelt from/value, role/content, as {human, assistant} pairs, with parts, with calls of tools, or in one of the
dialects. All that looks for turns in a record knows the keys from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from delift_core.data.formats.base import (
    SYSTEM_KEYS,
    RecordError,
    describe,
    is_missing,
    not_text,
    require_text,
    role_of,
)
from delift_core.data.formats.tool_calls import calls_text, has_calls, response_text
from delift_core.data.formats.training_marks import is_trained
from delift_core.data.formats.turn_spellings import ROLE_KEYS, TEXT_KEYS, standard
from delift_core.samples import Message

LIST_KEYS = ("messages", "conversations", "conversation", "items")
# Other formats have fields of these names too: they are looked at where no other format fits.
MORE_LIST_KEYS = (
    "dialog",
    "dialogue",
    "dialogs",
    "dialogues",
    "chat",
    "chat_messages",
    "chat_history",
    "conversation_history",
) + ("message_history", "history", "contents", "utterances", "turns", "thread", "transcript", "trajectory", "data")
PAIR_KEYS = ("human", "user")
_LIST_NAMES = frozenset(LIST_KEYS)


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
    return isinstance(value[role_key], str) and any(key in value for key in (*TEXT_KEYS, "tool_calls", "function_call"))


def list_key(record: Mapping[str, object]) -> str | None:
    """The key of a record's list of turns in a spelling that trainers read, of several the one that is read."""
    if _LIST_NAMES.isdisjoint(record):
        return None
    turns = record.get("messages")
    if has_roles(turns):
        return "messages"
    for key in LIST_KEYS[1:]:
        if is_turn_list(record.get(key)):
            return key
    first = turns[0] if isinstance(turns, list | tuple) and turns else None
    return "messages" if isinstance(first, Mapping) and "from" in first and is_turn(first) else None


def has_roles(turns: object) -> bool:
    """Whether a list starts with a turn that names its role as OpenAI's turns do."""
    first = turns[0] if isinstance(turns, list | tuple) and turns else None
    return isinstance(first, Mapping) and first.get("role") is not None


def parse_turns(value: object, field: str, *, answered: bool = True) -> list[Message]:
    """Reads a list of turns.

    Args:
        value: the list as decoded from JSON.
        field: the path of the list, which starts the path named in an error.
        answered: the response is among these turns; the text of calls depends on it (see `calls`).

    Returns:
        Every turn in order, uncut; those that are marked as context only are not `trained`.

    Raises:
        RecordError: not a list of objects, an unknown role, or a value that is not text.
    """
    if not isinstance(value, list | tuple):
        remedy = "Give a list of turns, or choose another format or column mapping."
        raise RecordError("not-text", field, f"the value is {describe(value)}, not a list of turns", remedy)
    return parse_placed([(f"{field}[{at}]", turn) for at, turn in enumerate(value)], answered=answered)


def parse_placed(turns: Sequence[tuple[str, object]], *, answered: bool = True) -> list[Message]:
    """Reads turns, each given with its path; see `parse_turns`."""
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
        for turn in standard(given):
            message = _parse_turn(turn, where)
            learnt = trained and (turn is given or is_trained(turn))
            messages.append(message if learnt else replace(message, trained=False))
            if message.role == "assistant" and learnt:
                response = (len(messages) - 1, turn)
    if answered and response is not None and only_calls(response[1]):
        messages[response[0]] = Message("assistant", response_text(response[1]))
    return messages


def with_system(system: str | None, messages: Sequence[Message]) -> list[Message]:
    """Puts a record-level system text first; a system turn that already opens the conversation wins over it."""
    if system is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", system), *messages]


def system_text(value: object, field: str) -> str | None:
    """A record-level system text, as text, as parts or as an object of parts; None where it says nothing."""
    if isinstance(value, Mapping):
        key = _present(value, ("parts", "content", "text"))
        if key is None:
            raise not_text(value, field)
        return system_text(value[key], f"{field}.{key}")
    if is_missing(value):
        return None
    text = _text(value, field)
    return text if text.strip() else None


def system_of(record: Mapping[str, object]) -> str | None:
    """The system text that a record holds in a field of its own, the first that says something."""
    found = (system_text(record[key], key) for key in SYSTEM_KEYS if key in record)
    return next((text for text in found if text is not None), None)


def only_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn holds calls of tools, and no text beside them."""
    if not has_calls(turn):
        return False
    key = _present(turn, TEXT_KEYS)
    text = turn[key] if key else None
    return not text or (isinstance(text, str) and not text.strip())


def _parse_turn(turn: Mapping[str, object], where: str) -> Message:
    role_key = _present(turn, ROLE_KEYS)
    if role_key is None:
        remedy = "Give each turn a role (role or from): system, user, assistant or tool."
        raise RecordError("unknown-role", where, "the turn names no role", remedy)
    role = role_of(turn[role_key], f"{where}.{role_key}")
    if role == "assistant" and only_calls(turn):
        return Message(role, calls_text(turn))
    text_key = _present(turn, TEXT_KEYS)
    if text_key is not None:
        return Message(role, _text(turn[text_key], f"{where}.{text_key}"))
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


def _is_pair(turn: Mapping[str, object]) -> bool:
    return _present(turn, ROLE_KEYS) is None and "assistant" in turn and _present(turn, PAIR_KEYS) is not None


def _present(turn: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first key that holds something; tables fill absent keys of a turn with null or NaN."""
    return next((key for key in keys if not is_missing(turn.get(key))), None)
