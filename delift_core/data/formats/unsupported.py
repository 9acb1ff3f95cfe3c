"""Kinds of records that are recognised but not read, each with what to do about it."""

from collections.abc import Mapping

from delift_core.data.formats.annotation_tools import is_argilla, is_label_studio
from delift_core.data.formats.base import RecordError, describe, name_list
from delift_core.data.formats.chat_text import starts_with_marker
from delift_core.data.formats.text import telling_field
from delift_core.data.formats.threads import is_single_message

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
