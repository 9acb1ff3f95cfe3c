"""Records as platforms export them: threads (Open Assistant, ChatGPT) and annotation tasks (Label Studio, Argilla).

A thread's messages name their parents, and one path is read as the conversation: the best-ranked reply at each message,
that is the lowest `rank`, then messages without a rank, ties to the first; a deleted reply only if there is no other.
An annotation with several prompts, or with answers that differ between annotators, is not read.
"""

import re
from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import PART_SEPARATOR, PROMPT_KEYS, LocatedTurn
from delift_core.data.formats.turn_spellings import is_known_turn

CONVERSATION_KEYS = (
    *("conversation_id", "conversationId", "conv_id", "dialog_id", "dialogue_id", "thread_id", "chat_id", "session_id"),
    *("message_tree_id", "conversation_hash", "conversation", "dialogue", "session"),
)
ORDER_KEYS = ("turn", "turn_id", "turn_index", "turn_idx", "turn_number", "message_index", "index", "position", "order")
ID_KEYS = ("message_id", "id", "uuid")
PARENT_KEYS = ("parent_id", "parent_message_id", "parent", "parentId", "parent_uuid", "in_reply_to", "reply_to")
_THREAD_KEYS = frozenset((*CONVERSATION_KEYS, *PARENT_KEYS))


def message_id(message: Mapping[str, object]) -> str | None:
    """The id of a message that also has a field for its parent; None for any other record."""
    if not any(key in message for key in PARENT_KEYS):
        return None
    return next((str(message[key]) for key in ID_KEYS if message.get(key) is not None), None)


def parent_id(message: Mapping[str, object]) -> str | None:
    """The id of a message's parent; None for the first message of a thread."""
    return next((str(message[key]) for key in PARENT_KEYS if message.get(key) not in (None, "")), None)


def conversation_id(message: Mapping[str, object]) -> str | None:
    """The id of the conversation that a message belongs to, if it names one."""
    found = next((message[key] for key in CONVERSATION_KEYS if message.get(key) not in (None, "")), None)
    return str(found) if isinstance(found, str | int) else None


def is_single_message(record: object) -> bool:
    """Whether a record is one message of a conversation that is spread over several records."""
    if not isinstance(record, Mapping) or _THREAD_KEYS.isdisjoint(record) or "messages" in record:
        return False
    return is_known_turn(record) and (message_id(record) is not None or conversation_id(record) is not None)


def is_thread(messages: object) -> bool:
    """Whether a value is a list of messages that name their parents."""
    if not isinstance(messages, list | tuple) or not messages:
        return False
    return all(isinstance(message, Mapping) and message_id(message) is not None for message in messages)


def best_path(messages: Sequence[object], field: str) -> tuple[LocatedTurn, ...]:
    """The best-ranked path through a flat list of messages."""
    found = [(f"{field}[{at}]", message) for at, message in enumerate(messages) if isinstance(message, Mapping)]
    known = {message_id(message) for _, message in found}
    replies: dict[str | None, list[tuple[str, Mapping[str, object]]]] = {}
    for located in found:
        parent = parent_id(located[1])
        replies.setdefault(parent if parent in known else None, []).append(located)
    path: list[LocatedTurn] = []
    seen: set[str | None] = {None}
    at: str | None = None
    while at in replies:
        best = _best_reply(replies[at])
        path.append(best)
        at = message_id(best[1])
        if at in seen:
            break
        seen.add(at)
    return tuple(path)


def tree_path(prompt: Mapping[str, object], field: str) -> tuple[tuple[LocatedTurn, ...], int]:
    """The best-ranked path through a tree of `replies`, and how many other replies there are along the path."""
    path: list[LocatedTurn] = []
    others = 0
    here: list[tuple[str, Mapping[str, object]]] = [(field, prompt)]
    while here:
        others += len(here) - 1
        where, message = _best_reply(here)
        path.append((where, {key: value for key, value in message.items() if key != "replies"}))
        replies = message.get("replies")
        listed = replies if isinstance(replies, list) else []
        here = [(f"{where}.replies[{at}]", one) for at, one in enumerate(listed) if isinstance(one, Mapping)]
    return tuple(path), others


def chatgpt_path(record: Mapping[str, object]) -> tuple[tuple[LocatedTurn, ...], int] | None:
    """The messages of a ChatGPT export up to `current_node`, and how many others there are; None for other records."""
    nodes = record.get("mapping")
    if not isinstance(nodes, Mapping) or not nodes:
        return None
    if not all(isinstance(node, Mapping) and ("message" in node or "parent" in node) for node in nodes.values()):
        return None
    at = record.get("current_node")
    at = at if isinstance(at, str) and at in nodes else next(reversed(nodes))
    path: list[LocatedTurn] = []
    seen: set[object] = set()
    while isinstance(at, str) and at in nodes and at not in seen:
        seen.add(at)
        message = nodes[at].get("message")
        if isinstance(message, Mapping) and _is_visible(message):
            own = {key: message[key] for key in ("author", "content") if key in message}
            path.append((f"mapping.{at}.message", own))
        at = nodes[at].get("parent")
    messages = [node.get("message") for node in nodes.values()]
    others = sum(isinstance(one, Mapping) and _is_visible(one) for one in messages) - len(path)
    return (tuple(reversed(path)), others) if path else None


def _is_visible(message: Mapping[str, object]) -> bool:
    metadata, content = message.get("metadata"), message.get("content")
    if isinstance(metadata, Mapping) and metadata.get("is_visually_hidden_from_conversation") is True:
        return False
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return not (isinstance(parts, list) and all(isinstance(part, str) and not part.strip() for part in parts))


def _best_reply(replies: Sequence[tuple[str, Mapping[str, object]]]) -> tuple[str, Mapping[str, object]]:
    def order(one: tuple[str, Mapping[str, object]]) -> tuple[bool, float]:
        rank = one[1].get("rank")
        known = isinstance(rank, int | float) and not isinstance(rank, bool) and rank == rank
        return one[1].get("deleted") is True, float(rank) if known else float("inf")  # type: ignore[arg-type]

    return min(replies, key=order)


_PROMPTS = (*PROMPT_KEYS, "text")
_NOT_PROMPTS = {
    *("response", "answer", "completion", "output", "generation", "draft", "reference", "system", "system_prompt")
}
_ANSWER = re.compile(r"respon|answer|complet|correct|output|rewrit|improve|edit|target|generat|repl", re.IGNORECASE)
_SKIPPED = ("was_cancelled", "skipped")


def is_label_studio(record: Mapping[str, object]) -> bool:
    """Whether a record is a Label Studio task, exported as JSON."""
    return isinstance(record.get("data"), Mapping) and isinstance(record.get("annotations"), list)


def is_argilla(record: Mapping[str, object]) -> bool:
    """Whether a record is an Argilla record."""
    return isinstance(record.get("fields"), Mapping) and isinstance(record.get("responses"), Mapping | list)


def label_studio_turns(record: Mapping[str, object]) -> tuple[LocatedTurn, ...] | None:
    """The prompt of a task and the written answer; None if there is not exactly one of each."""
    if not is_label_studio(record):
        return None
    texts: list[str] = []
    for annotation in record["annotations"]:  # type: ignore[attr-defined]
        if not isinstance(annotation, Mapping) or any(annotation.get(key) for key in _SKIPPED):
            continue
        result = annotation.get("result")
        areas = [one for one in result if _is_textarea(one)] if isinstance(result, list) else []
        if len(areas) != 1 or not _ANSWER.search(str(areas[0].get("from_name"))):
            return None
        texts += areas[0]["value"]["text"]
    return _turns(record["data"], "data", "annotations", texts)


def argilla_turns(record: Mapping[str, object]) -> tuple[LocatedTurn, ...] | None:
    """The prompt of a record and the submitted answer; None if there is not exactly one of each."""
    if not is_argilla(record) or record.get("status") == "discarded":
        return None
    answers: dict[str, list[object]] = {}
    responses = record["responses"]
    if isinstance(responses, Mapping):
        for name, given in responses.items():
            kept = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
            answers[str(name)] = [one.get("value") for one in kept if one.get("status") not in ("discarded", "draft")]
    else:
        for one in responses:  # type: ignore[attr-defined]
            values = one.get("values") if isinstance(one, Mapping) else None
            if isinstance(values, Mapping) and one.get("status", "submitted") == "submitted":
                for name, value in values.items():
                    text = value.get("value") if isinstance(value, Mapping) else value
                    answers.setdefault(str(name), []).append(text)
    texts = [
        [str(one) for one in values]
        for name, values in answers.items()
        if values and all(isinstance(one, str) for one in values) and _ANSWER.search(name)
    ]
    return _turns(record["fields"], "fields", "responses", texts[0]) if len(texts) == 1 else None


def _is_textarea(one: object) -> bool:
    value = one.get("value") if isinstance(one, Mapping) and one.get("type") == "textarea" else None
    text = value.get("text") if isinstance(value, Mapping) else None
    return isinstance(text, list) and len(text) == 1 and isinstance(text[0], str)


def _turns(data: object, field: str, answers: str, texts: list[str]) -> tuple[LocatedTurn, ...] | None:
    if len(set(texts)) != 1 or not isinstance(data, Mapping):
        return None
    names = [key for key in _PROMPTS if isinstance(data.get(key), str) and data[key]]
    texts_of_words = {key for key, value in data.items() if isinstance(value, str) and " " in value} - _NOT_PROMPTS
    if names not in ([*names[:1]], ["instruction", "input"]) or not names or not texts_of_words <= set(names):
        return None  # more than one text may belong to the prompt
    prompt = PART_SEPARATOR.join(str(data[name]) for name in names)
    system = next((data[key] for key in ("system", "system_prompt") if isinstance(data.get(key), str)), "")
    opening: tuple[LocatedTurn, ...] = ((field, {"role": "system", "content": system}),) if system else ()
    question = {"role": "user", "content": prompt}
    return (*opening, (f"{field}.{names[0]}", question), (answers, {"role": "assistant", "content": texts[0]}))
