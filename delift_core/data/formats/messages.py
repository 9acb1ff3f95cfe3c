"""OpenAI chat records: a list of role/content turns under `messages`."""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import end_at_response, missing_field
from delift_core.data.formats.turns import has_roles, list_key, parse_turns, system_of, with_system
from delift_core.samples import Message


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record holds a list under `messages` that starts with a turn naming its role."""
    return list_key(record) == "messages" and has_roles(record["messages"])


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads a chat record up to its last assistant turn.

    Raises:
        RecordError: no list of turns, an unknown role, a value that is not text, or nothing to learn.
    """
    if "messages" not in record:
        raise missing_field("messages", "a chat record")
    return end_at_response(with_system(system_of(record), parse_turns(record["messages"], "messages")), "messages")


def render(messages: Sequence[Message]) -> dict[str, object]:
    """Writes a conversation as role/content turns under `messages`."""
    return {"messages": as_turns(messages)}


def as_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Spells messages as role/content objects."""
    return [{"role": m.role, "content": m.content} for m in messages]
