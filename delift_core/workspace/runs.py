"""Scoring runs in the database: their settings and status. `curation.scoring_runs` starts, stops and resumes them."""

from dataclasses import replace

from delift_core.errors import WorkspaceError
from delift_core.models.prompts import Rendering
from delift_core.scoring.pair_spec import ALL_PAIRS, format_pairs, parse_pairs
from delift_core.system.codec import decode, encode
from delift_core.workspace.database import Cursor, Database, Row, get_row, insert_row, next_number, with_zone
from delift_core.workspace.records import RunRecord, RunSpec, RunStatus

_COLUMNS = (
    "id, pool_id, target_id, existing_id, model, template, device, dtype, pairs, template_arguments, status, "
    "context_key, model_revision, created_at, finished_at, message, truncated, n_pairs, rendering"
)


class RunStore:
    """The workspace's scoring runs.

    An id that is not in the workspace raises `WorkspaceError`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, spec: RunSpec) -> RunRecord:
        """Adds a run with the status "queued".

        Raises:
            WorkspaceError: a data set of the spec is not in the workspace.
        """
        with self._database.write("job") as cursor:
            for dataset_id in (spec.pool_id, spec.target_id, spec.existing_id):
                if dataset_id is not None:
                    get_row(cursor, "datasets", "id", dataset_id)
            number = next_number(cursor, "run_numbers")
            values = [f"r{number}", *_spec_values(spec), "queued", "", "", self._database.now(), None, "", 0, 0, ""]
            insert_row(cursor, "runs", f"number, {_COLUMNS}", [number, *values])
            return _get(cursor, f"r{number}")

    def records(self) -> tuple[RunRecord, ...]:
        """All runs, newest first."""
        with self._database.read() as cursor:
            rows = cursor.execute(f"SELECT {_COLUMNS} FROM runs ORDER BY number DESC").fetchall()
        return tuple(_record(row) for row in rows)

    def record(self, run_id: str) -> RunRecord:
        """One run."""
        with self._database.read() as cursor:
            return _get(cursor, run_id)

    def find(self, spec: RunSpec) -> RunRecord | None:
        """The newest run with a spec, if there is one."""
        return next((record for record in self.records() if record.spec == spec), None)

    def pairs_known(self, spec: RunSpec) -> int:
        """How many pairs of a run of all pairs an earlier one with the same settings has scored; 0 with a budget."""
        known = [
            run.n_pairs
            for run in self.records()
            if replace(run.spec, target_id=spec.target_id, existing_id=spec.existing_id, pairs=spec.pairs) == spec
            and run.spec.target_id in (None, spec.target_id)
            and run.spec.existing_id in (None, spec.existing_id)
        ]
        return max(known, default=0) if spec.pairs == ALL_PAIRS else 0

    def set_status(self, run_id: str, status: RunStatus, *, message: str | None = None) -> RunRecord:
        """`update` with another status, and another message unless it is None."""
        record = self.record(run_id)
        return self.update(replace(record, status=status, message=record.message if message is None else message))

    def update(self, record: RunRecord) -> RunRecord:
        """Writes what changes in a run: the status, the message, and what is known of its results.

        `finished_at` is set by the first final status, and cleared by "queued" and "running"."""
        unfinished = record.status in ("queued", "running")
        with self._database.write("observe") as cursor:
            cursor.execute(
                """UPDATE runs SET finished_at = CASE WHEN ? THEN NULL ELSE coalesce(finished_at, ?) END, status = ?,
                    message = ?, context_key = ?, model_revision = ?, truncated = ?, n_pairs = ?,
                    rendering = ? WHERE id = ?""",
                [
                    *(unfinished, self._database.now(), record.status),
                    *(record.message, record.context_key, record.model_revision),
                    *(int(record.truncated), int(record.n_pairs)),  # DuckDB takes no numpy integers
                    *(encode(record.rendering).decode(), record.id),
                ],
            )
            return _get(cursor, record.id)

    def delete(self, run_id: str) -> None:
        """Removes a run; its files under utility/ stay, as other runs may share them.

        Raises:
            WorkspaceError: a selection was made from it.
        """
        with self._database.write("delete") as cursor:
            _get(cursor, run_id)
            rows = cursor.execute("SELECT name FROM selections WHERE run_id = ? ORDER BY number", [run_id]).fetchall()
            if rows:
                names = ", ".join(repr(row[0]) for row in rows)
                raise WorkspaceError(f"run {run_id} has selections ({names}): delete those first")
            cursor.execute("DELETE FROM runs WHERE id = ?", [run_id])


def _spec_values(spec: RunSpec) -> list[str | None]:
    sets = [spec.pool_id, spec.target_id, spec.existing_id]
    return [
        *sets,
        spec.model,
        spec.template,
        spec.device,
        spec.dtype,
        format_pairs(spec.pairs),
        spec.template_arguments,
    ]


def _get(cursor: Cursor, run_id: str) -> RunRecord:
    return _record(get_row(cursor, "runs", _COLUMNS, run_id))


def _record(row: Row) -> RunRecord:
    (
        run_id,
        *spec,
        pairs,
        arguments,
        status,
        context_key,
        revision,
        created_at,
        finished_at,
        message,
        truncated,
        n_pairs,
        rendering,
    ) = row
    return RunRecord(
        id=run_id,
        spec=replace(RunSpec(*spec), pairs=parse_pairs(pairs), template_arguments=arguments),
        status=status,
        context_key=context_key,
        model_revision=revision,
        created_at=with_zone(created_at),
        finished_at=None if finished_at is None else with_zone(finished_at),
        message=message,
        truncated=truncated,
        n_pairs=n_pairs,
        rendering=decode(Rendering, rendering) if rendering else Rendering(),
    )
