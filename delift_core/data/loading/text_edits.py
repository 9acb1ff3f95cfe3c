"""Edits the texts of a row in its raw record; everything else in the record stays byte for byte.

An edited record is parsed again, so an edit never makes a row that could not have been loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from delift_core.data.formats.conversations import find_conversation
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.json_scanner import replace_texts, value_spans
from delift_core.data.loading.record_reader import RecordReader
from delift_core.errors import DataError
from delift_core.samples import Sample, hash_messages


@dataclass(frozen=True, slots=True)
class RecordText:
    """A string in a record, with its path such as "conversations[1].value"."""

    path: str
    text: str


def record_texts(sample: Sample) -> tuple[RecordText, ...]:
    """The strings in a sample's record that are part of its conversation, in order.

    A conversation that is one text (JSON in a cell, or a chat template) is a single string.
    """
    texts = [
        RecordText(one.path, one.text) for one in value_spans(sample.raw) if one.text is not None and one.text.strip()
    ]
    parts = tuple(one for one in texts if any(one.text.strip() in message.content for message in sample.messages))
    conversation = find_conversation(DECODER.decode(sample.raw))
    if conversation is None or conversation.is_list:
        return parts
    whole = tuple(one for one in texts if one.path == conversation.field)  # the turns are parts of this text
    return whole or parts


def edit_texts(sample: Sample, texts: Mapping[str, str], reader: RecordReader) -> Sample:
    """Replaces strings in a sample's record, by path; id, source and line stay.

    Raises:
        DataError: there is no string at a path, or the record could not be used any more.
    """
    known = {place.path: place for place in value_spans(sample.raw) if place.text is not None}
    for path in texts:
        if path not in known:
            raise DataError(f"line {sample.line} of {sample.source} has no text at {path!r}; open the row again")
    raw = replace_texts(sample.raw, {known[path]: text for path, text in texts.items()})
    return reparse(sample, raw, reader)


def reparse(sample: Sample, raw: str, reader: RecordReader) -> Sample:
    """A sample with another record.

    Args:
        reader: of the sample's data set.

    Raises:
        DataError: the record cannot be used.
    """
    try:
        same = reader.messages(DECODER.decode(sample.raw)) == sample.messages
    except DataError:
        same = False
    if not same:
        raise DataError(f"line {sample.line} of {sample.source} cannot be edited: its record does not read as its row")
    messages = reader.messages(DECODER.decode(raw))
    return replace(sample, raw=raw, messages=messages, content_hash=hash_messages(messages))
