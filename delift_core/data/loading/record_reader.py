"""Reads decoded records: chooses the format and the columns of a source by its first records, then parses each record.

Also edits the texts of a row in its raw record: everything else in it stays byte for byte, and the edited record is
parsed again, so that an edit never makes a row that could not have been loaded. Knows formats; knows nothing of files.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from delift_core.data.formats import RecordError, detect_columns, detect_format, parse_record, unknown_format_error
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.preference import Answer, without_label
from delift_core.data.loading.dataset import Dataset, ReadOptions
from delift_core.data.loading.json_scanner import DECODER, replace_texts, value_spans
from delift_core.data.loading.raw_records import RawRecord, problem
from delift_core.errors import DataError
from delift_core.samples import (
    ColumnMapping,
    Conversation,
    FormatName,
    Message,
    ParsedRecord,
    Problem,
    Sample,
    ScoredPart,
    Turns,
    has_thoughts,
    hash_conversation,
    inline_thoughts,
    json_or_text,
)

PREFERENCE_FORMATS: dict[Answer, FormatName] = {"chosen": "preference-chosen", "rejected": "preference-rejected"}
DETECT_RECORDS = 200
_TRAINED_AT_EVERY_TURN = ("messages", "sharegpt", "chat-text", "alpaca", "mt-bench")

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Parses the records of a source.

    Attributes:
        format: the most frequent format of the source, None if no record is in a known format.
        mapping: the columns, for "columns".
        detects_each: whether each record is read in its own format, and `format` is the fallback.
        answer: the answers to learn.
        turns: which assistant turns are rows.
        scored, text_only: see `ReadOptions`.
    """

    format: FormatName | None
    mapping: ColumnMapping | None
    detects_each: bool
    answer: Answer | None = None
    turns: Turns = "last"
    scored: ScoredPart = "turn"
    text_only: bool = False

    def conversation(self, value: object) -> Conversation:
        """The conversation of a decoded record.

        Raises:
            RecordError: the record cannot be used.
        """
        format, value = self._format_of(value), _unlabelled(value, self.answer)
        if format is None:
            raise unknown_format_error(value)
        found = parse_record(format, value, self._mapping_of(value), text_only=self.text_only)
        return found if self.scored == "turn" else replace(found, scored=scored_part(found.messages, self.scored))

    def read(self, record: RawRecord) -> list[ParsedRecord] | Problem:
        """The rows of a raw record, several if every turn is a row; or why it cannot be used."""
        try:
            found = self.conversation(record.value)
        except RecordError as error:
            return problem(error.kind, record.source, record.line, error.field, error.message, error.remedy, record.raw)
        whole = ParsedRecord(found.messages, record.raw, record.source, record.line, found.tools, found.scored)
        every = self.turns == "every" and self._format_of(record.value) in _TRAINED_AT_EVERY_TURN
        return _split_answers(whole, self.scored) if every else [whole]

    def _format_of(self, value: object) -> FormatName | None:
        own = detect_format(_unlabelled(value, self.answer)) if self.detects_each else None
        if own is None:
            # A record with a text that is not plain text is of another kind, not of the source's format.
            return None if self.detects_each and self.format in ("text", "chat-text") else self.format
        if own == "preference" and self.answer in PREFERENCE_FORMATS:
            return PREFERENCE_FORMATS[self.answer]
        names = set(field_names(value))
        # An Alpaca record that lost its instruction has an input and an output, which look like a pair of columns.
        lost_instruction = own == "columns" and "output" in names and not {"prompt", "question"} & names
        return "alpaca" if lost_instruction and self.format == "alpaca" else own

    def _mapping_of(self, value: object) -> ColumnMapping | None:
        """The source's columns, unless this record has another known pair of columns, or further parts."""
        mapping = self.mapping
        if mapping is None or not self.detects_each:
            return mapping
        own = detect_columns(value)
        fits = {mapping.prompt, mapping.response} <= set(field_names(value))
        same = own is not None and (own.prompt, own.response) == (mapping.prompt, mapping.response)
        return mapping if fits and not same else own or mapping


@dataclass(frozen=True, slots=True)
class RecordText:
    """A string in a record, with its path such as "conversations[1].value"."""

    path: str
    text: str


def choose_reader(records: Iterable[RawRecord | Problem], options: ReadOptions) -> RecordReader:
    """The reader for a source, by its first records."""
    mapping, answer = options.mapping, options.answer
    how = (options.turns, options.scored, options.text_only)
    if mapping is not None:
        return RecordReader("columns", mapping, False, None, *how)
    values = [_unlabelled(record.value, answer) for record in records if isinstance(record, RawRecord)]
    formats: list[FormatName | None] = [detect_format(value) for value in values]
    majority: FormatName | None = most_frequent(formats)
    if majority == "preference" and answer in PREFERENCE_FORMATS:
        majority = PREFERENCE_FORMATS[answer]
    if majority == "columns":
        in_columns = (value for value, format in zip(values, formats, strict=True) if format == "columns")
        mapping = most_frequent(map(detect_columns, in_columns))
    return RecordReader(majority, mapping, True, answer, *how)


def most_frequent(items: Iterable[Item | None]) -> Item | None:
    """The most frequent item that is not None, ties to the first; None if there is none."""
    counts = Counter(item for item in items if item is not None)
    return counts.most_common(1)[0][0] if counts else None


def _unlabelled(value: object, answer: Answer | None) -> object:
    """A record without its label if every answer is read."""
    return without_label(value) if answer == "all" and isinstance(value, Mapping) else value


def possible_options(format: FormatName, mapping: ColumnMapping | None, turns: Turns) -> tuple[ReadOptions, ...]:
    """How a data set may have been read whose origin does not record it, most likely first."""
    answers: tuple[Answer | None, ...] = tuple(one for one, name in PREFERENCE_FORMATS.items() if name == format)
    tried = product((None, mapping) if mapping else (None,), answers or (None, "all"))
    return tuple(ReadOptions(columns, answer, turns, text_only=True) for columns, answer in tried)


def reader_of(dataset: Dataset) -> RecordReader:
    """The reader of a data set's records; found by its first rows if its origin does not record the options."""
    options, mapping = dataset.origin.options, dataset.mapping
    if options is not None:
        return _reader(dataset, options)
    readers = [_reader(dataset, one) for one in possible_options(dataset.format, mapping, dataset.turns)]
    if mapping is not None and detect_format(DECODER.decode(dataset.samples[0].raw)) != "columns":
        readers.reverse()  # the columns were mapped by hand
    return next((reader for reader in readers if _reproduces(dataset, reader)), readers[-1])


def _reader(dataset: Dataset, options: ReadOptions) -> RecordReader:
    how = (options.turns, options.scored, options.text_only)
    if options.mapping is not None:
        return RecordReader("columns", options.mapping, False, None, *how)
    return RecordReader(dataset.format, dataset.mapping, True, options.answer, *how)


def _reproduces(dataset: Dataset, reader: RecordReader) -> bool:
    """Whether a reader gives the data set's first rows again, comparing the last (whole) row of each record."""
    whole = {(one.source, one.line): one for one in dataset.samples[:DETECT_RECORDS]}
    for one in dataset.samples[DETECT_RECORDS : DETECT_RECORDS + 1]:
        whole.pop((one.source, one.line), None)  # its last row is not among the first rows
    try:
        return all(reader.conversation(DECODER.decode(one.raw)) == one.conversation for one in whole.values())
    except RecordError:
        return False


def scored_part(messages: Sequence[Message], wanted: ScoredPart) -> ScoredPart:
    """The part of the last turn that is scored if this one is wanted: the whole turn if there are no thoughts in it.

    Raises:
        RecordError: there are no thoughts to score, or there is no answer after them.
    """
    if wanted == "turn":
        return "turn"
    response = messages[-1]
    inline = inline_thoughts(response.content)
    if wanted == "thoughts" and not has_thoughts(response):
        remedy = "Score the whole turn or the answer, or leave the row out."
        raise RecordError("no-thoughts", "", "the row has no thoughts to score", remedy)
    if wanted == "answer" and inline is not None and not response.content[inline.answer :].strip():
        remedy = "Score the whole turn or the thoughts, or leave the row out."
        raise RecordError("empty-response", "", "there is no answer after the thoughts", remedy)
    return wanted if has_thoughts(response) else "turn"


def _split_answers(record: ParsedRecord, scored: ScoredPart) -> list[ParsedRecord]:
    """A record for each trained assistant turn that can be scored, given all turns before it; the last is `record`."""
    turns = record.messages
    ends = [
        end
        for end in range(1, len(turns) + 1)
        if turns[end - 1].role == "assistant"
        and turns[end - 1].trained
        and turns[end - 1].content.strip()
        and any(turn.role == "user" and turn.content.strip() for turn in turns[: end - 1])
    ]
    found = []
    for end in ends:
        with suppress(RecordError):  # an earlier turn without the part that is scored makes no row
            found.append(replace(record, messages=turns[:end], scored=scored_part(turns[:end], scored)))
    return found


def field_names(value: object) -> list[str]:
    """The fields of a decoded record; none for a list."""
    return [str(name) for name in value] if isinstance(value, Mapping) else []


def record_texts(sample: Sample) -> tuple[RecordText, ...]:
    """The strings in a sample's record that are part of its conversation, in order.

    A conversation that is one text (JSON in a cell, or a chat template) is a single string.
    """
    texts = [
        RecordText(one.path, one.text) for one in value_spans(sample.raw) if one.text is not None and one.text.strip()
    ]
    said = [text for message in sample.messages for text in message.texts]
    parts = tuple(one for one in texts if any(_respelt(one.text.strip()) in text for text in said))
    conversation = find_conversation(DECODER.decode(sample.raw))
    if conversation is None or conversation.is_list:
        return parts
    whole = tuple(one for one in texts if one.path == conversation.field)  # the turns are parts of this text
    return whole or parts


def _respelt(text: str) -> str:
    """A text that is a JSON object or list, such as arguments of a call, spelt as the conversation has it."""
    value = json_or_text(text) if text[:1] in "{[" else text
    return text if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
        same = reader.conversation(DECODER.decode(sample.raw)) == sample.conversation
    except DataError:
        same = False
    if not same:
        raise DataError(f"line {sample.line} of {sample.source} cannot be edited: its record does not read as its row")
    read = reader.conversation(DECODER.decode(raw))
    digest = hash_conversation(read)
    return replace(sample, raw=raw, messages=read.messages, tools=read.tools, scored=read.scored, content_hash=digest)
