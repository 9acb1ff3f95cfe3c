"""ShareGPT records: a list of turns under conversations, conversation or items, or the bare list itself.

Turns may be spelt from/value, role/content or {human, assistant}; a record-level `system` comes first.
"""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import RecordError, describe, end_at_response, missing_field
from delift_core.data.formats.turns import LIST_KEYS, is_turn_list, list_key, parse_turns, system_of, with_system
from delift_core.samples import Message, Role

WORDS: dict[Role, str] = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def detect(record: object) -> bool:
    """Whether a record is a list of turns, or holds one under a key that ShareGPT files use."""
    if isinstance(record, list | tuple):
        return is_turn_list(record)
    return isinstance(record, Mapping) and list_key(record) is not None


def parse(record: object) -> tuple[Message, ...]:
    """Reads a ShareGPT record up to its last assistant turn.

    Raises:
        RecordError: no list of turns, an unknown role, a value that is not text, or nothing to learn.
    """
    if isinstance(record, list | tuple):
        return end_at_response(parse_turns(record, "turns"), "turns")
    if not isinstance(record, Mapping):
        raise RecordError("not-an-object", "", f"the record is {describe(record)}", "Give each record as an object.")
    key = list_key(record) or next((key for key in LIST_KEYS[1:] if key in record), None)
    if key is None:
        raise missing_field("conversations", "a ShareGPT record")
    return end_at_response(with_system(system_of(record), parse_turns(record[key], key)), key)


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes a conversation under `conversations`, with the role words that trainers know by default."""
    return {"conversations": [{"from": WORDS[m.role], "value": m.content} for m in messages]}
