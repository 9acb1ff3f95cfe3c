"""One record in another format: what the format can hold is kept, and what it cannot is named.

A conversation written anew keeps the turns as they were spelt where the format spells turns (names, weights, tool
calls, content in parts), tool definitions, and the record's other keys. What is written is read back as the same
conversation, or only the conversation is written. Knows one sample; knows nothing of files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from delift_core.data.formats import RecordError, detect_format, flat_columns, parse_record, read_fields, render_record
from delift_core.data.formats.base import PART_SEPARATOR
from delift_core.data.formats.chat_records import SHAREGPT_ROLES
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.tool_calls import has_calls, response_text
from delift_core.data.formats.training_labels import is_definite_label, is_trained
from delift_core.data.formats.turn_spellings import parse_if_turns, standard_turns
from delift_core.data.formats.turns import is_only_calls
from delift_core.data.formats.vocabulary import LIST_KEYS, MORE_SYSTEM_KEYS, ROLES
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.json_scanner import parse_int, to_strict_json, value_spans
from delift_core.samples import FormatName, Message, Sample

LossKind = Literal[
    "tools", "calls", "turn-fields", "later-turns", "other-answer", "other-replies", "fields", "parts", "input", "text"
]
LOSS_WORDS: dict[LossKind, str] = {
    "tools": "tool definitions are left out",
    "calls": "tool calls are left out or become text",
    "turn-fields": "fields of turns (name, weight, reasoning…) are left out",
    "later-turns": "turns after the scored answer are left out",
    "other-answer": "the answer that was not chosen is left out",
    "other-replies": "replies of the thread that were not read are left out",
    "fields": "fields that another format or a trainer would read are left out",
    "parts": "content in parts becomes one text",
    "input": "further columns of the prompt (input, context…) are joined to it",
    "text": "the text is split into an opening and its continuation",
}
# A trainer or another reader would take these for the record itself.
RESERVED = frozenset(
    (*LIST_KEYS, "prompt", "completion", "instruction", "input", "output", "context", "response", "system")
    + ("system_prompt", "history", "text", "chosen", "rejected", "label", "kto_tag", "tools")
)
_OPENAI_ROLES = ("system", "developer", "user", "assistant", "tool")
_SHAREGPT_ROLES = ("system", "human", "gpt", "observation", "function_call")
_SPELLING = ("role", "from", "content", "value")


@dataclass(frozen=True, slots=True)
class Converted:
    """A record in a format, as one line of JSON without its newline, and what it lacks of the record as found."""

    line: str
    losses: tuple[LossKind, ...]


def converted(sample: Sample, format: FormatName) -> Converted:
    """Writes a sample in a format; a record that is in it already stays as found, NaN and Infinity aside (null).

    Raises:
        RecordError: the format cannot hold the conversation.
    """
    sample = replace(sample, raw=to_strict_json(sample.raw))
    plain = render_record(format, sample.messages)
    found = DECODER.decode(sample.raw)
    if _stands_already(found, sample, format, plain):
        return Converted(sample.raw, ())
    lines = (_line(record, others, sample, found) for record, others in _fuller(found, sample, format, plain))
    line = next((line for line in lines if _reads_alike(line, sample, format)), None)
    if line is None:  # a blank system text goes where it has a field of its own: as near as the format comes
        line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    return Converted(line, tuple(dict.fromkeys(_losses(found, sample, format, DECODER.decode(line)))))


def _line(record: Mapping[str, object], others: Sequence[str], sample: Sample, found: object) -> str:
    """A record with other fields behind it, those as they stand in the record as found, digit for digit."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return ""
    if not others or not isinstance(found, Mapping):
        return text
    spans = {place.path: sample.raw[place.start : place.end] for place in value_spans(sample.raw)}
    return f"{text[:-1]}{''.join(f', {json.dumps(key, ensure_ascii=False)}: {spans[key]}' for key in others)}}}"


def _reads_alike(line: str, sample: Sample, format: FormatName) -> bool:
    try:
        record = json.loads(line, parse_constant=_no_constant, parse_int=parse_int)
        return detect_format(record) == format and parse_record(format, record) == sample.messages
    except (RecordError, ValueError):
        return False


def _no_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are not JSON


_Candidate = tuple[dict[str, object], Sequence[str]]


def _fuller(found: object, sample: Sample, format: FormatName, plain: dict[str, object]) -> Iterator[_Candidate]:
    """The record with all that the format can hold, then with less, should that not be read as the same."""
    turns, others = _with_own_turns(found, sample, format, plain), _other_fields(found, sample)
    yield {**turns, **_tools(found, format)}, others
    yield {**turns, **_tools(found, format)}, ()
    yield turns, ()
    yield plain, others


def _with_own_turns(found: object, sample: Sample, format: FormatName, plain: dict[str, object]) -> dict[str, object]:
    own = own_turns(found, sample)
    if own is None or format == "alpaca":
        return plain
    spelt: list[object] = [_spelt(turn, message, format) for turn, message in zip(own, sample.messages, strict=True)]
    if format == "prompt-completion":
        return {"prompt": spelt[:-1], "completion": spelt[-1:]}
    return {"messages" if format == "messages" else "conversations": spelt}


def own_turns(found: object, sample: Sample) -> list[Mapping[str, object]] | None:
    """The turns of a record as spelt, one for each message (an empty one for a system text beside them)."""
    turns = _turn_list(found)
    if not turns or not all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in turns):
        return None
    spelt = [turn for turn in turns if isinstance(turn, Mapping)]
    beside = len(sample.messages) > 0 and sample.messages[0].role == "system" and _role(spelt[0]) != "system"
    own: list[Mapping[str, object]] = [*([{}] if beside else []), *spelt][: len(sample.messages)]
    fits = len(own) == len(sample.messages) and all(
        not turn or _role(turn) == message.role for turn, message in zip(own, sample.messages, strict=True)
    )
    return own if fits else None


def _turn_list(found: object) -> Sequence[object] | None:
    """The turns that a record holds, spelt as trainers read them where they are no pairs; None where it holds none."""
    conversation = find_conversation(found)
    if conversation is not None:
        return conversation.role_content_turns() or [turn for _, turn in conversation.turns]
    if not isinstance(found, Mapping):
        return None
    sides = [parse_if_turns(found.get(key)) for key in ("prompt", "completion")]
    turns = [turn for side in sides if isinstance(side, list) for turn in side]
    spelt = [one for turn in turns for one in (standard_turns(turn) if isinstance(turn, Mapping) else [turn])]
    return spelt if all(isinstance(side, list) for side in sides) else None


def _role(turn: object) -> str | None:
    word = (turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
    return ROLES.get(word.strip().lower()) if isinstance(word, str) else None


def _spelt(turn: Mapping[str, object], message: Message, format: FormatName) -> dict[str, object]:
    """A turn in the format's spelling, with its other fields behind."""
    word = str(turn.get("role") or turn.get("from"))
    others = {key: value for key, value in turn.items() if key not in _SPELLING}
    if format == "sharegpt":
        for key in ("tool_calls", "function_call"):
            others.pop(key, None)  # they stand in the text
        called = is_only_calls(turn) and message.content == response_text(turn)
        role = "function_call" if called else word if word in _SHAREGPT_ROLES else SHAREGPT_ROLES[message.role]
        return {"from": role, "value": message.content, **others}
    role = word if word in _OPENAI_ROLES else message.role
    text = next((key for key in ("content", "value") if key in turn), None)
    calls = has_calls(turn)
    content = turn[text] if text and (calls or isinstance(turn[text], list)) else message.content
    return {"role": role, **({} if calls and text is None else {"content": content}), **others}


def _tools(found: object, format: FormatName) -> dict[str, object]:
    """Tool definitions: text for ShareGPT, which LLaMA-Factory reads, a list elsewhere; Alpaca has no place."""
    conversation = find_conversation(found)
    tools = found.get("tools") if isinstance(found, Mapping) else None
    tools = tools or (conversation.tools if conversation else None)
    if not tools or format == "alpaca":
        return {}
    if format == "sharegpt":
        return {"tools": tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)}
    if isinstance(tools, str):
        try:
            listed = DECODER.decode(tools)
        except (ValueError, RecursionError):
            listed = None
        return {"tools": listed if isinstance(listed, list) else tools}
    return {"tools": tools}


def _other_fields(found: object, sample: Sample) -> tuple[str, ...]:
    if not isinstance(found, Mapping):
        return ()
    read = {*RESERVED, *read_fields(found)}
    others = (key for key in found if key not in read and not is_definite_label(key))
    return tuple(key for key in others if not _is_text_of(key, found, sample))


def _is_text_of(key: str, found: Mapping[str, object], sample: Sample) -> bool:
    """Whether a field is a part of the conversation, as the columns of a table are."""
    value = found[key]
    if not isinstance(value, str):
        return flat_columns(found) is not None and key in read_fields(found)
    contents = [message.content for message in sample.messages]
    gap = PART_SEPARATOR
    return value in contents or (bool(value) and any(f"{gap}{value}{gap}" in f"{gap}{one}{gap}" for one in contents))


def _losses(found: object, sample: Sample, format: FormatName, written: Mapping[str, object]) -> Iterator[LossKind]:
    own, turns = _turn_list(found), _turn_list(written)
    if own is not None:
        yield from _losses_of_turns(own, turns or (), sample)
    if not isinstance(found, Mapping):
        return
    if found.get("tools") and "tools" not in written:
        yield "tools"
    if "chosen" in found and "rejected" in found:
        yield "other-answer"
    flat = flat_columns(found)
    if flat is not None and any(found.get(name) and written.get(name) != found[name] for name in flat.parts):
        yield "input"
    if detect_format(found) == "text":
        yield "text"
    conversation = find_conversation(found)
    if conversation is not None and conversation.other_messages:
        yield "other-replies"
    nested = conversation is not None and conversation.field.startswith(f"{conversation.key}.")
    inner = found.get(conversation.key) if conversation is not None and nested else None
    beside = isinstance(inner, Mapping) and not set(inner) <= {*LIST_KEYS, *MORE_SYSTEM_KEYS, "tools"}
    if beside or any(_is_lost(key, found, sample, written) for key in found):
        yield "fields"


def _losses_of_turns(own: Sequence[object], written: Sequence[object], sample: Sample) -> Iterator[LossKind]:
    spelt = [turn for turn in own if isinstance(turn, Mapping)]
    answers = (at for at, turn in enumerate(spelt) if _role(turn) == "assistant" and is_trained(turn))
    last = max(answers, default=len(spelt) - 1)
    paired = any(_role(turn) is None for turn in spelt)
    if not paired and last + 1 < len(spelt):
        yield "later-turns"
    kept = [turn for turn in written if isinstance(turn, Mapping)]
    offset = len(kept) - (last + 1)
    for at, turn in enumerate(spelt[: last + 1]):
        now = kept[at + offset] if 0 <= at + offset < len(kept) and not paired else {}
        if any(turn.get(key) and now.get(key) != turn[key] for key in ("tool_calls", "function_call")):
            yield "calls"
        if any(isinstance(turn.get(key), list) and now.get("content") != turn[key] for key in ("content", "value")):
            yield "parts"
        others = (
            key for key in turn if key not in (*_SPELLING, "tool_calls", "function_call", "human", "user", "assistant")
        )
        if any(turn[key] is not None and now.get(key) != turn[key] for key in others):
            yield "turn-fields"


def _is_lost(key: str, found: Mapping[str, object], sample: Sample, written: Mapping[str, object]) -> bool:
    value = found[key]
    if (key in written and written[key] == value) or value in (None, [], {}):
        return False
    if isinstance(value, str) and not value.strip():
        return False
    if key in ("tools", "chosen", "rejected"):  # these have kinds of their own
        return False
    return key not in read_fields(found) and not _is_text_of(key, found, sample)


def _stands_already(found: object, sample: Sample, format: FormatName, rendered: Mapping[str, object]) -> bool:
    """Whether the record as found is this conversation in the format's own keys, turns spelt as we would."""
    if not isinstance(found, dict) or detect_format(found) != format or not rendered.keys() <= found.keys():
        return False
    if any(found[key] != value for key, value in rendered.items() if not isinstance(value, str)):
        return False
    return parse_record(format, found) == sample.messages  # a text may be split otherwise, as Alpaca's input is


@dataclass(frozen=True, slots=True)
class Loss:
    """What a format cannot hold of some rows: how many, and the first of them."""

    kind: LossKind
    rows: int
    first: Sample

    def __str__(self) -> str:
        return f"in {self.rows:,} rows {LOSS_WORDS[self.kind]}; the first is {self.first.place}"


def losses(samples: Sequence[Sample], format: FormatName | Literal["same"]) -> tuple[Loss, ...]:
    """What writing samples in a format leaves behind, most rows first; rows it cannot hold at all are not counted."""
    if format == "same":
        return ()
    found: dict[LossKind, list[Sample]] = {}
    for sample in samples:
        try:
            kinds = converted(sample, format).losses
        except RecordError:
            continue
        for kind in kinds:
            found.setdefault(kind, []).append(sample)
    return tuple(Loss(kind, len(rows), rows[0]) for kind, rows in sorted(found.items(), key=lambda item: -len(item[1])))
