"""How records are read: the format and the columns of a source, decided on its first records, and one record by them.

Knows formats and decoded records; knows nothing of files.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

from delift_core.data.formats import RecordError, detect_columns, detect_format, parse_record, unknown_format_error
from delift_core.data.formats.chat_records import MT_BENCH_ANSWERS, is_mt_bench_answer, is_mt_bench_question
from delift_core.data.formats.preference import Answer, without_label
from delift_core.data.formats.threads import (
    ORDER_KEYS,
    conversation_id,
    is_single_message,
    is_thread,
    message_id,
    parent_id,
)
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.json_scanner import places
from delift_core.data.loading.raw_records import RawRecord, dump, problem
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, Dataset, FormatName, Message, ParsedRecord, Problem, Turns

FormatChoice = FormatName | Literal["auto"]
OF_ANSWER: dict[Answer, FormatName] = {"chosen": "preference-chosen", "rejected": "preference-rejected"}
DETECT_RECORDS = 200

Found = TypeVar("Found", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asked for; see `load_file`."""

    format: FormatChoice
    mapping: ColumnMapping | None
    answer: Answer | None
    turns: Turns = "last"


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read the records: one format for all, or each by its own detection with this one to fall back on."""

    format: FormatName | None
    mapping: ColumnMapping | None
    each_its_own: bool
    answer: Answer | None = None


def reading_for(records: Iterable[RawRecord | Problem], wanted: Wanted) -> Reading:
    """How to read a source, by its first records.

    Raises:
        DataError: a mapping beside a format.
    """
    format, mapping, answer = wanted.format, wanted.mapping, wanted.answer
    if mapping is not None:
        if format not in ("auto", "columns"):
            raise DataError(f"a column mapping cannot go with the format {format}; leave one of the two out.")
        return Reading("columns", mapping, each_its_own=False)
    if format != "auto" and format != "columns":
        return Reading(format, None, each_its_own=False)
    values = [_as_read(record.value, answer) for record in records if isinstance(record, RawRecord)]
    if format == "columns":
        return Reading("columns", most_frequent(detect_columns(value) for value in values), each_its_own=False)
    formats: list[FormatName | None] = [detect_format(value) for value in values]
    majority: FormatName | None = most_frequent(formats)
    if majority == "preference" and answer in OF_ANSWER:
        majority = OF_ANSWER[answer]
    if majority != "columns":
        return Reading(majority, None, True, answer)
    in_columns = (detect_columns(value) for value, found in zip(values, formats, strict=True) if found == "columns")
    return Reading(majority, most_frequent(in_columns), True, answer)


def most_frequent(found: Iterable[Found | None]) -> Found | None:
    counts = Counter(item for item in found if item is not None)
    # Counter keeps the order of first appearance, so a tie goes to the one seen first.
    return counts.most_common(1)[0][0] if counts else None


def _as_read(value: object, answer: Answer | None) -> object:
    """A record as it is to be read: where every answer is, without its mark."""
    return without_label(value) if answer == "all" and isinstance(value, Mapping) else value


def _format_of(value: object, reading: Reading) -> FormatName | None:
    own = detect_format(_as_read(value, reading.answer)) if reading.each_its_own else None
    if own is None and reading.each_its_own and reading.format in ("text", "chat-text"):
        return None  # what has a text and is no plain text is of another kind
    if own is None:
        return reading.format
    if own == "preference" and reading.answer in OF_ANSWER:
        return OF_ANSWER[reading.answer]
    names = field_names(value)
    if (
        own == "columns"
        and reading.format == "alpaca"
        and "output" in names
        and not {"prompt", "question"} & set(names)
    ):
        # An input and an output among Alpaca records is one that lost its instruction, not a pair of columns.
        return "alpaca"
    return own


def _mapping_of(value: object, reading: Reading) -> ColumnMapping | None:
    """The mapping of the whole source, unless this record has another known pair of columns, or further parts."""
    mapping = reading.mapping
    if mapping is None or not reading.each_its_own:
        return mapping
    own = detect_columns(value)
    fits = {mapping.prompt, mapping.response} <= set(field_names(value))
    same = own is not None and (own.prompt, own.response) == (mapping.prompt, mapping.response)
    return mapping if fits and not same else own or mapping


def parse(record: RawRecord, reading: Reading) -> ParsedRecord | Problem:
    try:
        messages = _messages(record.value, reading)
    except RecordError as error:
        return problem(error.kind, record.source, record.line, error.field, error.message, error.remedy, record.raw)
    return ParsedRecord(messages, record.raw, record.source, record.line)


def _messages(value: object, reading: Reading) -> tuple[Message, ...]:
    value, found = _as_read(value, reading.answer), _format_of(value, reading)
    if found is None:
        raise unknown_format_error(value)
    return parse_record(found, value, _mapping_of(value, reading))


def is_talk(item: RawRecord | Problem, reading: Reading) -> bool:
    """Whether all assistant turns of a record are to be learnt."""
    return isinstance(item, RawRecord) and _format_of(item.value, reading) in (
        "messages",
        "sharegpt",
        "chat-text",
        "alpaca",
        "mt-bench",
    )


class Rereader:
    """Reads a record whose text was changed as its data set's own records were read."""

    def __init__(self, dataset: Dataset) -> None:
        self._turns = dataset.turns
        answer = next((answer for answer, name in OF_ANSWER.items() if name == dataset.format), None)
        tries = [Reading(dataset.format, dataset.mapping, own, answer) for own in (True, False)]
        if dataset.mapping is not None and detect_format(DECODER.decode(dataset.samples[0].raw)) != "columns":
            tries.reverse()  # the columns were mapped by hand
        elif dataset.mapping is None and answer is None:
            tries[1:1] = [Reading(dataset.format, None, True, one) for one in get_args(Answer)]
        self._reading = next((reading for reading in tries if _reads_alike(dataset, reading)), tries[-1])

    def parse(self, value: object) -> tuple[Message, ...]:
        """The conversation of a decoded record.

        Raises:
            RecordError: it cannot be used.
        """
        return _messages(value, self._reading)

    def __call__(self, raw: str, source: str, line: int) -> list[ParsedRecord] | RecordError:
        """The rows of a record, one for each turn where each is one; or why it cannot be used."""
        value = DECODER.decode(raw)
        try:
            whole = ParsedRecord(self.parse(value), raw, source, line)
        except RecordError as error:
            return error
        every = self._turns == "every" and is_talk(RawRecord(source, line, raw, value), self._reading)
        return answers(whole) if every else [whole]


def _reads_alike(dataset: Dataset, reading: Reading) -> bool:
    """Whether a reading gives the first rows as they are; the last row of a record is the whole of it."""
    whole = {(one.source, one.line): one for one in dataset.samples[:DETECT_RECORDS]}
    ahead = {(one.source, one.line) for one in dataset.samples[DETECT_RECORDS : DETECT_RECORDS + 1]}
    for sample in (one for place, one in whole.items() if place not in ahead):
        try:
            if _messages(DECODER.decode(sample.raw), reading) != sample.messages:
                return False
        except RecordError:
            return False
    return True


def answers(record: ParsedRecord) -> list[ParsedRecord]:
    """A record for each assistant turn that says something and is to be trained, given all before it.

    The last is the record itself.
    """
    turns = record.messages
    ends = [
        end
        for end in range(1, len(turns) + 1)
        if turns[end - 1].role == "assistant"
        and turns[end - 1].trained
        and turns[end - 1].content.strip()
        and any(turn.role == "user" and turn.content.strip() for turn in turns[: end - 1])
    ]
    return [replace(record, messages=turns[:end]) for end in ends]


def field_names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, Mapping) else []


def with_answers(records: Iterator[RawRecord | Problem]) -> Iterator[RawRecord | Problem]:
    """Puts the answers of a folder's files behind their questions, by `question_id`; all else passes as it comes.

    Questions come last, in order; answers to none come behind them, so that they are told of.
    """
    questions: list[RawRecord] = []
    answers: dict[str, RawRecord] = {}
    for item in records:
        if isinstance(item, RawRecord) and is_mt_bench_question(item.value):
            questions.append(item)
        elif isinstance(item, RawRecord) and is_mt_bench_answer(item.value):
            name = _name(item)
            if name in answers:
                yield item
            answers.setdefault(name, item)
        else:
            yield item
    for question in questions:
        answer = answers.pop(_name(question), None)
        yield question if answer is None else _joined(question, answer)
    yield from answers.values()


def with_threads(records: Iterator[RawRecord | Problem]) -> Iterator[RawRecord | Problem]:
    """Puts messages that are records of their own together, a record for each conversation; all else passes on.

    A conversation is a tree of messages that name the one they answer, or the messages that name the same conversation,
    in the order of their turns. Its record holds theirs as they are, has the line of its first message, and comes
    behind the records that are no messages.
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
    """What names the conversation of each message."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    parents = {name: parent_id(value) for value in values if (name := message_id(value)) is not None}
    found = []
    for value in values:
        here = message_id(value)
        if here is None:
            found.append(f"conversation {conversation_id(value)}")
            continue
        seen = set()
        while (parent := parents[here]) in parents and here not in seen:
            seen.add(here)
            here = str(parent)
        found.append(f"thread {here}")
    return found


def _conversation(messages: Sequence[RawRecord]) -> RawRecord:
    first = messages[0]
    values = [record.value for record in messages]
    key = "thread" if is_thread(values) else "messages"
    if key == "messages":
        messages = _in_order(messages)
    name = conversation_id(first.value) if isinstance(first.value, Mapping) else None
    raw = f'{{"conversation_id": {dump(name)}, "{key}": [{", ".join(one.raw for one in messages)}]}}'
    value = {"conversation_id": name, key: [one.value for one in messages]}
    return RawRecord(first.source, first.line, raw, value)


def _in_order(messages: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """By the number of their turn where each has one, else as they come."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    key = next((key for key in ORDER_KEYS if all(type(value.get(key)) in (int, float) for value in values)), None)
    if key is None:
        return messages
    order = sorted(range(len(messages)), key=lambda at: values[at][key])
    return [messages[at] for at in order]


def _name(record: RawRecord) -> str:
    return repr(record.value.get("question_id")) if isinstance(record.value, Mapping) else ""


def _joined(question: RawRecord, answer: RawRecord) -> RawRecord:
    """A question with the answers of its answer record, their JSON unchanged."""
    own, others = question.value, answer.value
    if not isinstance(own, Mapping) or not isinstance(others, Mapping) or MT_BENCH_ANSWERS in own:
        return question
    place = next(place for place in places(answer.raw) if place.path == MT_BENCH_ANSWERS)
    raw = f'{question.raw.rstrip()[:-1]}, "{MT_BENCH_ANSWERS}": {answer.raw[place.start : place.end]}}}'
    return RawRecord(question.source, question.line, raw, {**own, MT_BENCH_ANSWERS: others[MT_BENCH_ANSWERS]})
