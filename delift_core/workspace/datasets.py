"""Data sets and their samples in the database; the samples of a data set never change."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from delift_core.data.loading import Choice, Dataset, Origin, ReadOptions
from delift_core.data.loading.raw_records import Watch, rows_progress
from delift_core.errors import WorkspaceError
from delift_core.samples import ColumnMapping, Message, Problem, Sample
from delift_core.system.codec import decode, encode
from delift_core.system.processes import garbage_collection_paused
from delift_core.workspace.database import (
    Cursor,
    Database,
    Row,
    fetch_one,
    get_row,
    insert_row,
    newest_rows,
    next_number,
    required_name,
    with_zone,
)
from delift_core.workspace.records import DatasetRecord, DatasetRole, SamplePage, SampleRow
from delift_core.workspace.sample_rows import (
    PROBLEM_COLUMNS,
    SAMPLE_COLUMNS,
    insert_rows,
    problem_table,
    sample_tables,
    samples_of,
    with_stored_structure,
)

_COLUMNS = (
    "id, role, name, origin, format, mapping_prompt, mapping_response, mapping_system, content_hash, "
    "n_samples, n_problems, created_at, turns, choices, sha256, mapping_parts, options, hub_commit"
)
# SQL for Sample.response with the thoughts before it, and for Sample.prompt, the last user turn before it.
_THOUGHTS = "list_filter(structure.turns, lambda one: one.turn = len(messages) - 1)[1].thoughts"
_RESPONSE = f"(coalesce({_THOUGHTS}, '') || messages[-1].content)"
_PROMPT = "list_filter(messages[:-2], lambda turn: turn.role = 'user')[-1].content"


class DatasetStore:
    """The workspace's data sets.

    An id that is not in the workspace raises `WorkspaceError`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, dataset: Dataset, *, role: DatasetRole, watch: Watch | None = None) -> DatasetRecord:
        """Stores a data set, once for equal contents in the same role.

        Adding it again replaces its name, origin and choices, unless the rows come from memory; its id, time and the
        names of its sources stay.

        Args:
            dataset: its name and the names of its sources do not count as contents.
            watch: called with the progress; an exception that it raises rolls back.

        Raises:
            WorkspaceError: a text is not valid Unicode, or the workspace cannot be written.
        """
        dataset_id = f"{role}-{_digest(dataset)[:12]}"
        with self._database.write("import") as cursor:
            if fetch_one(cursor, "SELECT 1 FROM datasets WHERE id = ?", [dataset_id]) is None:
                number, now = next_number(cursor, "dataset_numbers"), self._database.now()
                values = [number, dataset_id, role, *_values(dataset, now)]
                insert_row(cursor, "datasets", f"number, {_COLUMNS}", values)
                stored = 0
                for rows in sample_tables(dataset_id, dataset.samples):
                    insert_rows(cursor, "samples", rows)
                    stored += len(rows)
                    if watch:
                        watch(rows_progress("saving", stored, len(dataset)))
                if dataset.problems:
                    insert_rows(cursor, "problems", problem_table(dataset_id, dataset.problems))
            elif dataset.origin.kind != "memory":  # a source that can be read again stays known
                cursor.execute(
                    "UPDATE datasets SET name = ?, choices = ?, origin = ?, sha256 = ?, options = ?, hub_commit = ? "
                    "WHERE id = ?",
                    [dataset.name, _choices_text(dataset.choices), *_origin_values(dataset.origin), dataset_id],
                )
            return _get(cursor, dataset_id)

    def records(self, role: DatasetRole | None = None) -> tuple[DatasetRecord, ...]:
        """All data sets (of a role), newest first."""
        with self._database.read() as cursor:
            return tuple(map(_record, newest_rows(cursor, "datasets", _COLUMNS, "role", role)))

    def record(self, dataset_id: str) -> DatasetRecord:
        """One data set, without its samples."""
        with self._database.read() as cursor:
            return _get(cursor, dataset_id)

    def load(self, dataset_id: str) -> Dataset:
        """A data set with its samples, under its current name."""
        with self._database.read() as cursor:
            record = _get(cursor, dataset_id)
            problems = cursor.execute(
                f"SELECT {PROBLEM_COLUMNS} FROM problems WHERE dataset_id = ? ORDER BY position", [dataset_id]
            ).fetchall()
            found = cursor.sql(
                f"SELECT {SAMPLE_COLUMNS} FROM samples WHERE dataset_id = ? ORDER BY position",
                params=[dataset_id],
            ).to_arrow_table()
        with garbage_collection_paused():
            samples = samples_of(found)
        return Dataset(
            name=record.name,
            format=record.format,
            mapping=record.mapping,
            samples=samples,
            problems=tuple(Problem(*row) for row in problems),
            turns=record.turns,
            choices=record.choices,
            origin=record.origin,
        )

    def find(self, dataset_id: str, search: str) -> np.ndarray:
        """(m,) int64 positions, ascending, of the samples whose prompt or response contains a text, in any case."""
        with self._database.read() as cursor:
            _get(cursor, dataset_id)
            return _find_text(cursor, dataset_id, search)

    def characters(self, dataset_id: str) -> np.ndarray:
        """(n, 2) int64, number of characters of each sample's prompt and response."""
        with self._database.read() as cursor:
            _get(cursor, dataset_id)
            found = cursor.execute(
                f"""SELECT coalesce(length({_PROMPT}), 0) AS prompt, length({_RESPONSE}) AS response FROM samples
                    WHERE dataset_id = ? ORDER BY position""",
                [dataset_id],
            ).fetchnumpy()
        return np.stack([found["prompt"], found["response"]], axis=1).astype(np.int64)

    def page(
        self,
        dataset_id: str,
        *,
        search: str = "",
        positions: Sequence[int] | np.ndarray | None = None,
        limit: int,
        offset: int = 0,
    ) -> SamplePage:
        """One page of samples.

        Args:
            search: only samples whose prompt or response contains this text (see `find`).
            positions: only these samples, in this order; None for all in file order.
            limit: rows on a page, >= 0.
            offset: rows before this page, >= 0.

        Raises:
            WorkspaceError: a position is outside it.
        """
        with self._database.read() as cursor:
            n_samples = _get(cursor, dataset_id).n_samples
            wanted = np.arange(n_samples) if positions is None else np.asarray(positions, dtype=np.int64)
            if wanted.size and (wanted.min() < 0 or wanted.max() >= n_samples):
                raise WorkspaceError(
                    f"data set {dataset_id!r} has samples 0 to {n_samples - 1}, asked for {wanted.min()} to "
                    f"{wanted.max()}: ask with positions of this data set"
                )
            if search:
                wanted = wanted[np.isin(wanted, _find_text(cursor, dataset_id, search))]
            return SamplePage(len(wanted), _rows_at(cursor, dataset_id, wanted[offset : offset + limit].tolist()))

    def rename(self, dataset_id: str, name: str) -> DatasetRecord:
        """Renames a data set.

        Raises:
            WorkspaceError: the name is blank.
        """
        name = required_name(name, "data set")
        with self._database.write("import") as cursor:
            cursor.execute("UPDATE datasets SET name = ? WHERE id = ?", [name, dataset_id])
            return _get(cursor, dataset_id)

    def delete(self, dataset_id: str) -> None:
        """Removes a data set with its samples, problems, signals and named filters.

        Raises:
            WorkspaceError: a run refers to it.
        """
        with self._database.write("delete") as cursor:
            name = _get(cursor, dataset_id).name
            runs = cursor.execute(
                "SELECT id FROM runs WHERE ? IN (pool_id, target_id, existing_id) ORDER BY number", [dataset_id]
            ).fetchall()
            if runs:
                raise WorkspaceError(
                    f"data set {name!r} is used by {_listed([row[0] for row in runs])}: delete that first"
                )
            for table in ("samples", "problems", "filters", "signals", "reads"):
                cursor.execute(f"DELETE FROM {table} WHERE dataset_id = ?", [dataset_id])
            cursor.execute("DELETE FROM datasets WHERE id = ?", [dataset_id])


def _digest(dataset: Dataset) -> str:
    """SHA-256 (hex) of the contents: everything but the names of the data set and of its sources."""
    mapping = dataset.mapping
    columns = [mapping.prompt, mapping.response, mapping.system, *mapping.parts] if mapping else None
    digest = hashlib.sha256(json.dumps([dataset.format, columns]).encode())
    if dataset.turns != "last":
        digest.update(dataset.turns.encode())
    for sample in dataset.samples:
        digest.update(json.dumps([sample.id, sample.content_hash, sample.line, sample.raw]).encode())
    for problem in dataset.problems:
        digest.update(json.dumps([problem.kind, problem.line, problem.field, problem.excerpt]).encode())
    return digest.hexdigest()


def _values(dataset: Dataset, now: datetime) -> list[object]:
    """The columns of a data set from its name on."""
    mapping = dataset.mapping
    origin, sha256, options, commit = _origin_values(dataset.origin)
    return [
        dataset.name,
        origin,
        dataset.format,
        *((mapping.prompt, mapping.response, mapping.system) if mapping else (None, None, None)),
        dataset.content_hash,
        len(dataset.samples),
        len(dataset.problems),
        now,
        dataset.turns,
        _choices_text(dataset.choices),
        sha256,
        json.dumps(mapping.parts if mapping else []),
        options,
        commit,
    ]


def _origin_values(origin: Origin) -> tuple[str, str, str | None, str]:
    """The columns origin, sha256, options and hub_commit."""
    options = None if origin.options is None else encode(origin.options).decode()
    return str(origin), origin.sha256, options, origin.split.commit if origin.split else ""


def _get(cursor: Cursor, dataset_id: str) -> DatasetRecord:
    return _record(get_row(cursor, "datasets", _COLUMNS, dataset_id))


def _find_text(cursor: Cursor, dataset_id: str, search: str) -> np.ndarray:
    rows = cursor.execute(
        f"""SELECT position FROM samples
            WHERE dataset_id = ? AND (contains(lower({_RESPONSE}), lower(?)) OR contains(lower({_PROMPT}), lower(?)))
            ORDER BY position""",
        [dataset_id, search, search],
    ).fetchall()
    return np.array([row[0] for row in rows], dtype=np.int64)


def _rows_at(cursor: Cursor, dataset_id: str, positions: list[int]) -> tuple[SampleRow, ...]:
    """The samples at these positions, in this order."""
    rows = cursor.execute(
        f"SELECT {SAMPLE_COLUMNS} FROM samples WHERE dataset_id = ? AND position IN (SELECT unnest(?::BIGINT[]))",
        [dataset_id, positions],
    ).fetchall()
    by_position = {row[0]: _sample_row(row) for row in rows}
    return tuple(by_position[position] for position in positions)


def _record(row: Row) -> DatasetRecord:
    dataset_id, role, name, origin, wire_format, prompt, response, system, *rest = row
    content_hash, n_samples, n_problems, created_at, turns, choices, sha256, parts, options, commit = rest
    read_as = None if options is None else decode(ReadOptions, options)
    return DatasetRecord(
        id=dataset_id,
        role=role,
        name=name,
        origin=Origin.parse(origin, read_as, sha256=sha256 or "", commit=commit or ""),
        format=wire_format,
        mapping=None if prompt is None else ColumnMapping(prompt, response, system, tuple(json.loads(parts or "[]"))),
        content_hash=content_hash,
        n_samples=n_samples,
        n_problems=n_problems,
        created_at=with_zone(created_at),
        turns=turns,
        choices=tuple(Choice(remedy, tuple(ids), reason) for remedy, ids, reason in json.loads(choices or "[]")),
    )


def _choices_text(choices: Sequence[Choice]) -> str:
    return json.dumps([[choice.remedy, choice.sample_ids, choice.reason] for choice in choices])


def _sample_row(row: Row) -> SampleRow:
    position, sample_id, content_hash, source, line, messages, raw, structure = row
    turns = tuple(Message(turn["role"], turn["content"]) for turn in messages)
    sample = Sample(sample_id, turns, raw, source, line, content_hash)
    return SampleRow(position, with_stored_structure(sample, structure))


def _listed(run_ids: Sequence[str]) -> str:
    return f"run {run_ids[0]}" if len(run_ids) == 1 else f"runs {', '.join(run_ids)}"
