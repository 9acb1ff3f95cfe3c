"""Registry of the wire formats: which one a record is in, how to read it, how to write it.

Knows the names of the formats and one record at a time; knows nothing of files. Detection order, first match wins:
preference (no other reader may take a rejected answer for one to learn), messages, sharegpt, prompt-completion, alpaca,
columns, turns in other spellings (as "messages", or as "chat-text" where a chat template's markers part a text), text,
MT-Bench. The chat formats stand before the flat ones because data sets often repeat the first question beside the
conversation; the whole conversation is then the better reading.
"""

from collections.abc import Mapping, Sequence

from delift_core.data.formats import alpaca, columns, messages, mt_bench, preference, prompt_completion, sharegpt, text
from delift_core.data.formats.base import SYSTEM_KEYS, RecordError, describe, end_at_response
from delift_core.data.formats.conversations import Talk, foreign_talk, is_text_talk, talk_of
from delift_core.data.formats.preference import Answer
from delift_core.data.formats.prompt_parts import part_names
from delift_core.data.formats.training_marks import sure_mark
from delift_core.data.formats.turn_spellings import turns_in_text
from delift_core.data.formats.turns import LIST_KEYS, list_key, parse_placed, system_text, with_system
from delift_core.data.formats.unsupported import unknown_format
from delift_core.samples import ColumnMapping, FormatName, Message

__all__ = [
    "RecordError",
    "detect_columns",
    "detect_format",
    "flat_columns",
    "parse_plain",
    "parse_record",
    "read_fields",
    "render_columns",
    "render_record",
    "unknown_format",
]

render_columns = columns.render


def detect_format(record: object) -> FormatName | None:
    """Names the format of a record.

    Args:
        record: a record as decoded from JSON: an object, or a bare list of turns.

    Returns:
        The first format that fits, in the order stated above, or None.
    """
    if not isinstance(record, Mapping):
        return "sharegpt" if talk_of(record) is not None else None
    if preference.detect(record):
        return "preference"
    if messages.detect(record):
        return "messages"
    if sharegpt.detect(record):
        return "sharegpt"
    if prompt_completion.detect(record):
        return "prompt-completion"
    if alpaca.detect(record):
        return "alpaca"
    if columns.detect(record) is not None:
        return "columns"
    talk = foreign_talk(record)
    if talk is not None:
        return "chat-text" if is_text_talk(talk) else "messages"
    if text.detect(record):
        return "text"
    return "mt-bench" if mt_bench.detect(record) else None


def detect_columns(record: object) -> ColumnMapping | None:
    """Returns the mapping for a record with a known pair of columns (question/answer and the like), or None."""
    return columns.detect(record) if isinstance(record, Mapping) else None


def parse_record(fmt: FormatName, record: object, mapping: ColumnMapping | None = None) -> tuple[Message, ...]:
    """Reads one record.

    Args:
        fmt: the format to read it as.
        record: the record as decoded from JSON.
        mapping: the columns, for "columns"; without it a known pair is looked for.

    Returns:
        The conversation up to and including the assistant turn that is scored.

    Raises:
        RecordError: the record cannot be used; the error says which field and what to do.
    """
    talk = _talk_apart(record) if fmt in ("messages", "sharegpt", "chat-text") else None
    if talk is not None:
        return _parse_talk(talk)
    if fmt == "sharegpt":
        return sharegpt.parse(record)
    if not isinstance(record, Mapping):
        remedy = "Give each record as an object with named fields."
        raise RecordError("not-an-object", "", f"the record is {describe(record)}, not an object", remedy)
    if fmt == "alpaca":
        return alpaca.parse(record)
    if fmt == "messages":
        return messages.parse(record)
    if fmt == "prompt-completion":
        return prompt_completion.parse(record)
    if fmt == "preference":
        raise preference.no_choice("" if preference.has_pair(record) else sure_mark(record) or "")
    if fmt == "preference-chosen" or fmt == "preference-rejected":
        answer: Answer = "chosen" if fmt == "preference-chosen" else "rejected"
        return preference.parse(record, answer, lambda rest: parse_plain(rest, mapping))
    if fmt == "chat-text":
        raise unknown_format(record)
    if fmt == "text":
        return text.parse(record)
    if fmt == "mt-bench":
        return mt_bench.parse(record)
    found = mapping if mapping is not None else columns.detect(record)
    if found is None:
        raise unknown_format(record)
    return columns.parse(record, found)


def render_record(
    fmt: FormatName, conversation: Sequence[Message], mapping: ColumnMapping | None = None
) -> dict[str, object]:
    """Writes a conversation as one record; `parse_record` gives the same conversation back.

    A blank system text is left out where the format keeps it in a field of its own.

    Args:
        fmt: the format to write.
        conversation: the turns, ending with the assistant turn.
        mapping: the columns, for "columns" only.

    Raises:
        RecordError: the format cannot hold this conversation, or "columns" came without a mapping.
    """
    if fmt == "alpaca":
        return alpaca.render(conversation)
    if fmt == "sharegpt":
        return sharegpt.render(conversation)
    if fmt == "messages":
        return messages.render(conversation)
    if fmt == "prompt-completion":
        return prompt_completion.render(conversation)
    if fmt != "columns":
        what = f"one conversation is not a record of the format {fmt}"
        raise RecordError("unknown-format", "", what, "Export to messages, or as the records came in.")
    if mapping is None:
        what = "writing to columns needs a mapping"
        raise RecordError("unknown-format", "", what, "Say which columns hold the prompt and the response.")
    return columns.render(conversation, mapping)


def _talk_apart(record: object) -> Talk | None:
    """A conversation that the readers of messages and ShareGPT do not know by themselves."""
    if isinstance(record, Mapping):
        return talk_of(record) if list_key(record) is None else None
    return None if sharegpt.detect(record) else talk_of(record)


def _parse_talk(talk: Talk) -> tuple[Message, ...]:
    turns = with_system(system_text(talk.system, talk.system_key), parse_placed(talk.turns))
    return end_at_response(turns, talk.field or "turns")


def parse_plain(record: Mapping[str, object], mapping: ColumnMapping | None = None) -> tuple[Message, ...]:
    """Reads a record without its mark: by its mapped columns, else in the format that it is in.

    Raises:
        RecordError: as `parse_record`.
    """
    found = "columns" if mapping is not None else detect_format(record)
    if found is None:
        raise unknown_format(record)
    return parse_record(found, record, mapping)


def flat_columns(record: Mapping[str, object], mapping: ColumnMapping | None = None) -> ColumnMapping | None:
    """The columns of a record whose prompt is a text of its own, further columns of it included; None for other forms.

    Args:
        mapping: the columns where they were mapped by hand.
    """
    fmt: FormatName | None = "columns" if mapping is not None else detect_format(record)
    if fmt == "columns":
        return mapping or columns.detect(record)
    if fmt == "alpaca":
        prompt, response = "instruction", alpaca.response_key(record)
    elif fmt == "prompt-completion" and not isinstance(turns_in_text(record["prompt"]), list | tuple):
        prompt, response = "prompt", "completion"
    else:
        return None
    system = next((key for key in SYSTEM_KEYS if key in record), None)
    return ColumnMapping(prompt, response, system, part_names(record, prompt, response))


def read_fields(record: Mapping[str, object], mapping: ColumnMapping | None = None) -> tuple[str, ...]:
    """The fields that a record's conversation is read from; its mark, where it has one, is none of them.

    Args:
        mapping: its columns where they were mapped by hand.
    """
    if mapping is None:
        record = preference.unmarked(record)
    flat = flat_columns(record, mapping)
    if flat is not None:
        return (flat.prompt, flat.response, *flat.parts, *((flat.system,) if flat.system else ()))
    fmt = detect_format(record)
    system = tuple(key for key in SYSTEM_KEYS if key in record)
    if fmt == "preference":
        prompt = next((key for key in preference.PROMPT_KEYS if record.get(key)), "")
        return ("chosen", "rejected", *LIST_KEYS, prompt, *part_names(record, prompt, "chosen"), *system)
    if fmt in ("messages", "sharegpt", "chat-text"):
        talk = talk_of(record)
        return talk.roots if talk else ()
    if fmt == "prompt-completion":
        return ("prompt", "completion", *system)
    if fmt == "mt-bench":
        return ("turns", "choices" if "choices" in record else "reference")
    return ("text",) if fmt == "text" else ()
