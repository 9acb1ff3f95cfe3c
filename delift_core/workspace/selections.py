"""Selections and exports in the database; the arrays of a selection are stored bit for bit."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from delift_core.selection.types import (
    Budget,
    Certificate,
    FixedRows,
    GreedyOrder,
    ObjectiveConfig,
    Quota,
    Quotas,
    RandomBaseline,
    Selection,
)
from delift_core.workspace.database import (
    Cursor,
    Database,
    Row,
    get_row,
    insert_row,
    missing,
    newest_rows,
    next_number,
    required_name,
    with_zone,
)
from delift_core.workspace.records import ExportRecord, SelectionRecord, SelectionSummary

_SUMMARY = (
    "id, run_id, name, metric, seed, created_at, stage, eta, nu, self_coverage, budget_unit, budget_amount, "
    "objective_value, upper_bound, n_chosen, n_pool, method, scaling, target_help"
)
_SUMMARY_COLUMNS = _SUMMARY.count(",") + 1
_ARRAYS = "chosen, chosen_gains, greedy_order, greedy_gains, residual_gains, random_values, fixed_kept, fixed_dropped"
_ALL = f"{_SUMMARY}, {_ARRAYS}, quotas, quota_codes, engine"
_POSITIONS, _GAINS = np.dtype("<i8"), np.dtype("<f8")


class SelectionStore:
    """The workspace's selections.

    An id that is not in the workspace raises `WorkspaceError`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, selection: Selection, *, name: str, metric: str, seed: int) -> SelectionRecord:
        """Stores a selection made from a run.

        Args:
            selection: its positions refer to the run's pool.
            metric: name of the utility metric, the unit of the gains.
            seed: of the random baseline.

        Raises:
            WorkspaceError: the name is blank.
        """
        name = required_name(name, "selection")
        with self._database.write("select") as cursor:
            get_row(cursor, "runs", "id", run_id)
            number = next_number(cursor, "selection_numbers")
            values = [number, f"s{number}", run_id, name, metric, int(seed), self._database.now()]
            values += [*_small_values(selection), *_array_values(selection), *_quota_values(selection.quotas)]
            insert_row(cursor, "selections", f"number, {_ALL}", [*values, selection.engine])
            return _get(cursor, f"s{number}")

    def records(self, run_id: str | None = None) -> tuple[SelectionSummary, ...]:
        """All selections (of a run) without their arrays, newest first."""
        with self._database.read() as cursor:
            return tuple(map(_summary, newest_rows(cursor, "selections", _SUMMARY, "run_id", run_id)))

    def load(self, selection_id: str) -> SelectionRecord:
        """A selection with its arrays."""
        with self._database.read() as cursor:
            return _get(cursor, selection_id)

    def rename(self, selection_id: str, name: str) -> None:
        """Renames a selection.

        Raises:
            WorkspaceError: the name is blank.
        """
        name = required_name(name, "selection")
        with self._database.write("select") as cursor:
            rows = cursor.execute("UPDATE selections SET name = ? WHERE id = ? RETURNING id", [name, selection_id])
            if not rows.fetchall():
                raise missing("selection", selection_id)

    def delete(self, selection_id: str) -> None:
        """Removes a selection with its edits and the records of its exports; exported files stay."""
        with self._database.write("delete") as cursor:
            rows = cursor.execute("DELETE FROM selections WHERE id = ? RETURNING id", [selection_id])
            if not rows.fetchall():
                raise missing("selection", selection_id)
            for table in ("edits", "exports"):
                cursor.execute(f"DELETE FROM {table} WHERE selection_id = ?", [selection_id])


def _small_values(selection: Selection) -> list[object]:
    """The scalar columns; float() because DuckDB takes no numpy scalars."""
    config, budget, certificate = selection.config, selection.budget, selection.certificate
    return [
        config.stage,
        float(config.eta),
        float(config.nu),
        float(config.self_coverage),
        budget.unit,
        float(budget.amount),
        float(certificate.value),
        float(certificate.upper_bound),
        len(selection.chosen),
        len(selection.residual_gains),
        selection.method,
        config.scaling,
        config.target_help,
    ]


def _array_values(selection: Selection) -> list[object]:
    arrays = (
        (selection.chosen, _POSITIONS),
        (selection.chosen_gains, _GAINS),
        (selection.greedy.order, _POSITIONS),
        (selection.greedy.gains, _GAINS),
        (selection.residual_gains, _GAINS),
        (np.array(selection.random.values), _GAINS),
        (np.array(selection.fixed.kept), _POSITIONS),
        (np.array(selection.fixed.dropped), _POSITIONS),
    )
    return [np.asarray(array, dtype=dtype).tobytes() for array, dtype in arrays]


def _quota_values(quotas: Quotas | None) -> list[object]:
    if quotas is None:
        return [None, None]
    groups = [
        [group.label, int(group.least), None if group.most is None else int(group.most)] for group in quotas.groups
    ]
    document = {"column": quotas.column, "groups": groups}
    return [json.dumps(document, ensure_ascii=False), np.asarray(quotas.codes, dtype=_POSITIONS).tobytes()]


def _quotas(document: str | None, codes: bytes | None) -> Quotas | None:
    if document is None or codes is None:
        return None
    read = json.loads(document)
    return Quotas(read["column"], tuple(Quota(*group) for group in read["groups"]), _array(codes, _POSITIONS))


def _get(cursor: Cursor, selection_id: str) -> SelectionRecord:
    row = get_row(cursor, "selections", _ALL, selection_id)
    summary, rest = _summary(row[:_SUMMARY_COLUMNS]), row[_SUMMARY_COLUMNS:]
    chosen, chosen_gains, order, gains, residual_gains, random_values, kept, dropped, *last = rest
    return SelectionRecord(
        id=summary.id,
        run_id=summary.run_id,
        name=summary.name,
        metric=summary.metric,
        selection=Selection(
            config=summary.config,
            budget=summary.budget,
            chosen=_array(chosen, _POSITIONS),
            chosen_gains=_array(chosen_gains, _GAINS),
            greedy=GreedyOrder(_array(order, _POSITIONS), _array(gains, _GAINS)),
            residual_gains=_array(residual_gains, _GAINS),
            certificate=summary.certificate,
            random=RandomBaseline(tuple(_array(random_values, _GAINS).tolist())),
            fixed=FixedRows(*(tuple(_array(part or b"", _POSITIONS).tolist()) for part in (kept, dropped))),
            quotas=_quotas(*last[:2]),
            engine=str(last[2]),
            method=summary.method,
        ),
        seed=summary.seed,
        created_at=summary.created_at,
    )


def _summary(row: Row) -> SelectionSummary:
    (selection_id, run_id, name, metric, seed, created_at, *rest) = row
    stage, eta, nu, self_coverage, unit, amount, value, upper_bound, n_chosen, n_pool, method, *how = rest
    return SelectionSummary(
        id=selection_id,
        run_id=run_id,
        name=name,
        metric=metric,
        config=ObjectiveConfig(stage, eta, nu, self_coverage, *how),
        budget=Budget(unit, amount),
        certificate=Certificate(value, upper_bound),
        n_chosen=n_chosen,
        n_pool=n_pool,
        seed=seed,
        created_at=with_zone(created_at),
        method=method,
    )


def _array(blob: bytes, dtype: np.dtype) -> np.ndarray:
    """The array of a BLOB, copied because `np.frombuffer` returns a read-only array."""
    return np.frombuffer(blob, dtype=dtype).astype(dtype.newbyteorder("="))


_COLUMNS = "id, selection_id, path, sha256, n_records, format, created_at"


class ExportLog:
    """The workspace's exports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, selection_id: str, *, path: str, sha256: str, n_records: int, format: str) -> ExportRecord:
        """Records an exported file, see `ExportRecord`."""
        with self._database.write("export") as cursor:
            get_row(cursor, "selections", "id", selection_id)
            number, now = next_number(cursor, "export_numbers"), self._database.now()
            values = [f"e{number}", selection_id, path, sha256, int(n_records), format, now]
            insert_row(cursor, "exports", f"number, {_COLUMNS}", [number, *values])
        return _record(values)

    def records(self, selection_id: str | None = None) -> tuple[ExportRecord, ...]:
        """All exports (of a selection), newest first."""
        with self._database.read() as cursor:
            return tuple(map(_record, newest_rows(cursor, "exports", _COLUMNS, "selection_id", selection_id)))


def _record(row: Sequence[Any]) -> ExportRecord:
    export_id, selection_id, path, sha256, n_records, wire_format, created_at = row
    return ExportRecord(export_id, selection_id, path, sha256, n_records, wire_format, with_zone(created_at))
