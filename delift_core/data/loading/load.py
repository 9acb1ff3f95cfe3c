"""From raw records to a `Dataset`, and previews of a table for mapping its columns by hand.

Knows sources and formats; knows nothing of the workspace, tokenizers or models.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from delift_core.data.formats import detect_columns
from delift_core.data.formats.base import name_list
from delift_core.data.formats.preference import Answer
from delift_core.data.formats.unsupported import MAP_REMEDY
from delift_core.data.loading.folders import inputs_of, listing_of
from delift_core.data.loading.hub_rows import read_hub
from delift_core.data.loading.json_records import read_json
from delift_core.data.loading.raw_records import Meter, RawRecord, Watch, check_head, dump, over_rows, problem
from delift_core.data.loading.record_reader import (
    DETECT_RECORDS,
    OF_ANSWER,
    FormatChoice,
    Reading,
    Wanted,
    answers,
    field_names,
    is_talk,
    most_frequent,
    parse,
    reading_for,
    with_answers,
    with_threads,
)
from delift_core.data.loading.source_files import HEAD_BYTES, KINDS, Input, Kind, kind_of
from delift_core.data.loading.tables import read_arrow, read_csv, read_parquet
from delift_core.data.loading.unread_columns import Marks, Signs, marks_of, refusal, refuse_to_guess, unread_columns
from delift_core.errors import DataError
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
from delift_core.system.processes import garbage_collection_paused


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
        not_read: a problem for each file of a folder that is not read.
        marks: the fields that mark an answer as good or bad, or may turn out to.
        unread: the fields that no conversation and no mark is read from, where nothing is mapped by hand.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    detected: FormatName | None
    suggested: ColumnMapping | None
    records: tuple[RawRecord, ...]
    not_read: tuple[Problem, ...] = ()
    marks: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_records(path: Path) -> Iterator[RawRecord | Problem]:
    """Yields the records of a file in order, and a problem in the place of each one that cannot be decoded.

    Args:
        path: a .json, .jsonl, .ndjson, .csv, .tsv, .parquet, .arrow or .feather file, perhaps with .gz, .zst, .bz2 or
            .xz behind, or a folder of such files, read in the order of their names (`folders` says which of them). JSON
            and JSON lines are told apart by content, as are files without a known suffix.

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
    watch: Watch | None = None,
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
        watch: is told how far it is, every thousand rows; an exception that it raises ends the loading.

    Returns:
        The usable records as samples in file order, and a problem for each of the others.

    Raises:
        DataError: as `read_records`, or no record is usable; the message says which columns were found.
    """
    listing = listing_of(path)
    stem = path.name if path.is_dir() else listing.inputs[0].stem
    wanted = Wanted(format, mapping, answer, turns)
    read = _build(_read(listing.inputs, watch), path.name, name or stem, wanted)
    return replace(read, problems=(*read.problems, *listing.not_read)) if listing.not_read else read


def load_bytes(
    data: bytes,
    filename: str,
    *,
    name: str | None = None,
    format: FormatChoice = "auto",
    mapping: ColumnMapping | None = None,
    answer: Answer | None = None,
    turns: Turns = "last",
    watch: Watch | None = None,
) -> Dataset:
    """Loads the bytes of an uploaded file; `filename` gives the suffix and the source, the rest is as `load_file`."""
    source = Input(Path(filename).name, data)
    return _build(_read((source,), watch), source.name, name or source.stem, Wanted(format, mapping, answer, turns))


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
    watch: Watch | None = None,
) -> Dataset:
    """Loads one split of a data set on the Hugging Face hub; its name and source are the id.

    Args:
        repo_id: "owner/name".
        config: the configuration (subset) where the data set has several.
        split: a split name, such as "train".
        revision: a branch, tag or commit; the default branch if None.
        limit: read only this many rows from the start (they are streamed); all if None.
        mapping: see `load_file`.
        format, answer, turns, watch: see `load_file`.

    Raises:
        DataError: the data set cannot be found, read or reached, or no record is usable.
    """
    records = read_hub(repo_id, config=config, split=split, revision=revision, limit=limit)
    records = over_rows(records, watch, limit) if watch else records
    return _build(with_threads(records), repo_id, repo_id, Wanted(format, mapping, answer, turns))


def read_columns(path: Path, limit: int = 20) -> TablePreview:
    """Reads the first records of a file for mapping columns by hand.

    Raises:
        DataError: as `read_records`.
    """
    listing = listing_of(path)
    return replace(_preview(_read(listing.inputs), path.name, limit), not_read=listing.not_read)


def read_columns_of_bytes(data: bytes, filename: str, limit: int = 20) -> TablePreview:
    """As `read_columns`, for the bytes of an uploaded file."""
    source = Path(filename).name
    return _preview(_read((Input(source, data),)), source, limit)


def read_columns_of_hub(
    repo_id: str, *, config: str | None = None, split: str = "train", revision: str | None = None, limit: int = 20
) -> TablePreview:
    """As `read_columns`, for a data set on the hub; see `load_hub`."""
    records = with_threads(read_hub(repo_id, config=config, split=split, revision=revision, limit=limit))
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
    wanted = Wanted("auto", mapping, answer)
    found = _Found(reading_for(preview.records, wanted), wanted)
    for record in preview.records:
        found.take(record)
    parsed, problems = found.rows()
    outcomes: dict[tuple[str, int], Problem | tuple[Message, ...]] = {}
    outcomes |= {(one.source, one.line): one.messages for one in parsed}
    outcomes |= {(one.source, one.line): one for one in problems}
    return tuple(outcomes[record.source, record.line] for record in preview.records)


def _read(inputs: Sequence[Input], watch: Watch | None = None) -> Iterator[RawRecord | Problem]:
    # The first is opened at once, so that a wrong path is told before any record is asked for.
    opened = _open(inputs[0])
    meter = Meter(watch, sum(source.size for source in inputs)) if watch else None
    later = (item for source in inputs[1:] for item in _records(source, _open(source), meter))
    found = chain(_records(inputs[0], opened, meter), later)
    return _refuse_nothing(with_threads(with_answers(found) if len(inputs) > 1 else found), inputs)


def _open(source: Input) -> tuple[BinaryIO, Kind]:
    stream = source.open()
    try:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        check_head(head, source.name)
        return stream, kind_of(source.name, source.suffix, head)
    except DataError:
        stream.close()
        raise


def _records(source: Input, opened: tuple[BinaryIO, Kind], meter: Meter | None) -> Iterator[RawRecord | Problem]:
    stream, kind = opened
    with stream:
        records = _decoded(source, stream, kind)
        yield from meter.over(records, stream, source.size) if meter else records


def _decoded(source: Input, stream: BinaryIO, kind: Kind) -> Iterator[RawRecord | Problem]:
    if kind == "json":
        return read_json(stream, source.name)
    if kind == "csv":
        return read_csv(stream, source.name, source.suffix)
    return read_arrow(stream, source.name) if kind == "arrow" else read_parquet(stream, source.name)


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
        kind = "JSON" if all(KINDS.get(one.suffix, "json") == "json" for one in inputs) else "records"
        raise DataError(f"nothing in {source} can be read as {kind}; {first}")
    if decoded == 0:
        raise DataError(f"{source} holds no records; check that the download or the export was complete.")


def _build(records: Iterable[RawRecord | Problem], source: str, name: str, wanted: Wanted) -> Dataset:
    items = iter(records)
    head = list(islice(items, DETECT_RECORDS))
    reading = reading_for(head, wanted)
    if reading.format is None or (reading.format == "columns" and reading.mapping is None):
        head.extend(items)
        reading = reading_for(head, wanted)
    found = _Found(reading, wanted)
    with garbage_collection_paused():
        for item in chain(head, items):
            found.take(item)
        parsed, problems = found.rows()
    if not parsed or reading.format is None:
        raise DataError(_nothing_usable(source, problems, found.columns))
    if wanted.mapping is None:
        refuse_to_guess(source, found.head, parsed)
    with garbage_collection_paused():
        samples = with_ids(parsed)
    chosen = found.marks.names or (found.marks.pairs and wanted.mapping is None)
    format = OF_ANSWER.get(wanted.answer, reading.format) if wanted.answer and chosen else reading.format
    return Dataset(name, format, reading.mapping, samples, tuple(problems), wanted.turns)


class _Found:
    """What the records of a source gave; what their marks say is known once all were read."""

    def __init__(self, reading: Reading, wanted: Wanted) -> None:
        self._reading, self._wanted = reading, wanted
        self._outcomes: list[ParsedRecord | list[ParsedRecord] | Problem] = []
        self._signs: dict[int, Signs] = {}  # by position in the outcomes
        self.marks = Marks()
        self.head: list[RawRecord] = []
        self.columns: dict[str, None] = {}

    def take(self, item: RawRecord | Problem) -> None:
        """Reads one record."""
        if isinstance(item, Problem):
            self._outcomes.append(item)
            return
        if len(self.head) < DETECT_RECORDS:
            self.head.append(item)
            self.columns.update(dict.fromkeys(field_names(item.value)))
        if signs := self.marks.note(item.value):
            self._signs[len(self._outcomes)] = signs
        outcome = parse(item, self._reading)
        if isinstance(outcome, Problem):
            self.columns.update(dict.fromkeys(field_names(item.value)))
            self._outcomes.append(outcome)
        else:
            every = self._wanted.turns == "every" and is_talk(item, self._reading)
            self._outcomes.append(answers(outcome) if every else outcome)

    def rows(self) -> tuple[list[ParsedRecord], list[Problem]]:
        """The rows and the problems; of a marked conversation its last answer, which the mark is of."""
        parsed: list[ParsedRecord] = []
        problems: list[Problem] = []
        answer, names = self._wanted.answer, () if self._wanted.answer == "all" else self.marks.names
        for at, outcome in enumerate(self._outcomes):
            signs = [sign for sign in self._signs.get(at, ()) if sign[0] in names]
            error = refusal(signs, names, answer)
            whole = outcome[-1] if isinstance(outcome, list) else outcome
            if error is not None:
                where = (whole.source, whole.line, error.field, error.message, error.remedy, whole.raw)
                problems.append(problem(error.kind, *where))
            elif isinstance(whole, Problem):
                problems.append(whole)
            else:
                parsed.extend(outcome if isinstance(outcome, list) and not signs else [whole])
        return parsed, problems


def _nothing_usable(source: str, problems: Sequence[Problem], columns: Iterable[str]) -> str:
    by_hand = "map two columns by hand: --map prompt=COL,response=COL, or the Data page"
    if not problems:
        return f"{source} holds no records; check the split or the file."
    unknown = sum(item.kind == "not-an-object" or item.remedy == MAP_REMEDY for item in problems)
    if 2 * unknown > len(problems):
        return f"{source} has no record in a known format (columns found: {name_list(columns)}); {by_hand}."
    first = str(problems[0])
    found = f"(columns found: {name_list(columns)})"
    return f"none of the {len(problems):,} records of {source} can be used {found}; {first}"


def _preview(records: Iterator[RawRecord | Problem], source: str, limit: int) -> TablePreview:
    first = tuple(islice((item for item in records if isinstance(item, RawRecord)), limit))
    columns = tuple(dict.fromkeys(name for record in first for name in field_names(record.value)))
    rows = tuple({name: _cell(record.value, name) for name in columns} for record in first)
    reading = reading_for(first, Wanted("auto", None, None))
    suggested = most_frequent(detect_columns(record.value) for record in first)
    marks = marks_of(record.value for record in first)
    named = marks.names or marks.candidates
    unread = unread_columns((record.value for record in first), None, named)
    return TablePreview(source, columns, rows, reading.format, suggested, first, marks=named, unread=unread)


def _cell(value: object, name: str) -> str:
    cell = value.get(name) if isinstance(value, Mapping) else None
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else dump(cell)
