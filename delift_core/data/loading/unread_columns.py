"""Columns that no conversation is read from, and the refusal to guess where one of them may belong to the prompt.

Knows decoded records and what was read from them; knows nothing of files.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from delift_core.data.formats import RecordError, detect_format, flat_columns, read_fields
from delift_core.data.formats.base import is_missing, name_list
from delift_core.data.formats.preference import Answer, check_label, has_pair, no_choice_error, without_label
from delift_core.data.formats.training_labels import (
    LabelValue,
    answer_labels,
    is_definite_label,
    is_label_name,
    normalized_name,
)
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.raw_records import RawRecord
from delift_core.data.loading.record_reader import DETECT_RECORDS
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, Dataset, ParsedRecord

Sign = tuple[str, object, LabelValue]
Signs = tuple[Sign, ...]


class Marks:
    """Collects what the records of a source say in the fields that may be marks."""

    def __init__(self) -> None:
        self._said: dict[str, set[LabelValue]] = {}
        self._echoes: dict[str, bool] = {}
        self.pairs = 0

    def note(self, record: object) -> Signs:
        """Notes one record, and returns its fields that may be marks."""
        if not isinstance(record, Mapping):
            return ()
        if has_pair(record):
            self.pairs += 1
            return ()
        found = tuple((name, record[name], says) for name, says in answer_labels(record))
        for name, value, says in found:
            self._said.setdefault(name, set()).add(says)
            self._echoes[name] = self._echoes.get(name, True) and _echoes(record, name, value)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are marks, those that can be nothing else first."""
        found = [name for name, said in self._said.items() if self._is_mark(name, said)]
        return tuple(sorted(found, key=lambda name: not is_definite_label(name)))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The fields that other records may yet show to be marks."""
        return tuple(name for name, said in self._said.items() if "other" not in said)

    def _is_mark(self, name: str, said: set[LabelValue]) -> bool:
        if is_definite_label(name):
            return bool(said & {"good", "bad"})
        if "other" in said or {"zero", "minus"} <= said or self._echoes[name]:
            return False
        return bool(said & {"bad", "minus"}) or {"good", "zero"} <= said


def marks_of(records: Iterable[object]) -> Marks:
    """What some records say in the fields that may be marks."""
    marks = Marks()
    for record in records:
        marks.note(record)
    return marks


def refusal(signs: Iterable[Sign], marks: tuple[str, ...], answer: Answer | None) -> RecordError | None:
    """Why a record cannot be read for its mark; None where it can, or has none.

    Args:
        marks: the source's, the first that the record has counts.
        answer: which answers are to be learnt.
    """
    by_name = {name: value for name, value, _ in signs}
    mark = next((name for name in marks if name in by_name), None)
    if mark is None:
        return None
    if answer is None:
        return no_choice_error(mark)
    try:
        check_label(mark, by_name[mark], answer)
    except RecordError as error:
        return error
    return None


def _echoes(record: Mapping[str, object], name: str, value: object) -> bool:
    """Whether a text in another field of the record says the same, as where an answer is the class itself."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return bool(word) and any(
        isinstance(other, str) and other.strip().lower() == word
        for key, other in record.items()
        if not is_label_name(str(key))
    )


_FLAT = ("columns", "alpaca", "prompt-completion")
# Two words, or one without digits: what is no number, date, address or key.
_WORDS = re.compile(r"[^\W\d_]{2,}\S*\s+\S*[^\W\d_]{2,}|^[^\d/\\@]*[^\W\d_]{2,}[^\d/\\@]*$")
# Texts that go with an answer or with the record as a whole, whatever they hold.
_ASIDE = (
    "explanation explanations rationale rationales reasoning reason thought thoughts thinking cot chainofthought "
    "analysis critique comment comments note notes review feedback title name category categories topic topics "
    "subject source sources url link model author authors type task split lang language date license metadata meta "
    "tags keywords hash key path file filename time timestamp version written created summary solution answer answers "
    "response responses output outputs completion completions chosen rejected reference references prompt"
)


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a data set's records were read as what.

    Attributes:
        prompt: the columns of a prompt in the order in which they are joined; empty for turns.
        marks: the fields that mark answers as good or bad.
        unread: the others with a value, tools aside.
    """

    prompt: tuple[str, ...]
    marks: tuple[str, ...]
    unread: tuple[str, ...]


def fields_of(dataset: Dataset, *, by_hand: bool) -> Fields:
    """The fields of a data set, by its first records; marks by all.

    Args:
        by_hand: its columns were mapped by hand.
    """
    mapping = dataset.mapping if by_hand else None
    marks = marks_of(_records(dataset)).names
    head = [record for record in islice(_records(dataset), DETECT_RECORDS) if isinstance(record, Mapping)]
    prompt: dict[str, None] = {}
    for record in head:
        flat = flat_columns(without_label(record), mapping)
        prompt |= dict.fromkeys((flat.prompt, *flat.parts) if flat else ())
    return Fields(tuple(prompt), marks, unread_columns(head, mapping, marks))


def has_answers(dataset: Dataset) -> bool:
    """Whether there was a choice of answers in the records of a data set: two of them, or marks."""
    marks = marks_of(_records(dataset))
    return bool(marks.names or marks.pairs)


def _records(dataset: Dataset) -> Iterator[object]:
    """The records that rows came from, then those left out."""
    for raw in chain((one.raw for one in dataset.samples), (one.raw for one in dataset.problems)):
        try:
            yield DECODER.decode(raw)
        except (ValueError, RecursionError):
            continue


def unread_columns(
    records: Iterable[object], mapping: ColumnMapping | None = None, marks: Sequence[str] = ()
) -> tuple[str, ...]:
    """The fields with a value that neither the conversation nor a mark is read from, in order of first appearance.

    Args:
        mapping: the columns where they were mapped by hand.
        marks: the fields that mark the answers.
    """
    found: dict[str, None] = {}
    for record in records:
        if isinstance(record, Mapping):
            read = {*read_fields(record, mapping), *marks, "tools"}
            found |= dict.fromkeys(
                str(name) for name, value in record.items() if name not in read and _says_something(value)
            )
    return tuple(found)


def refuse_to_guess(source: str, head: Sequence[RawRecord], parsed: Iterable[ParsedRecord]) -> None:
    """Refuses a source of flat records whose answers only a column that is not read can tell apart.

    That is so where at least half of the first records ask the same as another and are answered differently, and would
    not do so with a column of texts beside the prompt.

    Raises:
        DataError: there is such a column; the message names the ways to read it, and to leave it out.
    """
    lines = {(record.source, record.line): record.value for record in head}
    rows = [
        (row, value)
        for row in islice(parsed, DETECT_RECORDS)
        if isinstance(value := lines.get((row.source, row.line)), Mapping) and detect_format(value) in _FLAT
    ]
    asked = [
        (tuple((turn.role, turn.content) for turn in row.messages[:-1]), row.messages[-1].content) for row, _ in rows
    ]
    differing = _contradicting(asked)
    if len(differing) < 2 or 2 * len(differing) < len(rows):
        return
    records = [rows[at][1] for at in differing]
    deciding = [
        name
        for name in unread_columns(records)
        if normalized_name(name) not in _ASIDE.split()
        and not normalized_name(name).endswith("id")
        and all(isinstance(one.get(name), str) and _WORDS.search(one[name]) for one in records)
        and not _contradicting([((asked[at][0], rows[at][1][name]), asked[at][1]) for at in differing])
    ]
    if not deciding:
        return
    prompt, response = read_fields(records[0])[:2]
    read = f"--map prompt={prompt},response={response}"
    raise DataError(
        f"{len(differing):,} of the first {len(rows):,} records of {source} ask the same and are answered "
        f"differently, and a column that is not read tells them apart ({name_list(deciding)}): it may be a part of the "
        f"prompt. Read it with {read},context={deciding[0]}, leave it out with {read}, or map the columns on the Data "
        "page."
    )


def _contradicting(rows: Sequence[tuple[object, str]]) -> list[int]:
    """Positions of the rows whose question has another answer in another row."""
    answers: dict[object, set[str]] = {}
    for asked, answer in rows:
        answers.setdefault(asked, set()).add(answer)
    return [at for at, (asked, _) in enumerate(rows) if len(answers[asked]) > 1]


def _says_something(value: object) -> bool:
    return (
        not is_missing(value) and value not in ("", [], {}, ()) and not (isinstance(value, str) and not value.strip())
    )
