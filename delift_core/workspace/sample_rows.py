"""Rows of a data set in their tables: samples and problems, through Arrow, and cached signals, a label per row."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from delift_core.data.quality.facets import Facet
from delift_core.samples import Message, Problem, Sample, ToolCall
from delift_core.workspace.database import Cursor, Database, fetch_one, get_row

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_COLUMNS = "position, sample_id, content_hash, source, line, messages, raw, structure"
PROBLEM_COLUMNS = "kind, source, line, field, message, remedy, excerpt, raw"
SIGNALS_VERSION = 2  # raised when the signals of the same rows change; signals of earlier versions are not read
_CHUNK_ROWS = 20_000  # limits the memory of one insert


def insert_rows(cursor: Cursor, table: str, rows: "pa.Table") -> None:
    """Inserts an Arrow table, which is many times faster than row parameters."""
    cursor.register("incoming", rows)
    cursor.execute(f"INSERT INTO {table} SELECT * FROM incoming")
    cursor.unregister("incoming")


def sample_tables(dataset_id: str, samples: Sequence[Sample]) -> Iterator["pa.Table"]:
    """The rows of the table `samples`, in chunks."""
    import pyarrow as pa

    for start in range(0, len(samples), _CHUNK_ROWS):
        chunk = samples[start : start + _CHUNK_ROWS]
        turns = [turn for sample in chunk for turn in sample.messages]
        ends = np.cumsum([0, *(len(sample.messages) for sample in chunk)])
        flat = pa.StructArray.from_arrays(
            [
                pa.array([turn.role for turn in turns], pa.string()),
                pa.array([turn.content for turn in turns], pa.string()),
            ],
            ["role", "content"],
        )
        yield pa.table(
            {
                "dataset_id": pa.array([dataset_id] * len(chunk), pa.string()),
                "position": pa.array(range(start, start + len(chunk)), pa.int64()),
                "sample_id": pa.array([sample.id for sample in chunk], pa.string()),
                "content_hash": pa.array([sample.content_hash for sample in chunk], pa.string()),
                "source": pa.array([sample.source for sample in chunk], pa.string()),
                "line": pa.array([sample.line for sample in chunk], pa.int64()),
                "messages": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat),
                "raw": pa.array([sample.raw for sample in chunk], pa.string()),
                "structure": pa.array([_structure(sample) for sample in chunk], _structure_type()),
            }
        )


def _structure_type() -> "pa.DataType":
    import pyarrow as pa

    text = pa.string()
    call = pa.struct([("name", text), ("arguments", text), ("id", text)])
    turn = [("turn", pa.int64()), ("thoughts", text), ("calls", pa.list_(call)), ("call_id", text), ("name", text)]
    return pa.struct([("tools", text), ("scored", text), ("turns", pa.list_(pa.struct(turn)))])


def _structure(sample: Sample) -> dict[str, object] | None:
    """The column `structure` of a sample; None if it has texts alone and is scored whole."""
    turns = [
        {
            "turn": at,
            "thoughts": one.thoughts,
            "calls": [{"name": call.name, "arguments": call.arguments, "id": call.id} for call in one.calls],
            "call_id": one.call_id,
            "name": one.name,
        }
        for at, one in enumerate(sample.messages)
        if one.thoughts or one.calls or one.call_id or one.name
    ]
    if not turns and not sample.tools and sample.scored == "turn":
        return None
    return {"tools": sample.tools, "scored": sample.scored, "turns": turns}


def with_stored_structure(sample: Sample, stored: Mapping[str, Any] | None) -> Sample:
    """A sample of texts with the structure that is stored beside them."""
    if stored is None:
        return sample
    messages = list(sample.messages)
    for one in stored["turns"]:
        calls = tuple(ToolCall(**call) for call in one["calls"])
        kept = {key: one[key] for key in ("thoughts", "call_id", "name")}
        messages[one["turn"]] = replace(messages[one["turn"]], calls=calls, **kept)
    return replace(sample, messages=tuple(messages), tools=stored["tools"], scored=stored["scored"])


def samples_of(table: "pa.Table") -> tuple[Sample, ...]:
    """The samples of rows of the table `samples`; read by column, which is several times faster than by row."""
    turns = table.column("messages").combine_chunks()
    flat = turns.flatten()
    roles, contents = flat.field("role").to_pylist(), flat.field("content").to_pylist()
    messages = [Message(role, content) for role, content in zip(roles, contents, strict=True)]
    ends = np.cumsum(turns.value_lengths().to_numpy(zero_copy_only=False)).tolist()
    columns = [table.column(name).to_pylist() for name in ("sample_id", "raw", "source", "line", "content_hash")]
    found, start = [], 0
    for end, (sample_id, raw, source, line, content_hash) in zip(ends, zip(*columns, strict=True), strict=True):
        found.append(Sample(sample_id, tuple(messages[start:end]), raw, source, line, content_hash))
        start = end
    structures = table.column("structure")
    if structures.null_count < len(found):
        found = list(map(with_stored_structure, found, structures.to_pylist()))
    return tuple(found)


def problem_table(dataset_id: str, problems: Sequence[Problem]) -> "pa.Table":
    import pyarrow as pa

    names = [name.strip() for name in PROBLEM_COLUMNS.split(",")]
    return pa.table(
        {
            "dataset_id": pa.array([dataset_id] * len(problems), pa.string()),
            "position": pa.array(range(len(problems)), pa.int64()),
            **{name: pa.array([getattr(problem, name) for problem in problems]) for name in names},
        }
    )


class SignalStore:
    """The workspace's signals; an unknown data set raises `WorkspaceError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, dataset_id: str, facets: tuple[Facet, ...]) -> None:
        """Stores the signals of a data set; earlier ones are replaced."""
        rows = [
            [dataset_id, place, SIGNALS_VERSION, facet.name, json.dumps(facet.labels), _packed(facet)]
            for place, facet in enumerate(facets)
        ]
        with self._database.write("observe") as cursor:
            get_row(cursor, "datasets", "id", dataset_id)
            cursor.execute("DELETE FROM signals WHERE dataset_id = ?", [dataset_id])
            # The row at place -1 says that the signals were computed, also if there are no facets.
            for row in [[dataset_id, -1, SIGNALS_VERSION, "", "[]", b""], *rows]:
                cursor.execute("INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?)", row)

    def known(self, dataset_id: str) -> bool:
        """Whether the signals of a data set are stored."""
        with self._database.read() as cursor:
            query = "SELECT 1 FROM signals WHERE dataset_id = ? AND version = ? AND place = -1"
            return fetch_one(cursor, query, [dataset_id, SIGNALS_VERSION]) is not None

    def of(self, dataset_id: str) -> tuple[Facet, ...] | None:
        """The signals of a data set; None if they are not stored."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT place, name, labels, codes FROM signals WHERE dataset_id = ? AND version = ? ORDER BY place",
                [dataset_id, SIGNALS_VERSION],
            ).fetchall()
        if not rows:
            return None
        return tuple(
            Facet(name, tuple(json.loads(labels)), np.frombuffer(codes, "<i2").astype(np.int64))
            for place, name, labels, codes in rows
            if place >= 0
        )


def _packed(facet: Facet) -> bytes:
    return facet.codes.astype("<i2").tobytes()  # a facet has a few labels
