"""Registry of the formats of records: which one a record is in, how to read it, how to write it.

Formats are tried in this order: preference (so that no other reader learns a rejected answer), messages, sharegpt,
prompt-completion, alpaca, columns, other spellings of turns (as "messages", or "chat-text" for a text in a chat
template), text, MT-Bench. Chat formats come before flat ones because data sets often repeat the first question beside
the conversation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from delift_core.data.formats import preference
from delift_core.data.formats.base import (
    ANSWER_THOUGHT_KEYS,
    LIST_KEYS,
    PROMPT_KEYS,
    SYSTEM_KEYS,
    RecordError,
    describe,
    end_at_response,
    name_list,
)
from delift_core.data.formats.chat_records import (
    detect_messages,
    detect_mt_bench,
    detect_prompt_completion,
    detect_sharegpt,
    parse_messages,
    parse_mt_bench,
    parse_prompt_completion,
    parse_sharegpt,
    render_messages,
    render_prompt_completion,
    render_sharegpt,
)
from delift_core.data.formats.chat_text import starts_with_marker
from delift_core.data.formats.conversations import (
    FoundConversation,
    find_conversation,
    is_chat_text,
    search_conversation,
)
from delift_core.data.formats.flat_records import (
    detect_alpaca,
    detect_columns,
    detect_text,
    parse_alpaca,
    parse_columns,
    parse_text,
    part_columns,
    render_alpaca,
    response_key,
    telling_field,
)
from delift_core.data.formats.platform_records import is_argilla, is_label_studio, is_single_message
from delift_core.data.formats.preference import Answer
from delift_core.data.formats.training_labels import definite_label
from delift_core.data.formats.turn_spellings import parse_if_turns
from delift_core.data.formats.turn_structure import as_text, thoughts_of, tools_text, with_structure
from delift_core.data.formats.turns import add_system, parse_located_turns, system_text, turn_list_key
from delift_core.samples import ColumnMapping, Conversation, FormatName, Message, inline_thoughts

__all__ = [
    "MAP_REMEDY",
    "RecordError",
    "detect_columns",
    "detect_format",
    "flat_columns",
    "parse_record",
    "read_fields",
    "render_record",
    "unknown_format_error",
]

_DETECTORS: tuple[tuple[FormatName, Callable[[Mapping[str, object]], bool]], ...] = (
    ("preference", preference.detect),
    ("messages", detect_messages),
    ("sharegpt", detect_sharegpt),
    ("prompt-completion", detect_prompt_completion),
    ("alpaca", detect_alpaca),
    ("columns", lambda record: detect_columns(record) is not None),
)
_PARSERS: dict[FormatName, Callable[[Mapping[str, object]], tuple[Message, ...]]] = {
    "alpaca": parse_alpaca,
    "messages": parse_messages,
    "prompt-completion": parse_prompt_completion,
    "text": parse_text,
    "mt-bench": parse_mt_bench,
}
_RENDERERS: dict[FormatName, Callable[[Conversation], dict[str, object]]] = {
    "alpaca": lambda conversation: render_alpaca(conversation.messages),
    "sharegpt": render_sharegpt,
    "messages": render_messages,
    "prompt-completion": render_prompt_completion,
}


def detect_format(record: object) -> FormatName | None:
    """The first format, in the order above, that fits a record as decoded from JSON; None for an unknown record."""
    if not isinstance(record, Mapping):
        return "sharegpt" if find_conversation(record) is not None else None
    found = next((name for name, detect in _DETECTORS if detect(record)), None)
    if found is not None:
        return found
    conversation = search_conversation(record)
    if conversation is not None:
        return "chat-text" if is_chat_text(conversation) else "messages"
    if detect_text(record):
        return "text"
    return "mt-bench" if detect_mt_bench(record) else None


_TURN_FORMATS = ("messages", "sharegpt", "chat-text")
# In the other formats, texts hold the tools, or a field of this name may be anything else.
_FORMATS_WITH_TOOLS = ("messages", "sharegpt", "prompt-completion", "preference-chosen", "preference-rejected")


def parse_record(
    fmt: FormatName, record: object, mapping: ColumnMapping | None = None, *, text_only: bool = False
) -> Conversation:
    """Reads one record as decoded from JSON.

    Args:
        fmt: the format to read it as.
        mapping: the columns, for "columns"; without it a known pair is used.
        text_only: reads roles and texts alone, as earlier versions did.

    Returns:
        The conversation up to and including the assistant turn that is scored.

    Raises:
        RecordError: the record cannot be used; the error says which field and what to do.
    """
    unusual = _unusual_conversation(record) if fmt in _TURN_FORMATS else None
    messages = _parse_messages(fmt, record, mapping, unusual)
    if text_only:
        return Conversation(as_text(messages))
    messages = with_structure(messages)
    if not isinstance(record, Mapping):
        return Conversation(messages)
    if fmt in ("alpaca", "columns", "prompt-completion"):
        taken = (mapping.prompt, mapping.response, mapping.system, *mapping.parts) if mapping else ()
        key = _answer_thoughts_key(record, taken, messages[-1].content)
        if key is not None and not messages[-1].thoughts:
            messages = (*messages[:-1], replace(messages[-1], thoughts=thoughts_of(record, (key,))))
    return Conversation(messages, _tools(fmt, record, unusual))


def _tools(fmt: FormatName, record: Mapping[str, object], unusual: FoundConversation | None = None) -> str:
    """A record's tool definitions as JSON; in a flat record, a field of this name with something else is none."""
    if fmt in _FORMATS_WITH_TOOLS:
        if "tools" in record:
            return tools_text(record["tools"], "tools")
        return tools_text(unusual.tools, f"{unusual.key}.tools") if unusual is not None and unusual.tools else ""
    if fmt not in ("alpaca", "columns") or "tools" not in record:
        return ""
    try:
        return tools_text(record["tools"], "tools")
    except RecordError:
        return ""


def _answer_thoughts_key(record: Mapping[str, object], taken: Sequence[str | None], response: object) -> str | None:
    """The field beside a response that is a text with the thoughts before it; None if the response has them itself.

    Args:
        taken: fields that are read otherwise.
    """
    for name in record:
        key = str(name).lower()
        if key in ANSWER_THOUGHT_KEYS and name not in taken and (thoughts := thoughts_of(record, (key,))):
            completion = parse_if_turns(record.get("completion"))
            if not isinstance(response, str) or isinstance(completion, list | tuple):
                return None
            return None if thoughts in response or inline_thoughts(response) else key
    return None


def _parse_messages(
    fmt: FormatName, record: object, mapping: ColumnMapping | None, conversation: FoundConversation | None
) -> tuple[Message, ...]:
    """The turns of a record up to the response, their texts alone.

    Args:
        conversation: of a record that the readers of messages and ShareGPT cannot read themselves.
    """
    if conversation is not None:
        system = system_text(conversation.system, conversation.system_key)
        turns = add_system(system, parse_located_turns(conversation.turns))
        return end_at_response(turns, conversation.field or "turns")
    if fmt == "sharegpt":
        return parse_sharegpt(record)
    if not isinstance(record, Mapping):
        raise unknown_format_error(record)
    if fmt in _PARSERS:
        return _PARSERS[fmt](record)
    if fmt == "preference":
        raise preference.no_choice_error("" if preference.has_pair(record) else definite_label(record) or "")
    if fmt == "preference-chosen" or fmt == "preference-rejected":
        answer: Answer = "chosen" if fmt == "preference-chosen" else "rejected"
        return preference.parse(record, answer, lambda rest: _parse_unlabelled(rest, mapping))
    found = mapping if mapping is not None else detect_columns(record)
    if fmt == "chat-text" or found is None:
        raise unknown_format_error(record)
    return parse_columns(record, found)


def render_record(fmt: FormatName, conversation: Conversation) -> dict[str, object]:
    """Writes a conversation as one record; `parse_record` gives the same conversation back, as far as the format goes.

    A blank system text is left out by formats that keep it in a field of its own. Alpaca holds texts alone. ShareGPT
    holds no ids of calls, no calls beside a text, and arguments as JSON values.

    Raises:
        RecordError: the format cannot hold this conversation.
    """
    if fmt not in _RENDERERS:
        what = f"one conversation is not a record of the format {fmt}"
        raise RecordError("unknown-format", "", what, "Export to messages, or as the records came in.")
    return _RENDERERS[fmt](conversation)


def _unusual_conversation(record: object) -> FoundConversation | None:
    """The conversation of a record that the readers of messages and ShareGPT cannot read themselves."""
    if isinstance(record, Mapping):
        return find_conversation(record) if turn_list_key(record) is None else None
    return None if detect_sharegpt(record) else find_conversation(record)


def _parse_unlabelled(record: Mapping[str, object], mapping: ColumnMapping | None) -> tuple[Message, ...]:
    """Reads a record without a label: its mapped columns, or else in the format that is detected."""
    found = "columns" if mapping is not None else detect_format(record)
    if found is None:
        raise unknown_format_error(record)
    unusual = _unusual_conversation(record) if found in _TURN_FORMATS else None
    return _parse_messages(found, record, mapping, unusual)


def flat_columns(record: Mapping[str, object], mapping: ColumnMapping | None = None) -> ColumnMapping | None:
    """The columns of a record whose prompt is a text of its own, its parts included; None for other records.

    Args:
        mapping: the columns, if they were mapped by hand.
    """
    fmt: FormatName | None = "columns" if mapping is not None else detect_format(record)
    if fmt == "columns":
        return mapping or detect_columns(record)
    if fmt == "alpaca":
        prompt, response = "instruction", response_key(record)
    elif fmt == "prompt-completion" and not isinstance(parse_if_turns(record["prompt"]), list | tuple):
        prompt, response = "prompt", "completion"
    else:
        return None
    system = next((key for key in SYSTEM_KEYS if key in record), None)
    return ColumnMapping(prompt, response, system, part_columns(record, prompt, response))


def read_fields(record: Mapping[str, object], mapping: ColumnMapping | None = None) -> tuple[str, ...]:
    """The fields that a record's conversation is read from, without its label.

    Args:
        mapping: the columns, if they were mapped by hand.
    """
    if mapping is None:
        record = preference.without_label(record)
    flat = flat_columns(record, mapping)
    if flat is None:
        return _fields_of_turns(record)
    names = (flat.prompt, flat.response, *flat.parts, *((flat.system,) if flat.system else ()))
    key = _answer_thoughts_key(record, names, record.get(flat.response))
    thoughts = tuple(str(name) for name in record if key and str(name).lower() == key)
    return (*names, *thoughts, *(("tools",) if _tools("columns", record) else ()))


def _fields_of_turns(record: Mapping[str, object]) -> tuple[str, ...]:
    """As `read_fields`, for a record that is not flat."""
    fmt = detect_format(record)
    tools = ("tools",) if "tools" in record else ()
    system = (*(key for key in SYSTEM_KEYS if key in record), *tools)
    if fmt == "preference":
        prompt = next((key for key in PROMPT_KEYS if record.get(key)), "")
        return ("chosen", "rejected", *LIST_KEYS, prompt, *part_columns(record, prompt, "chosen"), *system)
    if fmt in ("messages", "sharegpt", "chat-text"):
        conversation = find_conversation(record)
        keys = conversation.top_level_keys if conversation else ()
        return keys if fmt == "chat-text" else (*keys, *tools)
    if fmt == "prompt-completion":
        return ("prompt", "completion", *system)
    if fmt == "mt-bench":
        return ("turns", "choices" if "choices" in record else "reference")
    return ("text",) if fmt == "text" else ()


MAP_REMEDY = "Map the columns that hold the prompt and the response."
_OWN_TEXTS = "Give each record a prompt and a response as text, or a list of turns under messages."


def unknown_format_error(record: object) -> RecordError:
    """Builds the error for a record in no known format: its kind, or else its fields."""
    if not isinstance(record, Mapping):
        what = f"the record is {describe(record)}, not an object"
        return RecordError("not-an-object", "", what, "Give each record as an object with named fields.")
    named = _known_kind(record)
    if named is not None:
        return RecordError("unknown-format", "", *named)
    texts = [key for key, value in record.items() if isinstance(value, str)]
    what = f"no known format has these fields: {name_list(record)}"
    return RecordError("unknown-format", "", what, MAP_REMEDY if len(texts) > 1 else _OWN_TEXTS)


def _known_kind(record: Mapping[str, object]) -> tuple[str, str] | None:
    """What a record is, and what to do; None for an unknown kind."""
    if is_label_studio(record):
        what = "a Label Studio task without exactly one prompt and one written answer on which all annotators agree"
        return what, "Export it as JSON-MIN or CSV, keep one answer for each task, and map its columns."
    if is_argilla(record):
        what = "an Argilla record without exactly one prompt and one submitted answer in words"
        return what, "Write the prompt and the answer to learn into columns of their own, and map them."
    if "custom_id" in record and ("response" in record or "result" in record):
        what = "the answer to a request of a batch, without the request"
        return what, "Join it with the requests by custom_id, as turns under messages."
    if is_single_message(record):
        what = "one message of a conversation on its own"
        return what, "Load it with the other messages of its conversation, or put its turns into one record."
    if _has(record, "role", "from", "sender", "speaker") and _has(record, "text", "content", "value", "message"):
        what = "one message on its own, without the id of its conversation"
        return what, "Put the turns of a conversation into one record, under messages."
    if isinstance(record.get("translation"), Mapping):
        return "a pair of translations", "Write the task and the source as a prompt, the translation as the response."
    if _has(record, "tokens", "words") and _has(record, "ner_tags", "tags", "labels", "pos_tags", "ner"):
        return "words with a label each", "Write the text as a prompt, the entities as the response."
    if "conversation_a" in record and "conversation_b" in record:
        what = "two conversations to compare"
        return what, "Name the better one chosen and the other rejected, and load it with --answer."
    if isinstance(record.get("answers"), Mapping | list) and isinstance(record.get("question"), str):
        return "a question with a list of answers", "Write the answer to learn into a column of its own, as text."
    if set(record) & {"prompt", "instruction", "question", "query"} and sum(map(_is_text, record.values())) == 1:
        return "a prompt without an answer", "Add the answer to learn as a response."
    field = telling_field(record)
    if field is not None:
        return _text_with_field(field)
    if isinstance(record.get("text"), str) and starts_with_marker(str(record["text"])):
        what = "a text with the markers of a chat template, in which no user is answered"
        return what, "Add the answer to learn, or write the turns as a list under messages."
    return None


def _text_with_field(field: str) -> tuple[str, str]:
    other = f"or leave {field!r} out to read the text as it is."
    if any(word in field.lower() for word in ("label", "class", "sentiment", "emotion", "intent", "categor", "star")):
        return (
            f"a text with a label ({field!r})",
            f"Write the task as a prompt and the label as the response, {other}",
        )
    what = f"a text beside {field!r}, so that it is not plain text"
    return what, f"Write a prompt and a response for each record, or map them, {other}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _has(record: Mapping[str, object], *names: str) -> bool:
    return any(record.get(name) is not None for name in names)
