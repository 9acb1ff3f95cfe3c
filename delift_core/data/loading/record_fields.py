"""The fields of a source's records: those that label answers, and those that are read and are not.

Which fields are labels is found by the values of all records. An unread column that seems to belong to the prompt is an
error.
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
from delift_core.data.loading.dataset import Dataset
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.raw_records import RawRecord
from delift_core.data.loading.record_reader import DETECT_RECORDS
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, ParsedRecord

_FLAT = ("columns", "alpaca", "prompt-completion")
# Two words, or one without digits: not a number, date, address or key.
_WORDS = re.compile(r"[^\W\d_]{2,}\S*\s+\S*[^\W\d_]{2,}|^[^\d/\\@]*[^\W\d_]{2,}[^\d/\\@]*$")
# Columns about the answer or the whole record, which are never a part of the prompt.
_NOT_PROMPT = (
    "explanation explanations rationale rationales reasoning reason thought thoughts thinking cot chainofthought "
    "analysis critique comment comments note notes review feedback title name category categories topic topics "
    "subject source sources url link model author authors type task split lang language date license metadata meta "
    "tags keywords hash key path file filename time timestamp version written created summary solution answer answers "
    "response responses output outputs completion completions chosen rejected reference references prompt"
)

Label = tuple[str, object, LabelValue]
"""A field of a record that may label its answer: name, value, and what the value says."""


class AnswerLabels:
    """The values of all possible labels in a source, and how many records have two answers (`pairs`)."""

    def __init__(self) -> None:
        self._values: dict[str, set[LabelValue]] = {}
        self._always_repeated: dict[str, bool] = {}
        self.pairs = 0

    def add(self, record: object) -> tuple[Label, ...]:
        """Counts one record, and returns its possible labels."""
        if not isinstance(record, Mapping):
            return ()
        if has_pair(record):
            self.pairs += 1
            return ()
        found = tuple((name, record[name], says) for name, says in answer_labels(record))
        for name, value, says in found:
            self._values.setdefault(name, set()).add(says)
            self._always_repeated[name] = self._always_repeated.get(name, True) and _is_repeated(record, value)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are labels, definite ones first."""
        found = [name for name, values in self._values.items() if self._is_label(name, values)]
        return tuple(sorted(found, key=lambda name: not is_definite_label(name)))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The fields that further records may show to be labels."""
        return tuple(name for name, values in self._values.items() if "other" not in values)

    def _is_label(self, name: str, values: set[LabelValue]) -> bool:
        if is_definite_label(name):
            return bool(values & {"good", "bad"})
        if "other" in values or {"zero", "minus"} <= values or self._always_repeated[name]:
            return False
        return bool(values & {"bad", "minus"}) or {"good", "zero"} <= values


def collect_labels(records: Iterable[object]) -> AnswerLabels:
    """The labels of some decoded records."""
    labels = AnswerLabels()
    for record in records:
        labels.add(record)
    return labels


def label_error(labels: Iterable[Label], names: tuple[str, ...], answer: Answer | None) -> RecordError | None:
    """Why a record is not read because of its label; None if it is read.

    Args:
        labels: of the record.
        names: the source's labels; the first that the record has decides.
        answer: the answers to learn.
    """
    values = {name: value for name, value, _ in labels}
    name = next((name for name in names if name in values), None)
    if name is None:
        return None
    if answer is None:
        return no_choice_error(name)
    try:
        check_label(name, values[name], answer)
    except RecordError as error:
        return error
    return None


@dataclass(frozen=True, slots=True)
class Fields:
    """How the fields of a data set's records were read.

    Attributes:
        prompt: the columns of the prompt in the order in which they are joined; empty for turns.
        labels: the fields that label answers as good or bad.
        unread: the other fields with a value.
    """

    prompt: tuple[str, ...]
    labels: tuple[str, ...]
    unread: tuple[str, ...]


def fields_of(dataset: Dataset) -> Fields:
    """How the fields of a data set were read, by its first records; labels by all records."""
    mapping = dataset.origin.options.mapping if dataset.origin.options else None
    labels = collect_labels(_records(dataset)).names
    head = [record for record in islice(_records(dataset), DETECT_RECORDS) if isinstance(record, Mapping)]
    prompt: dict[str, None] = {}
    for record in head:
        flat = flat_columns(without_label(record), mapping)
        prompt |= dict.fromkeys((flat.prompt, *flat.parts) if flat else ())
    return Fields(tuple(prompt), labels, unread_columns(head, mapping, labels))


def has_answer_choice(dataset: Dataset) -> bool:
    """Whether any record of a data set has two answers to choose from, or a label."""
    labels = collect_labels(_records(dataset))
    return bool(labels.names or labels.pairs)


def _records(dataset: Dataset) -> Iterator[object]:
    """The decoded records of the rows, then those that were left out."""
    for raw in chain((one.raw for one in dataset.samples), (one.raw for one in dataset.problems)):
        try:
            yield DECODER.decode(raw)
        except (ValueError, RecursionError):
            continue


def unread_columns(
    records: Iterable[object], mapping: ColumnMapping | None = None, labels: Sequence[str] = ()
) -> tuple[str, ...]:
    """The fields with a value that are neither part of the conversation nor labels, in order of first appearance.

    Args:
        mapping: the columns, if they were mapped by hand.
        labels: the fields that label answers.
    """
    found: dict[str, None] = {}
    for record in records:
        if isinstance(record, Mapping):
            read = {*read_fields(record, mapping), *labels}
            found |= dict.fromkeys(
                str(name) for name, value in record.items() if name not in read and _has_content(value)
            )
    return tuple(found)


def refuse_ambiguous_prompt(source: str, head: Sequence[RawRecord], parsed: Iterable[ParsedRecord]) -> None:
    """Refuses flat records with equal prompts and different answers if an unread column tells the prompts apart.

    At least half of the first records must have such a prompt, and a column of texts must make all of them distinct.

    Raises:
        DataError: there is such a column; the message says how to read it and how to leave it out.
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
        if normalized_name(name) not in _NOT_PROMPT.split()
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
    """Positions of the rows whose prompt has a different answer in another row."""
    answers: dict[object, set[str]] = {}
    for asked, answer in rows:
        answers.setdefault(asked, set()).add(answer)
    return [at for at, (asked, _) in enumerate(rows) if len(answers[asked]) > 1]


def _has_content(value: object) -> bool:
    return (
        not is_missing(value) and value not in ("", [], {}, ()) and not (isinstance(value, str) and not value.strip())
    )


def _is_repeated(record: Mapping[str, object], value: object) -> bool:
    """Whether a text is also the value of a field that cannot be a label, as when the answer is a class name."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return bool(word) and any(
        isinstance(other, str) and other.strip().lower() == word
        for key, other in record.items()
        if not is_label_name(str(key))
    )
