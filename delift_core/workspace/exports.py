"""Notes of the files that were written from selections. It does not write or read those files."""

from delift_core.workspace.database import Database, Row, fetch_one, missing, next_number, with_zone
from delift_core.workspace.records import ExportRecord

_COLUMNS = "id, selection_id, path, sha256, n_records, format, created_at"


class ExportLog:
    """The workspace's exports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, selection_id: str, *, path: str, sha256: str, n_records: int, format: str) -> ExportRecord:
        """Notes that a file was written.

        Args:
            selection_id: what it was written from.
            path: where it was written.
            sha256: SHA-256 (hex) of its bytes.
            n_records: records in it.
            format: name of its wire format.

        Raises:
            WorkspaceError: there is no such selection.
        """
        with self._database.write("export") as cursor:
            if fetch_one(cursor, "SELECT 1 FROM selections WHERE id = ?", [selection_id]) is None:
                raise missing("selection", selection_id)
            number = next_number(cursor, "export_numbers")
            now = self._database.now()
            cursor.execute(
                f"INSERT INTO exports (number, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [number, f"e{number}", selection_id, path, sha256, int(n_records), format, now],
            )
        return ExportRecord(f"e{number}", selection_id, path, sha256, n_records, format, with_zone(now))

    def records(self, selection_id: str | None = None) -> tuple[ExportRecord, ...]:
        """All exports (of a selection), newest first. This is a read-only operation."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM exports WHERE selection_id = ? OR ? IS NULL ORDER BY number DESC",
                [selection_id, selection_id],
            ).fetchall()
        return tuple(_record(row) for row in rows)


def _record(row: Row) -> ExportRecord:
    export_id, selection_id, path, sha256, n_records, wire_format, created_at = row
    return ExportRecord(export_id, selection_id, path, sha256, n_records, wire_format, with_zone(created_at))
