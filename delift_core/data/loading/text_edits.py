"""Changing the text of a row: in the record it came from, at the very place, so that everything else stays as found.

A record's texts are the strings in it that the conversation is made of, each under its path. What is written anew is
read again as any record is, so that a row can never be edited into one that could not have been loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from delift_core.data.formats import detect_format, parse_record
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.json_scanner import places, put_texts
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, FormatName, Message, Sample, hash_messages


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
    """The strings of a sample's record that its conversation is made of, in the order of the record.

    A conversation that stands in one text, as JSON or between the markers of a chat template, is that one string.
    """
    texts = [RecordText(one.path, one.text) for one in places(sample.raw) if one.text is not None and one.text.strip()]
    parts = tuple(one for one in texts if any(one.text.strip() in message.content for message in sample.messages))
    conversation = find_conversation(DECODER.decode(sample.raw))
    if conversation is None or conversation.is_list:
        return parts
    whole = tuple(one for one in texts if one.path == conversation.field)  # the turns are parts of this text
    return whole or parts


def rewritten(sample: Sample, texts: Mapping[str, str], reading: Reading) -> Sample:
    """A sample with some of its record's strings replaced; its id, source and line stay.

    Args:
        texts: the new string under each path; other strings of the record stay as they are.

    Raises:
        DataError: there is no string under a path, or the record could no longer be used.
    """
    known = {place.path: place for place in places(sample.raw) if place.text is not None}
    for path in texts:
        if path not in known:
            raise DataError(f"line {sample.line} of {sample.source} has no text at {path!r}; open the row again")
    raw = put_texts(sample.raw, {known[path]: text for path, text in texts.items()})
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
