"""Messages that name the message they answer: of a thread with several replies the best-ranked path is read.

Open Assistant's flat messages and its trees, and the tree of a ChatGPT export. At each message the reply with the
best rank goes on (the lowest number; one without a rank comes last, of equals the first), a deleted one only where
there is no other. Knows the messages of one thread.
"""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.turn_spellings import is_dialect

CONVERSATION_KEYS = (
    "conversation_id",
    "conversationId",
    "conv_id",
    "dialog_id",
    "dialogue_id",
    "thread_id",
    "chat_id",
    "session_id",
) + ("message_tree_id", "conversation_hash", "conversation", "dialogue", "session")
ORDER_KEYS = ("turn", "turn_id", "turn_index", "turn_idx", "turn_number", "message_index", "index", "position", "order")
ID_KEYS = ("message_id", "id", "uuid")
PARENT_KEYS = ("parent_id", "parent_message_id", "parent", "parentId", "parent_uuid", "in_reply_to", "reply_to")
_NAMES = frozenset((*CONVERSATION_KEYS, *PARENT_KEYS))
Placed = tuple[str, object]


def id_of(message: Mapping[str, object]) -> str | None:
    """What a message calls itself, where it says which one it answers too."""
    if not any(key in message for key in PARENT_KEYS):
        return None
    return next((str(message[key]) for key in ID_KEYS if message.get(key) is not None), None)


def parent_of(message: Mapping[str, object]) -> str | None:
    """The id of the message that it answers; None for the first of a thread."""
    return next((str(message[key]) for key in PARENT_KEYS if message.get(key) not in (None, "")), None)


def conversation_of(message: Mapping[str, object]) -> str | None:
    """The id of the conversation that a message stands in."""
    found = next((message[key] for key in CONVERSATION_KEYS if message.get(key) not in (None, "")), None)
    return str(found) if isinstance(found, str | int) else None


def is_message(record: object) -> bool:
    """Whether a record is one message of a conversation whose other messages are records of their own."""
    if not isinstance(record, Mapping) or _NAMES.isdisjoint(record) or "messages" in record or not is_dialect(record):
        return False
    return id_of(record) is not None or conversation_of(record) is not None


def is_thread(messages: object) -> bool:
    """Whether a list holds messages that name each other."""
    if not isinstance(messages, list | tuple) or not messages:
        return False
    return all(isinstance(message, Mapping) and id_of(message) is not None for message in messages)


def best_path(messages: Sequence[object], field: str) -> tuple[Placed, ...]:
    """The messages of a flat thread from its first one along the best replies, each with its path in the record."""
    found = [(f"{field}[{at}]", message) for at, message in enumerate(messages) if isinstance(message, Mapping)]
    known = {id_of(message) for _, message in found}
    replies: dict[str | None, list[tuple[str, Mapping[str, object]]]] = {}
    for where, message in found:
        parent = parent_of(message)
        replies.setdefault(parent if parent in known else None, []).append((where, message))
    path: list[Placed] = []
    seen: set[str | None] = {None}
    at: str | None = None
    while at in replies:
        where, message = _best(replies[at])
        path.append((where, message))
        at = id_of(message)
        if at in seen:
            break
        seen.add(at)
    return tuple(path)


def tree_path(prompt: Mapping[str, object], field: str) -> tuple[tuple[Placed, ...], int]:
    """The same for a tree, whose messages hold their replies; and how many other replies stand along the path."""
    path: list[Placed] = []
    others = 0
    here: list[tuple[str, Mapping[str, object]]] = [(field, prompt)]
    while here:
        others += len(here) - 1
        where, message = _best(here)
        path.append((where, {key: value for key, value in message.items() if key != "replies"}))
        replies = message.get("replies")
        listed = replies if isinstance(replies, list) else []
        here = [(f"{where}.replies[{at}]", one) for at, one in enumerate(listed) if isinstance(one, Mapping)]
    return tuple(path), others


def shown_path(record: Mapping[str, object]) -> tuple[tuple[Placed, ...], int] | None:
    """The messages of a ChatGPT export up to the one shown last, and how many are on no path to it; else None."""
    nodes = record.get("mapping")
    if not isinstance(nodes, Mapping) or not nodes:
        return None
    if not all(isinstance(node, Mapping) and ("message" in node or "parent" in node) for node in nodes.values()):
        return None
    at = record.get("current_node")
    at = at if isinstance(at, str) and at in nodes else next(reversed(nodes))
    path: list[Placed] = []
    seen: set[object] = set()
    while isinstance(at, str) and at in nodes and at not in seen:
        seen.add(at)
        message = nodes[at].get("message")
        if isinstance(message, Mapping) and _is_shown(message):
            own = {key: message[key] for key in ("author", "content") if key in message}
            path.append((f"mapping.{at}.message", own))
        at = nodes[at].get("parent")
    messages = [node.get("message") for node in nodes.values()]
    others = sum(isinstance(one, Mapping) and _is_shown(one) for one in messages) - len(path)
    return (tuple(reversed(path)), others) if path else None


def _is_shown(message: Mapping[str, object]) -> bool:
    metadata, content = message.get("metadata"), message.get("content")
    if isinstance(metadata, Mapping) and metadata.get("is_visually_hidden_from_conversation") is True:
        return False
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return not (isinstance(parts, list) and all(isinstance(part, str) and not part.strip() for part in parts))


def _best(replies: Sequence[tuple[str, Mapping[str, object]]]) -> tuple[str, Mapping[str, object]]:
    def order(one: tuple[str, Mapping[str, object]]) -> tuple[bool, float]:
        rank = one[1].get("rank")
        known = isinstance(rank, int | float) and not isinstance(rank, bool) and rank == rank
        return one[1].get("deleted") is True, float(rank) if known else float("inf")  # type: ignore[arg-type]

    return min(replies, key=order)
