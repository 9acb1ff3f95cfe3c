"""Converts one record to another format, and lists what the format cannot hold.

A converted record keeps the fields of turns (names, weights, thoughts, tool calls, content parts), tool definitions and
its other fields as far as the format has a place for them, and is read back as the same conversation, without what is
listed as lost.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from delift_core.data.formats import RecordError, detect_format, flat_columns, parse_record, read_fields, render_record
from delift_core.data.formats.base import (
    CALL_ID_KEYS,
    CALL_KEYS,
    LIST_KEYS,
    MORE_SYSTEM_KEYS,
    PAIR_KEYS,
    PART_SEPARATOR,
    TEXT_KEYS,
    THOUGHT_KEYS,
    turn_role,
)
from delift_core.data.formats.chat_records import openai_turn, sharegpt_turn
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.training_labels import is_definite_label, is_trained
from delift_core.data.formats.turn_spellings import parse_if_turns, standard_turns
from delift_core.data.formats.turn_structure import has_calls, tools_text
from delift_core.data.loading.json_scanner import DECODER, parse_int, to_strict_json, value_spans
from delift_core.samples import Conversation, ExportFormat, FormatName, Message, Sample, hash_conversation

LossKind = Literal[
    "tools",
    "calls",
    "call-ids",
    "thoughts",
    "turn-fields",
    "later-turns",
    "other-answer",
    "other-replies",
    "fields",
    "parts",
    "input",
    "text",
]
LOSS_DESCRIPTIONS: dict[LossKind, str] = {
    "tools": "tool definitions are left out",
    "calls": "tool calls are left out or become text",
    "call-ids": "ids of tool calls are left out",
    "thoughts": "thoughts are left out",
    "turn-fields": "fields of turns (name, weight…) are left out",
    "later-turns": "turns after the scored answer are left out",
    "other-answer": "the answer that was not chosen is left out",
    "other-replies": "replies of the thread that were not read are left out",
    "fields": "fields that another format or a trainer would read are left out",
    "parts": "content in parts becomes one text",
    "input": "further columns of the prompt (input, context…) are joined to it",
    "text": "the text is split into an opening and its continuation",
}
# Other fields with these names would be read as part of the record's format.
RESERVED_FIELDS = frozenset(
    (*LIST_KEYS, "prompt", "completion", "instruction", "input", "output", "context", "response", "system")
    + ("system_prompt", "history", "text", "chosen", "rejected", "label", "kto_tag", "tools")
)
_OPENAI_ROLES = ("system", "developer", "user", "assistant", "tool")
_SHAREGPT_ROLES = ("system", "human", "gpt", "observation")
_TURN_KEYS = ("role", "from", "content", "value")
_STRUCTURE_KEYS = frozenset((*CALL_KEYS, *CALL_ID_KEYS, *THOUGHT_KEYS))


@dataclass(frozen=True, slots=True)
class ConvertedRecord:
    """A converted record.

    Attributes:
        line: of JSON, without a newline.
        losses: what the format cannot hold.
        content_hash: SHA-256 (hex) of the conversation as it is written, scored whole; "" if it is the sample's.
    """

    line: str
    losses: tuple[LossKind, ...]
    content_hash: str = ""


def convert_sample(sample: Sample, format: ExportFormat) -> ConvertedRecord:
    """Converts a sample; a record in the format already stays unchanged, with null for NaN and Infinity.

    Raises:
        RecordError: the format cannot hold the conversation.
    """
    sample = replace(sample, raw=to_strict_json(sample.raw))
    if format == "same":
        return ConvertedRecord(sample.raw, ())
    plain = render_record(format, sample.conversation)
    original = DECODER.decode(sample.raw)
    if _is_in_format(original, sample, format, plain):
        return ConvertedRecord(sample.raw, ())
    lines = (_line(record, others, sample, original) for record, others in _candidates(original, sample, format, plain))
    # Formats with a field for the system text drop a blank one, and some hold less of the conversation.
    expected = _read(plain, format, sample)
    line = next((line for line in lines if _reads_as(line, expected, sample, format)), None)
    if line is None:
        line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    written = DECODER.decode(line)
    found = dict.fromkeys((*_structure_losses(sample, expected), *_losses(original, sample, format, written)))
    body = sample.messages[1:] if sample.messages[0] == Message("system", "") else sample.messages
    same = expected.messages in (sample.messages, body) and expected.tools == sample.tools
    return ConvertedRecord(line, tuple(found), "" if same else hash_conversation(expected))


def _read(record: object, format: FormatName, sample: Sample) -> Conversation:
    """The conversation of a record; its texts alone if the sample has no more: an earlier version may have read it."""
    return parse_record(format, record, text_only=_is_text(sample))


def _is_text(sample: Sample) -> bool:
    return not sample.tools and not any(one.thoughts or one.calls or one.call_id or one.name for one in sample.messages)


def _structure_losses(sample: Sample, written: Conversation) -> Iterator[LossKind]:
    """What is lost of the thoughts, tool calls and tools that are part of the conversation."""
    offset = len(sample.messages) - len(written.messages)
    for before, after in zip(sample.messages[offset:], written.messages, strict=True):
        if before.thoughts != after.thoughts:
            yield "thoughts"
        if [call.name for call in before.calls] != [call.name for call in after.calls]:
            yield "calls"
        elif any(one.id != other.id for one, other in zip(before.calls, after.calls, strict=True)):
            yield "call-ids"
    if sample.tools != written.tools:
        yield "tools"


def _line(record: Mapping[str, object], others: Sequence[str], sample: Sample, original: object) -> str:
    """A record as JSON, with other fields appended byte for byte from the original record."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return ""
    if not others or not isinstance(original, Mapping):
        return text
    spans = {place.path: sample.raw[place.start : place.end] for place in value_spans(sample.raw)}
    return f"{text[:-1]}{''.join(f', {json.dumps(key, ensure_ascii=False)}: {spans[key]}' for key in others)}}}"


def _reads_as(line: str, expected: Conversation, sample: Sample, format: FormatName) -> bool:
    try:
        record = json.loads(line, parse_constant=_refuse_constant, parse_int=parse_int)
        return detect_format(record) == format and _read(record, format, sample) == expected
    except (RecordError, ValueError):
        return False


def _refuse_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are not JSON


_Candidate = tuple[dict[str, object], Sequence[str]]


def _candidates(original: object, sample: Sample, format: FormatName, plain: dict[str, object]) -> Iterator[_Candidate]:
    """The record with all that the format can hold, then with less, in case it is read differently."""
    turns, others = _with_original_turns(original, sample, format, plain), _other_fields(original, sample)
    tools = _tools(original, sample, format)
    yield {**turns, **tools}, others
    yield {**turns, **tools}, ()
    yield turns, ()
    yield plain, others


def _with_original_turns(
    original: object, sample: Sample, format: FormatName, plain: dict[str, object]
) -> dict[str, object]:
    own = original_turns(original, sample)
    if own is None or format == "alpaca":
        return plain
    as_given = _is_text(sample) or detect_format(original) == format
    spelt: list[object] = [
        _convert_turn(turn, message, format, as_given) for turn, message in zip(own, sample.messages, strict=True)
    ]
    if format == "prompt-completion":
        return {"prompt": spelt[:-1], "completion": spelt[-1:]}
    return {"messages" if format == "messages" else "conversations": spelt}


def original_turns(original: object, sample: Sample) -> list[Mapping[str, object]] | None:
    """The raw turn of each message, {} for a system text of its own field; None if they do not correspond."""
    turns = _raw_turns(original)
    if not turns or not all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in turns):
        return None
    spelt = [turn for turn in turns if isinstance(turn, Mapping)]
    beside = len(sample.messages) > 0 and sample.messages[0].role == "system" and turn_role(spelt[0]) != "system"
    own: list[Mapping[str, object]] = [*([{}] if beside else []), *spelt][: len(sample.messages)]
    fits = len(own) == len(sample.messages) and all(
        not turn or turn_role(turn) == message.role for turn, message in zip(own, sample.messages, strict=True)
    )
    return own if fits else None


def _raw_turns(original: object) -> Sequence[object] | None:
    """The raw turns of a record, in role/content or from/value spelling if possible; None if it has no turns."""
    conversation = find_conversation(original)
    if conversation is not None:
        return conversation.role_content_turns() or [turn for _, turn in conversation.turns]
    if not isinstance(original, Mapping):
        return None
    sides = [parse_if_turns(original.get(key)) for key in ("prompt", "completion")]
    turns = [turn for side in sides if isinstance(side, list) for turn in side]
    spelt = [one for turn in turns for one in (standard_turns(turn) if isinstance(turn, Mapping) else [turn])]
    return spelt if all(isinstance(side, list) for side in sides) else None


def _convert_turn(
    turn: Mapping[str, object], message: Message, format: FormatName, as_given: bool
) -> dict[str, object]:
    """A turn in the format's spelling, with its other fields.

    Args:
        as_given: whether thoughts and calls keep the spelling of the record, which is in the format.
    """
    word = str(turn.get("role") or turn.get("from"))
    others = {key: value for key, value in turn.items() if key not in _TURN_KEYS}
    if not as_given:
        others = {key: value for key, value in others.items() if key.lower() not in _STRUCTURE_KEYS}
    if format == "sharegpt":
        for key in CALL_KEYS:
            others.pop(key, None)  # they are part of the text
        own = sharegpt_turn(message)
        kept = {"from": word} if word in _SHAREGPT_ROLES and not message.only_calls else {}
        return {**({"from": own["from"], "value": own["value"]} if as_given else own), **kept, **others}
    own = openai_turn(message)
    own["role"] = word if word in _OPENAI_ROLES else message.role
    text = next((key for key in TEXT_KEYS if key in turn), None)
    calls = has_calls(turn)
    if text and (calls or isinstance(turn[text], list)):
        own["content"] = turn[text]
    elif calls:
        del own["content"]
    if as_given:
        own = {key: value for key, value in own.items() if key in _TURN_KEYS}
    return {**own, **others}


def _tools(original: object, sample: Sample, format: FormatName) -> dict[str, object]:
    """Tool definitions: JSON text for ShareGPT, as LLaMA-Factory reads it, else a list; Alpaca cannot hold them."""
    conversation = find_conversation(original)
    given = original.get("tools") if isinstance(original, Mapping) else None
    given = given or (conversation.tools if conversation else None)
    try:
        tools = sample.tools or tools_text(given, "tools")  # an earlier version did not read them
    except RecordError:
        return {}
    if not tools or format == "alpaca":
        return {}
    if format == "sharegpt":
        return {"tools": given if isinstance(given, str) else tools}
    return {"tools": DECODER.decode(tools) if isinstance(given, str) else given}


def _other_fields(original: object, sample: Sample) -> tuple[str, ...]:
    if not isinstance(original, Mapping):
        return ()
    read = {*RESERVED_FIELDS, *read_fields(original)}
    others = (key for key in original if key not in read and not is_definite_label(key))
    return tuple(key for key in others if not _is_in_conversation(key, original, sample))


def _is_in_conversation(key: str, original: Mapping[str, object], sample: Sample) -> bool:
    """Whether a field is part of the conversation."""
    value = original[key]
    if not isinstance(value, str):
        return flat_columns(original) is not None and key in read_fields(original)
    contents = [message.content for message in sample.messages]
    gap = PART_SEPARATOR
    return value in contents or (bool(value) and any(f"{gap}{value}{gap}" in f"{gap}{one}{gap}" for one in contents))


def _losses(original: object, sample: Sample, format: FormatName, written: Mapping[str, object]) -> Iterator[LossKind]:
    own, turns = _raw_turns(original), _raw_turns(written)
    if own is not None:
        yield from _turn_losses(own, turns or (), sample)
    if not isinstance(original, Mapping):
        return
    if original.get("tools") and "tools" not in written:
        yield "tools"
    if "chosen" in original and "rejected" in original:
        yield "other-answer"
    flat = flat_columns(original)
    if flat is not None and any(original.get(name) and written.get(name) != original[name] for name in flat.parts):
        yield "input"
    if detect_format(original) == "text":
        yield "text"
    conversation = find_conversation(original)
    if conversation is not None and conversation.other_messages:
        yield "other-replies"
    nested = conversation is not None and conversation.field.startswith(f"{conversation.key}.")
    inner = original.get(conversation.key) if conversation is not None and nested else None
    beside = isinstance(inner, Mapping) and not set(inner) <= {*LIST_KEYS, *MORE_SYSTEM_KEYS, "tools"}
    if beside or any(_is_lost(key, original, sample, written) for key in original):
        yield "fields"


def _turn_losses(own: Sequence[object], written: Sequence[object], sample: Sample) -> Iterator[LossKind]:
    spelt = [turn for turn in own if isinstance(turn, Mapping)]
    answers = (at for at, turn in enumerate(spelt) if turn_role(turn) == "assistant" and is_trained(turn))
    last = max(answers, default=len(spelt) - 1)
    paired = any(turn_role(turn) is None for turn in spelt)
    if not paired and last + 1 < len(spelt):
        yield "later-turns"
    kept = [turn for turn in written if isinstance(turn, Mapping)]
    offset = len(kept) - (last + 1)
    for at, turn in enumerate(spelt[: last + 1]):
        now = kept[at + offset] if 0 <= at + offset < len(kept) and not paired else {}
        if _is_text(sample) and any(turn.get(key) and now.get(key) != turn[key] for key in CALL_KEYS):
            yield "calls"
        if any(isinstance(turn.get(key), list) and now.get("content") != turn[key] for key in TEXT_KEYS):
            yield "parts"
        known = (*_TURN_KEYS, *CALL_KEYS, *PAIR_KEYS, "assistant", *(() if _is_text(sample) else _STRUCTURE_KEYS))
        others = (key for key in turn if key not in known)
        if any(turn[key] is not None and now.get(key) != turn[key] for key in others):
            yield "turn-fields"


def _is_lost(key: str, original: Mapping[str, object], sample: Sample, written: Mapping[str, object]) -> bool:
    value = original[key]
    if (key in written and written[key] == value) or value in (None, [], {}):
        return False
    if isinstance(value, str) and not value.strip():
        return False
    if key in ("tools", "chosen", "rejected"):  # these have kinds of their own
        return False
    return key not in read_fields(original) and not _is_in_conversation(key, original, sample)


def _is_in_format(original: object, sample: Sample, format: FormatName, rendered: Mapping[str, object]) -> bool:
    """Whether the original record is in the format, with the format's own keys and spelling of turns."""
    if not isinstance(original, dict) or detect_format(original) != format or not rendered.keys() <= original.keys():
        return False
    if any(original[key] != value for key, value in rendered.items() if not isinstance(value, str)):
        return False
    read = _read(original, format, sample)  # a prompt may be split between fields
    return (read.messages, read.tools) == (sample.messages, sample.tools)


@dataclass(frozen=True, slots=True)
class Loss:
    """A kind of loss, the number of rows, and the first of them."""

    kind: LossKind
    rows: int
    first: Sample

    def __str__(self) -> str:
        return f"in {self.rows:,} rows {LOSS_DESCRIPTIONS[self.kind]}; the first is {self.first.place}"


def convert_each(
    samples: Iterable[Sample], format: ExportFormat
) -> Iterator[tuple[Sample, ConvertedRecord | RecordError]]:
    """Yields each sample with its record in a format, or with the reason why the format cannot hold it."""
    for sample in samples:
        try:
            yield sample, convert_sample(sample, format)
        except RecordError as error:
            yield sample, error


def losses(converted: Iterable[tuple[Sample, ConvertedRecord | RecordError]]) -> tuple[Loss, ...]:
    """What is lost by a conversion, most frequent first; rows that cannot be converted are not counted."""
    by_kind: dict[LossKind, list[Sample]] = {}
    for sample, record in converted:
        for kind in record.losses if isinstance(record, ConvertedRecord) else ():
            by_kind.setdefault(kind, []).append(sample)
    return tuple(
        Loss(kind, len(rows), rows[0]) for kind, rows in sorted(by_kind.items(), key=lambda item: -len(item[1]))
    )
