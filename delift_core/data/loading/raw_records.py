"""Raw records: a decoded value with its verbatim one-line JSON, encoding checks, and progress reports.

Records that are spread over a source are joined: MT-Bench questions with their answers, messages into conversations.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import BinaryIO

from delift_core.data.formats.chat_records import MT_BENCH_ANSWERS, is_mt_bench_answer, is_mt_bench_question
from delift_core.data.formats.platform_records import (
    ORDER_KEYS,
    conversation_id,
    is_single_message,
    is_thread,
    message_id,
    parent_id,
)
from delift_core.data.loading.json_scanner import value_spans
from delift_core.errors import DataError
from delift_core.samples import Problem, ProblemKind
from delift_core.system.callbacks import Phase, Progress

EXCERPT_CHARACTERS = 120
SURROGATES = re.compile("[\ud800-\udfff]+")  # stand for bytes that are not UTF-8
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a source.

    Attributes:
        source: name of the file or hub data set.
        line: 1-based line (JSON lines) or record number (all others).
        raw: the record as one line of JSON, with the tokens of the source byte for byte.
        value: the decoded record.
    """

    source: str
    line: int
    raw: str
    value: object


def check_head(head: bytes, source: str) -> None:
    """Raises a `DataError` for a file that is empty or encoded as UTF-16 or UTF-32, by its first bytes."""
    if not head:
        raise DataError(f"{source} is empty; check that the download or the export was complete.")
    wide = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
    # Without a byte order mark, UTF-16 and UTF-32 have zeros in their first characters.
    if head.startswith(wide) or re.match(rb"[\[{]\0|\0{1,3}[\[{]", head):
        raise DataError(f"{source} is encoded as UTF-16 or UTF-32; save it as UTF-8 and load it again.")


def check_encoding(record: RawRecord) -> RawRecord | Problem:
    """Returns the record, or a problem if it holds text that UTF-8 cannot (bad bytes, a lone surrogate)."""
    if not _encodable(record.raw):
        what, remedy = "some bytes are not UTF-8", "Save the file as UTF-8, or fix the record."
    elif SURROGATE_ESCAPE.search(record.raw) and not _encodable(dump(record.value)):
        what = "a character is half of a surrogate pair, often from a cut emoji"
        remedy = "Replace the broken character, or remove the record."
    else:
        return record
    return problem("bad-encoding", record.source, record.line, _bad_field(record.value), what, remedy, record.raw)


def problem(kind: ProblemKind, source: str, line: int, field: str, message: str, remedy: str, text: str) -> Problem:
    """Builds a problem that is safe to print and to store, with an excerpt of the record's text."""
    excerpt = text[:EXCERPT_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    field = field.encode("utf-8", "replace").decode("utf-8")
    message = message.encode("utf-8", "replace").decode("utf-8")
    return Problem(kind, source, line, field, message, remedy, excerpt, SURROGATES.sub("\ufffd", text))


def dump(value: object) -> str:
    """Writes a value as one line of JSON, non-ASCII unescaped.

    Dates, bytes and other types become text and NaN becomes null; Infinity stays, as Python spells it.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_to_json)
    except ValueError:
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_to_json)


def _to_json(value: object) -> object:
    if hasattr(value, "tolist"):  # a number or an array of numpy, as in a DataFrame
        return value.tolist()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    return str(value)


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _bad_field(value: object) -> str:
    if not isinstance(value, Mapping):
        return ""
    return next((str(key) for key, item in value.items() if not _encodable(f"{key}{dump(item)}")), "")


Records = Iterator[RawRecord | Problem]
REPORT_ROWS = 1000  # rows between two reports


Watch = Callable[[Progress], None]


def rows_progress(phase: Phase, rows: int, total: int) -> Progress:
    """The progress of work on rows; the total is 0 if it is unknown."""
    return Progress(phase, rows, total, f"{rows:,} rows")


class Meter:
    """Reports the progress of reading files, by the bytes that were read."""

    def __init__(self, watch: Watch, total: int) -> None:
        """Args:
        total: bytes of all files on disk; 0 if unknown.
        """
        self._watch = watch
        self._total = total
        self._before = 0
        self._rows = 0
        self._done = 0

    def over(self, records: Records, stream: BinaryIO, size: int) -> Records:
        """Passes the records of one file through.

        Args:
            stream: the unpacked file.
            size: bytes of the file on disk.
        """
        whole = _stream_size(stream)
        read = 0
        for item in records:
            self._rows += 1
            read += len(item.raw)
            if self._rows % REPORT_ROWS == 0:
                self._report(size * _share_read(stream, whole, read))
            yield item
        self._before += size
        self._report(0)

    def _report(self, done: float) -> None:
        self._done = max(self._done, round(self._before + done))
        self._watch(Progress("reading", self._done, self._total, f"{self._rows:,} rows"))


def report_rows(records: Records, watch: Watch, limit: int | None) -> Records:
    """Passes records of a source without a known size through; the share is that of `limit`."""
    for rows, item in enumerate(records, start=1):
        if rows % REPORT_ROWS == 0:
            watch(rows_progress("reading", rows, limit or 0))
        yield item


def _share_read(stream: BinaryIO, whole: int, read: int) -> float:
    """The share of a file that was read, by position or, if the file was read at once, by its records."""
    position = 0 if stream.closed else stream.tell()
    return (position if 0 < position < whole else min(read, whole)) / max(whole, 1)


def _stream_size(stream: BinaryIO) -> int:
    position = stream.tell()
    whole = stream.seek(0, 2)
    stream.seek(position)
    return whole


def join_answers(records: Records) -> Records:
    """Joins MT-Bench questions and answers by `question_id`; other records pass unchanged.

    Questions come after all other records, in order, then the answers without a question.
    """
    questions: list[RawRecord] = []
    answers: dict[str, RawRecord] = {}
    for item in records:
        if isinstance(item, RawRecord) and is_mt_bench_question(item.value):
            questions.append(item)
        elif isinstance(item, RawRecord) and is_mt_bench_answer(item.value):
            if (name := _question_id(item)) in answers:
                yield item
            answers.setdefault(name, item)
        else:
            yield item
    for question in questions:
        answer = answers.pop(_question_id(question), None)
        yield question if answer is None else _with_answers(question, answer)
    yield from answers.values()


def join_messages(records: Records) -> Records:
    """Joins records that are single messages into one record a conversation; other records pass unchanged.

    A conversation is a tree of messages that name their parent, or the messages with the same conversation id, in the
    order of their turn numbers. Its record holds the messages' JSON unchanged and has the line of the first of them.
    Conversations come after all other records.
    """
    messages: list[RawRecord] = []
    for item in records:
        if isinstance(item, RawRecord) and is_single_message(item.value):
            messages.append(item)
        else:
            yield item
    groups: dict[str, list[RawRecord]] = {}
    roots = _roots(messages)
    for at, message in enumerate(messages):
        groups.setdefault(roots[at], []).append(message)
    yield from map(_conversation, groups.values())


def _roots(messages: Sequence[RawRecord]) -> list[str]:
    """An identifier of each message's conversation."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    parents = {name: parent_id(value) for value in values if (name := message_id(value)) is not None}
    found = []
    for value in values:
        at = message_id(value)
        if at is None:
            found.append(f"conversation {conversation_id(value)}")
            continue
        seen = set()
        while (parent := parents[at]) in parents and at not in seen:
            seen.add(at)
            at = str(parent)
        found.append(f"thread {at}")
    return found


def _conversation(messages: Sequence[RawRecord]) -> RawRecord:
    first = messages[0]
    values = [record.value for record in messages]
    key = "thread" if is_thread(values) else "messages"
    if key == "messages":
        messages = _sort_turns(messages)
    name = conversation_id(first.value) if isinstance(first.value, Mapping) else None
    raw = f'{{"conversation_id": {dump(name)}, "{key}": [{", ".join(one.raw for one in messages)}]}}'
    value = {"conversation_id": name, key: [one.value for one in messages]}
    return RawRecord(first.source, first.line, raw, value)


def _sort_turns(messages: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """Sorts messages by turn number, if each has one."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    key = next((key for key in ORDER_KEYS if all(type(value.get(key)) in (int, float) for value in values)), None)
    if key is None:
        return messages
    order = sorted(range(len(messages)), key=lambda at: values[at][key])
    return [messages[at] for at in order]


def _question_id(record: RawRecord) -> str:
    return repr(record.value.get("question_id")) if isinstance(record.value, Mapping) else ""


def _with_answers(question: RawRecord, answer: RawRecord) -> RawRecord:
    """A question with the answers of its answer record, their JSON unchanged."""
    own, others = question.value, answer.value
    if not isinstance(own, Mapping) or not isinstance(others, Mapping) or MT_BENCH_ANSWERS in own:
        return question
    span = next(span for span in value_spans(answer.raw) if span.path == MT_BENCH_ANSWERS)
    raw = f'{question.raw.rstrip()[:-1]}, "{MT_BENCH_ANSWERS}": {answer.raw[span.start : span.end]}}}'
    return RawRecord(question.source, question.line, raw, {**own, MT_BENCH_ANSWERS: others[MT_BENCH_ANSWERS]})
