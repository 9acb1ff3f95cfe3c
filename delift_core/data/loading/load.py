"""Loads data sets from files, uploads and the hub, and previews a table so that its columns can be mapped by hand."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from delift_core.data.formats import MAP_REMEDY, detect_columns
from delift_core.data.formats.base import name_list
from delift_core.data.loading.dataset import DEFAULT_OPTIONS, IN_MEMORY, Dataset, HubSplit, Origin, ReadOptions
from delift_core.data.loading.file_records import list_files, read_bytes, read_files
from delift_core.data.loading.library_rows import open_hub, read_rows
from delift_core.data.loading.raw_records import (
    RawRecord,
    Records,
    Watch,
    dump,
    join_messages,
    problem,
    report_rows,
)
from delift_core.data.loading.record_fields import (
    AnswerLabels,
    Label,
    collect_labels,
    label_error,
    refuse_ambiguous_prompt,
    unread_columns,
)
from delift_core.data.loading.record_reader import (
    DETECT_RECORDS,
    PREFERENCE_FORMATS,
    RecordReader,
    choose_reader,
    field_names,
    most_frequent,
)
from delift_core.data.loading.source_files import SourceFile
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, Conversation, FormatName, ParsedRecord, Problem, with_ids
from delift_core.system.hub import HUB_PREFIX
from delift_core.system.processes import garbage_collection_paused


@dataclass(frozen=True, slots=True)
class TablePreview:
    """The first records of a source, for mapping columns by hand.

    Attributes:
        source: name of the file or hub data set.
        columns: the field names in order of first appearance.
        rows: the fields of each record as text; "" for absent and null fields.
        detected: the format that was detected, or None.
        suggested: the detected mapping if there is a known pair of columns, or None.
        records: the raw records, for `map_preview`.
        not_read: a problem for each file of a folder that is not read.
        labels: the fields that label an answer as good or bad, or may turn out to.
        unread: the fields that are neither part of the conversation nor labels, if nothing is mapped by hand.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    detected: FormatName | None
    suggested: ColumnMapping | None
    records: tuple[RawRecord, ...]
    not_read: tuple[Problem, ...] = ()
    labels: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def load_file(
    path: Path, options: ReadOptions = DEFAULT_OPTIONS, *, name: str | None = None, watch: Watch | None = None
) -> Dataset:
    """Loads a file, or a folder of files.

    Args:
        path: see `read_records`.
        options: how to read the records. Without a mapping each is read in its own format; the data set's format is
            the most frequent one of the first 200 records.
        name: name of the data set; the file name without its suffix if None.
        watch: called with the `Progress` every thousand rows; an exception that it raises stops the loading.

    Returns:
        The usable records as samples in file order, and a problem for each of the others.

    Raises:
        DataError: as `read_records`, or no record is usable; the message lists the columns.
    """
    files = list_files(path)
    stem = path.name if path.is_dir() else files.read[0].stem
    dataset = _build(read_files(files.read, watch), path.name, name or stem, options)
    origin = Origin("file", str(path.resolve()), options)
    return replace(dataset, problems=(*dataset.problems, *files.not_read), origin=origin)


def load_bytes(
    data: bytes,
    filename: str,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    name: str | None = None,
    watch: Watch | None = None,
) -> Dataset:
    """As `load_file`, for the bytes of an uploaded file; `filename` gives the suffix and the source."""
    source = SourceFile(Path(filename).name, data)
    dataset = _build(read_files((source,), watch), source.name, name or source.stem, options)
    return replace(dataset, origin=Origin("upload", source.name, options, sha256=hashlib.sha256(data).hexdigest()))


def load_hub(split: HubSplit, options: ReadOptions = DEFAULT_OPTIONS, *, watch: Watch | None = None) -> Dataset:
    """Loads one split of a data set on the Hugging Face hub; name and source are its id.

    Raises:
        DataError: the data set cannot be found, read or reached, or no record is usable.
    """
    split, records = open_hub(split)
    records = report_rows(records, watch, split.limit) if watch else records
    dataset = _build(join_messages(records), split.repo_id, split.repo_id, options)
    return replace(dataset, origin=Origin("hub", split.repo_id, options, split))


def load_source(source: str | Path, options: ReadOptions = DEFAULT_OPTIONS, *, watch: Watch | None = None) -> Dataset:
    """Loads a file, a folder of files, or a data set on the hub by its `hub:` name; see `load_file` and `load_hub`.

    Raises:
        DataError: as these, or the name has another form than `HUB_FORM`.
    """
    if isinstance(source, Path) or not source.startswith(HUB_PREFIX):
        return load_file(Path(source), options, watch=watch)
    return load_hub(HubSplit.parse(source), options, watch=watch)


def load_rows(rows: object, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Loads rows in memory; row i becomes line i + 1 of the source "rows".

    Args:
        rows: a list of dicts, a `datasets.Dataset` or a pandas `DataFrame`.

    Raises:
        DataError: `rows` is something else, or no row is usable.
    """
    dataset = _build(join_messages(read_rows(rows, "rows")), "rows", "rows", options)
    return replace(dataset, origin=Origin("memory", IN_MEMORY, options))


def read_columns(path: Path, limit: int = 20) -> TablePreview:
    """Reads the first records of a file for mapping columns by hand; raises a `DataError` as `read_records`."""
    files = list_files(path)
    return replace(_preview(read_files(files.read), path.name, limit), not_read=files.not_read)


def read_columns_of_bytes(data: bytes, filename: str, limit: int = 20) -> TablePreview:
    """As `read_columns`, for the bytes of an uploaded file."""
    return _preview(read_bytes(data, filename), Path(filename).name, limit)


def read_columns_of_hub(split: HubSplit, limit: int = 20) -> TablePreview:
    """As `read_columns`, for a data set on the hub."""
    _, records = open_hub(replace(split, limit=limit))
    return _preview(join_messages(records), split.repo_id, limit)


def map_preview(preview: TablePreview, options: ReadOptions = DEFAULT_OPTIONS) -> tuple[Problem | Conversation, ...]:
    """What loading makes of each record of a preview: the conversation, or the problem."""
    loaded = _Loading(choose_reader(preview.records, options), options)
    for record in preview.records:
        loaded.add(record)
    parsed, problems = loaded.finish()
    outcomes: dict[tuple[str, int], Problem | Conversation] = {}
    outcomes |= {(one.source, one.line): Conversation(one.messages, one.tools, one.scored) for one in parsed}
    outcomes |= {(one.source, one.line): one for one in problems}
    return tuple(outcomes[record.source, record.line] for record in preview.records)


def _build(records: Iterable[RawRecord | Problem], source: str, name: str, options: ReadOptions) -> Dataset:
    items = iter(records)
    head = list(islice(items, DETECT_RECORDS))
    reader = choose_reader(head, options)
    if reader.format is None or (reader.format == "columns" and reader.mapping is None):
        head.extend(items)
        reader = choose_reader(head, options)
    loading = _Loading(reader, options)
    with garbage_collection_paused():
        for item in chain(head, items):
            loading.add(item)
        parsed, problems = loading.finish()
    if not parsed or reader.format is None:
        raise DataError(_nothing_usable(source, problems, loading.columns))
    if options.mapping is None:
        refuse_ambiguous_prompt(source, loading.head, parsed)
    with garbage_collection_paused():
        samples = with_ids(parsed)
    has_choice = loading.labels.names or (loading.labels.pairs and options.mapping is None)
    format = PREFERENCE_FORMATS.get(options.answer, reader.format) if options.answer and has_choice else reader.format
    return Dataset(name, format, reader.mapping, samples, tuple(problems), options.turns)


class _Loading:
    """The outcomes of a source's records; which fields are labels is known only after the last record."""

    def __init__(self, reader: RecordReader, options: ReadOptions) -> None:
        self._reader, self._options = reader, options
        self._outcomes: list[ParsedRecord | list[ParsedRecord] | Problem] = []
        self._labels_at: dict[int, tuple[Label, ...]] = {}  # by position in the outcomes
        self.labels = AnswerLabels()
        self.head: list[RawRecord] = []
        self.columns: dict[str, None] = {}

    def add(self, item: RawRecord | Problem) -> None:
        """Reads one record."""
        if isinstance(item, Problem):
            self._outcomes.append(item)
            return
        if len(self.head) < DETECT_RECORDS:
            self.head.append(item)
            self.columns.update(dict.fromkeys(field_names(item.value)))
        if labels := self.labels.add(item.value):
            self._labels_at[len(self._outcomes)] = labels
        outcome = self._reader.read(item)
        if isinstance(outcome, Problem):
            self.columns.update(dict.fromkeys(field_names(item.value)))
        # A list for each of a million rows would take memory.
        self._outcomes.append(outcome if isinstance(outcome, Problem) or len(outcome) > 1 else outcome[0])

    def finish(self) -> tuple[list[ParsedRecord], list[Problem]]:
        """The rows and the problems; a labelled conversation gives its last answer alone, which the label is about."""
        parsed: list[ParsedRecord] = []
        problems: list[Problem] = []
        answer, names = self._options.answer, () if self._options.answer == "all" else self.labels.names
        for at, outcome in enumerate(self._outcomes):
            labels = [label for label in self._labels_at.get(at, ()) if label[0] in names]
            error = label_error(labels, names, answer)
            whole = outcome[-1] if isinstance(outcome, list) else outcome
            if error is not None:
                where = (whole.source, whole.line, error.field, error.message, error.remedy, whole.raw)
                problems.append(problem(error.kind, *where))
            elif isinstance(whole, Problem):
                problems.append(whole)
            else:
                parsed.extend(outcome if isinstance(outcome, list) and not labels else [whole])
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


def _preview(records: Records, source: str, limit: int) -> TablePreview:
    first = tuple(islice((item for item in records if isinstance(item, RawRecord)), limit))
    columns = tuple(dict.fromkeys(name for record in first for name in field_names(record.value)))
    rows = tuple({name: _cell(record.value, name) for name in columns} for record in first)
    suggested = most_frequent(detect_columns(record.value) for record in first)
    found = collect_labels(record.value for record in first)
    labels = found.names or found.candidates
    unread = unread_columns((record.value for record in first), None, labels)
    format = choose_reader(first, DEFAULT_OPTIONS).format
    return TablePreview(source, columns, rows, format, suggested, first, labels=labels, unread=unread)


def _cell(value: object, name: str) -> str:
    cell = value.get(name) if isinstance(value, Mapping) else None
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else dump(cell)
