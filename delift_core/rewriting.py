"""Changing the text of a row: in the record it came from, at the very place, so that everything else stays as found.

A record's texts are the strings in it that the conversation is made of, each under its path. What is written anew is
read again as any record is, so that a row can never be edited into one that could not have been loaded.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from json.decoder import scanstring  # type: ignore[attr-defined]

from delift_core.errors import DataError
from delift_core.formats import detect_format, parse_record
from delift_core.samples import ColumnMapping, FormatName, Message, Sample, hash_messages
from delift_core.sources.json_records import DECODER, WHITESPACE


@dataclass(frozen=True, slots=True)
class RecordText:
    """A string in a record: where it is (such as "conversations[1].value"), and what it says."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a pool's records are read: its format, and the columns of a table."""

    format: FormatName
    mapping: ColumnMapping | None = None


def record_texts(sample: Sample) -> tuple[RecordText, ...]:
    """The strings of a sample's record that its conversation is made of, in the order of the record."""
    return tuple(
        RecordText(path, text)
        for path, _, _, text in _strings(sample.raw)
        if text.strip() and any(text.strip() in message.content for message in sample.messages)
    )


def rewritten(sample: Sample, texts: Mapping[str, str], reading: Reading) -> Sample:
    """A sample with some of its record's strings replaced; its id, source and line stay.

    Args:
        texts: the new string under each path; other strings of the record stay as they are.

    Raises:
        DataError: there is no string under a path, or the record could no longer be used.
    """
    known = {path: (start, end) for path, start, end, _ in _strings(sample.raw)}
    raw = sample.raw
    for path in sorted(texts, key=lambda path: -known.get(path, (0, 0))[0]):  # from the end, so that places stay true
        if path not in known:
            raise DataError(f"line {sample.line} of {sample.source} has no text at {path!r}; open the row again")
        start, end = known[path]
        raw = raw[:start] + json.dumps(texts[path], ensure_ascii=sample.raw.isascii()) + raw[end:]
    return read_again(sample, raw, reading)


def read_again(sample: Sample, raw: str, reading: Reading) -> Sample:
    """A sample whose record is another text, read in the format that its own record was read in.

    Raises:
        DataError: the record cannot be used.
    """
    messages = _parse(raw, _reading_of(sample, reading))
    return replace(sample, raw=raw, messages=messages, content_hash=hash_messages(messages))


def _reading_of(sample: Sample, reading: Reading) -> Reading:
    """A file may mix formats: the one that gives this sample's conversation is the one it was read in."""
    found = detect_format(DECODER.decode(sample.raw))
    for candidate in (reading, *([Reading(found)] if found else [])):
        try:
            if _parse(sample.raw, candidate) == sample.messages:
                return candidate
        except DataError:
            continue
    raise DataError(f"line {sample.line} of {sample.source} cannot be edited: its record does not read as its row")


def _parse(raw: str, reading: Reading) -> tuple[Message, ...]:
    return parse_record(reading.format, DECODER.decode(raw), reading.mapping)


def _strings(raw: str) -> Iterator[tuple[str, int, int, str]]:
    """Path, start, end and value of every string value in a JSON text (not of keys); quotes lie within the span."""
    yield from _walk(raw, 0, "", [])


def _walk(raw: str, at: int, path: str, ends: list[int]) -> Iterator[tuple[str, int, int, str]]:
    """Goes through one value; its end is left in `ends`."""
    at = _skip(raw, at)
    if raw[at] == '"':
        text, end = scanstring(raw, at + 1)
        yield path, at, end, text
        ends.append(end)
    elif raw[at] in "{[":
        closing, index = "}" if raw[at] == "{" else "]", 0
        at = _skip(raw, at + 1)
        while raw[at] != closing:
            inner = f"{path}[{index}]"
            if closing == "}":
                key, at = scanstring(raw, at + 1)
                at = _skip(raw, at) + 1  # the colon
                inner = f"{path}.{key}" if path else key
            yield from _walk(raw, at, inner, ends)
            at = _skip(raw, ends.pop())
            if raw[at] == ",":
                at = _skip(raw, at + 1)
            index += 1
        ends.append(at + 1)
    else:
        ends.append(DECODER.raw_decode(raw, at)[1])


def _skip(raw: str, at: int) -> int:
    while at < len(raw) and raw[at] in WHITESPACE:
        at += 1
    return at
