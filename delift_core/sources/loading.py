"""From raw records to a `Dataset`, and previews of a table for mapping its columns by hand.

Knows sources and formats; knows nothing of the workspace, tokenizers or models.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from delift_core.errors import DataError
from delift_core.formats import RecordError, detect_columns, detect_format, parse_record, unknown_format
from delift_core.formats.base import name_list
from delift_core.formats.preference import Answer
from delift_core.samples import (
    ColumnMapping,
    Dataset,
    FormatName,
    Message,
    ParsedRecord,
    Problem,
    Turns,
    with_ids,
)
from delift_core.sources.hub import read_hub
from delift_core.sources.inputs import ARROW_SUFFIXES, CSV_SUFFIXES, JSON_SUFFIXES, SUFFIXES, Input, inputs_of
from delift_core.sources.json_records import read_json
from delift_core.sources.records import RawRecord, check_head, dump, problem
from delift_core.sources.tables import read_arrow, read_csv, read_parquet

FormatChoice = FormatName | Literal["auto"]
OF_ANSWER: dict[Answer, FormatName] = {"chosen": "preference-chosen", "rejected": "preference-rejected"}
DETECT_RECORDS = 200

Found = TypeVar("Found", bound=Hashable)


@dataclass(frozen=True, slots=True)
class TablePreview:
    """The first records of a source, for mapping columns by hand.

    Attributes:
        source: name of the file or hub data set.
        columns: the field names in order of first appearance.
        rows: the records as text, field by field (absent and null fields are ""); bare lists give no fields.
        detected: the format found by detection, or None.
        suggested: the mapping found by detection where a known pair of columns exists, or None.
        records: the same records undecorated, for `map_preview`.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    detected: FormatName | None
    suggested: ColumnMapping | None
    records: tuple[RawRecord, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How to read the records: one format for all, or each by its own detection with this one to fall back on."""

    format: FormatName | None
    mapping: ColumnMapping | None
    each_its_own: bool
    answer: Answer | None = None


def read_records(path: Path) -> Iterator[RawRecord | Problem]:
    """Yields the records of a file in order, and a problem in the place of each one that cannot be decoded.

    Args:
        path: a .json, .jsonl, .ndjson, .csv, .tsv, .parquet, .arrow or .feather file, perhaps with .gz or .zst behind,
            or a folder of such files, read in the order of their names. JSON and JSON lines are told apart by content.

    Raises:
        DataError: the file is missing, empty, of another kind, or holds no record that can be decoded.
    """
    return _read(inputs_of(path))


def read_bytes(data: bytes, filename: str) -> Iterator[RawRecord | Problem]:
    """As `read_records`, for the bytes of an uploaded file."""
    return _read((Input(Path(filename).name, data),))


def load_file(
    path: Path,
    *,
    name: str | None = None,
    format: FormatChoice = "auto",
    mapping: ColumnMapping | None = None,
    answer: Answer | None = None,
    turns: Turns = "last",
) -> Dataset:
    """Loads a file, or a folder of files.

    Args:
        path: see `read_records`.
        name: name of the data set; the file name without its suffix if None.
        format: how to read every record; "auto" takes the most frequent format of the first 200 records, and reads
            a record of another known format as what it is.
        mapping: the columns of the prompt and the response; implies the format "columns".
        answer: which answer of a preference record is to be learnt; without it such a record is a problem.
        turns: "every" makes a sample of each assistant turn of a conversation, given all before it; prompts of
            prompt/completion and preference records are not learnt, so that these stay one sample.

    Returns:
        The usable records as samples in file order, and a problem for each of the others.

    Raises:
        DataError: as `read_records`, or no record is usable; the message says which columns were found.
    """
    inputs = inputs_of(path)
    stem = path.name if path.is_dir() else inputs[0].stem
    return _build(_read(inputs), path.name, name or stem, _Wanted(format, mapping, answer, turns))


def load_bytes(
    data: bytes,
    filename: str,
    *,
    name: str | None = None,
    format: FormatChoice = "auto",
    mapping: ColumnMapping | None = None,
    answer: Answer | None = None,
    turns: Turns = "last",
) -> Dataset:
    """Loads the bytes of an uploaded file; `filename` gives the suffix and the source, the rest is as `load_file`."""
    source = Input(Path(filename).name, data)
    return _build(_read((source,)), source.name, name or source.stem, _Wanted(format, mapping, answer, turns))


def load_hub(
    repo_id: str,
    *,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    limit: int | None = None,
    mapping: ColumnMapping | None = None,
    format: FormatChoice = "auto",
    answer: Answer | None = None,
    turns: Turns = "last",
) -> Dataset:
    """Loads one split of a data set on the Hugging Face hub; its name and source are the id.

    Args:
        repo_id: "owner/name".
        config: the configuration (subset) where the data set has several.
        split: a split name, such as "train".
        revision: a branch, tag or commit; the default branch if None.
        limit: read only this many rows from the start (they are streamed); all if None.
        mapping: see `load_file`.
        format, answer, turns: see `load_file`.

    Raises:
        DataError: the data set cannot be found, read or reached, or no record is usable.
    """
    records = read_hub(repo_id, config=config, split=split, revision=revision, limit=limit)
    return _build(records, repo_id, repo_id, _Wanted(format, mapping, answer, turns))


def read_columns(path: Path, limit: int = 20) -> TablePreview:
    """Reads the first records of a file for mapping columns by hand.

    Raises:
        DataError: as `read_records`.
    """
    return _preview(_read(inputs_of(path)), path.name, limit)


def read_columns_of_bytes(data: bytes, filename: str, limit: int = 20) -> TablePreview:
    """As `read_columns`, for the bytes of an uploaded file."""
    source = Path(filename).name
    return _preview(_read((Input(source, data),)), source, limit)


def read_columns_of_hub(
    repo_id: str, *, config: str | None = None, split: str = "train", revision: str | None = None, limit: int = 20
) -> TablePreview:
    """As `read_columns`, for a data set on the hub; see `load_hub`."""
    records = read_hub(repo_id, config=config, split=split, revision=revision, limit=limit)
    return _preview(records, repo_id, limit)


def map_preview(
    preview: TablePreview, mapping: ColumnMapping | None = None, answer: Answer | None = None
) -> tuple[Problem | tuple[Message, ...], ...]:
    """Shows what loading makes of the previewed records: the conversation, or the problem, record by record.

    Args:
        preview: from one of the `read_columns` functions.
        mapping: the columns to try; None reads by detection.
        answer: see `load_file`.
    """
    reading = _reading(preview.records, _Wanted("auto", mapping, answer))
    parsed = (_parse(record, reading) for record in preview.records)
    return tuple(item.messages if isinstance(item, ParsedRecord) else item for item in parsed)


def _read(inputs: Sequence[Input]) -> Iterator[RawRecord | Problem]:
    for source in inputs:
        if source.suffix not in SUFFIXES:
            accepted = ", ".join(SUFFIXES)
            raise DataError(f"{source.name} has a suffix that is not read here; accepted are {accepted}.")
    # The first is opened at once, so that a wrong path is told before any record is asked for.
    opened = _open(inputs[0])
    later = (item for source in inputs[1:] for item in _records(source, _open(source)))
    return _refuse_nothing(chain(_records(inputs[0], opened), later), inputs)


def _open(source: Input) -> BinaryIO:
    stream = source.open()
    try:
        check_head(stream, source.name)
    except DataError:
        stream.close()
        raise
    return stream


def _records(source: Input, stream: BinaryIO) -> Iterator[RawRecord | Problem]:
    with stream:
        if source.suffix in JSON_SUFFIXES:
            yield from read_json(stream, source.name)
        elif source.suffix in CSV_SUFFIXES:
            yield from read_csv(stream, source.name, source.suffix)
        elif source.suffix in ARROW_SUFFIXES:
            yield from read_arrow(stream, source.name)
        else:
            yield from read_parquet(stream, source.name)


def _refuse_nothing(records: Iterator[RawRecord | Problem], inputs: Sequence[Input]) -> Iterator[RawRecord | Problem]:
    """Passes records on; a source without one decoded record is an error at its end."""
    source = inputs[0].name if len(inputs) == 1 else f"the {len(inputs)} files of the folder"
    first: Problem | None = None
    decoded = 0
    for item in records:
        if isinstance(item, RawRecord):
            decoded += 1
        elif first is None:
            first = item
        yield item
    if decoded == 0 and first is not None:
        kind = "JSON" if all(one.suffix in JSON_SUFFIXES for one in inputs) else "records"
        raise DataError(f"nothing in {source} can be read as {kind}; {first}")
    if decoded == 0:
        raise DataError(f"{source} holds no records; check that the download or the export was complete.")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the caller asked for; see `load_file`."""

    format: FormatChoice
    mapping: ColumnMapping | None
    answer: Answer | None
    turns: Turns = "last"


def _build(records: Iterable[RawRecord | Problem], source: str, name: str, wanted: _Wanted) -> Dataset:
    items = iter(records)
    head = list(islice(items, DETECT_RECORDS))
    reading = _reading(head, wanted)
    if reading.format is None or (reading.format == "columns" and reading.mapping is None):
        head.extend(items)
        reading = _reading(head, wanted)
    parsed: list[ParsedRecord] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for item in chain(head, items):
        outcome = _parse(item, reading) if isinstance(item, RawRecord) else item
        if isinstance(outcome, ParsedRecord):
            parsed.extend(_answers(outcome) if wanted.turns == "every" and _is_talk(item, reading) else [outcome])
            continue
        problems.append(outcome)
        if isinstance(item, RawRecord):
            columns.update(dict.fromkeys(_names(item.value)))
    if not parsed or reading.format is None:
        raise DataError(_nothing_usable(source, problems, columns))
    return Dataset(name, reading.format, reading.mapping, with_ids(parsed), tuple(problems), wanted.turns)


def _reading(records: Iterable[RawRecord | Problem], wanted: _Wanted) -> _Reading:
    format, mapping, answer = wanted.format, wanted.mapping, wanted.answer
    if mapping is not None:
        if format not in ("auto", "columns"):
            raise DataError(f"a column mapping cannot go with the format {format}; leave one of the two out.")
        return _Reading("columns", mapping, each_its_own=False)
    if format != "auto" and format != "columns":
        return _Reading(format, None, each_its_own=False)
    values = [record.value for record in records if isinstance(record, RawRecord)]
    if format == "columns":
        return _Reading("columns", _most_frequent(detect_columns(value) for value in values), each_its_own=False)
    formats: list[FormatName | None] = [detect_format(value) for value in values]
    majority: FormatName | None = _most_frequent(formats)
    if majority == "preference" and answer is not None:
        majority = OF_ANSWER[answer]
    if majority != "columns":
        return _Reading(majority, None, True, answer)
    in_columns = (detect_columns(value) for value, found in zip(values, formats, strict=True) if found == "columns")
    return _Reading(majority, _most_frequent(in_columns), True, answer)


def _most_frequent(found: Iterable[Found | None]) -> Found | None:
    counts = Counter(item for item in found if item is not None)
    # Counter keeps the order of first appearance, so a tie goes to the one seen first.
    return counts.most_common(1)[0][0] if counts else None


def _format_of(value: object, reading: _Reading) -> FormatName | None:
    own = detect_format(value) if reading.each_its_own else None
    if own is None:
        return reading.format
    if own == "preference" and reading.answer is not None:
        return OF_ANSWER[reading.answer]
    if own == "columns" and reading.format == "alpaca" and "output" in _names(value):
        # An input and an output among Alpaca records is one that lost its instruction, not a pair of columns.
        return "alpaca"
    return own


def _mapping_of(value: object, reading: _Reading) -> ColumnMapping | None:
    """The mapping of the whole source, unless this record has another known pair of columns instead."""
    mapping = reading.mapping
    if mapping is None or not reading.each_its_own or {mapping.prompt, mapping.response} <= set(_names(value)):
        return mapping
    return detect_columns(value) or mapping


def _parse(record: RawRecord, reading: _Reading) -> ParsedRecord | Problem:
    try:
        found = _format_of(record.value, reading)
        if found is None:
            raise unknown_format(record.value)
        messages = parse_record(found, record.value, _mapping_of(record.value, reading))
    except RecordError as error:
        return problem(error.kind, record.source, record.line, error.field, error.message, error.remedy, record.raw)
    return ParsedRecord(messages, record.raw, record.source, record.line)


def _is_talk(item: RawRecord | Problem, reading: _Reading) -> bool:
    """Whether all assistant turns of a record are to be learnt."""
    return isinstance(item, RawRecord) and _format_of(item.value, reading) in ("messages", "sharegpt", "alpaca")


def _answers(record: ParsedRecord) -> list[ParsedRecord]:
    """A record for each assistant turn that says something, given all before it; the last is the record itself."""
    turns = record.messages
    ends = [
        end
        for end in range(1, len(turns) + 1)
        if turns[end - 1].role == "assistant"
        and turns[end - 1].content.strip()
        and any(turn.role == "user" and turn.content.strip() for turn in turns[: end - 1])
    ]
    return [replace(record, messages=turns[:end]) for end in ends]


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, Mapping) else []


def _nothing_usable(source: str, problems: Sequence[Problem], columns: Iterable[str]) -> str:
    by_hand = "map two columns by hand: --map prompt=COL,response=COL, or the Data page"
    if not problems:
        return f"{source} holds no records; check the split or the file."
    unknown = sum(item.kind in ("unknown-format", "not-an-object") for item in problems)
    if 2 * unknown > len(problems):
        return f"{source} has no record in a known format (columns found: {name_list(columns)}); {by_hand}."
    first = str(problems[0])
    return f"none of the {len(problems)} records of {source} can be used (columns found: {name_list(columns)}); {first}"


def _preview(records: Iterator[RawRecord | Problem], source: str, limit: int) -> TablePreview:
    first = tuple(islice((item for item in records if isinstance(item, RawRecord)), limit))
    columns = tuple(dict.fromkeys(name for record in first for name in _names(record.value)))
    rows = tuple({name: _cell(record.value, name) for name in columns} for record in first)
    reading = _reading(first, _Wanted("auto", None, None))
    suggested = _most_frequent(detect_columns(record.value) for record in first)
    return TablePreview(source, columns, rows, reading.format, suggested, first)


def _cell(value: object, name: str) -> str:
    cell = value.get(name) if isinstance(value, Mapping) else None
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else dump(cell)
