"""Filters that a curator gave a name, for each pool; it knows nothing of what a filter says."""

from delift_core.workspace.database import Database, fetch_one, missing, required_name
from delift_core.workspace.records import NamedFilter


class FilterStore:
    """The workspace's named filters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, dataset_id: str, name: str, query: str) -> NamedFilter:
        """Puts a filter under a name, in place of any that had it.

        Args:
            dataset_id: the pool whose rows it is about.
            name: for the curator, not blank.
            query: what it says, as it stands in a page's address.

        Raises:
            WorkspaceError: there is no such data set, or the name is blank.
        """
        name = required_name(name, "filter")
        with self._database.write("filter") as cursor:
            if fetch_one(cursor, "SELECT 1 FROM datasets WHERE id = ?", [dataset_id]) is None:
                raise missing("data set", dataset_id)
            cursor.execute(
                "INSERT OR REPLACE INTO filters VALUES (?, ?, ?, ?)", [dataset_id, name, query, self._database.now()]
            )
        return NamedFilter(name, query)

    def records(self, dataset_id: str) -> tuple[NamedFilter, ...]:
        """The filters of a pool, by name. This is a read-only operation."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT name, query FROM filters WHERE dataset_id = ? ORDER BY name", [dataset_id]
            ).fetchall()
        return tuple(NamedFilter(name, query) for name, query in rows)

    def delete(self, dataset_id: str, name: str) -> None:
        """Forgets a filter.

        Raises:
            WorkspaceError: there is none with this name.
        """
        with self._database.write("filter") as cursor:
            rows = cursor.execute(
                "DELETE FROM filters WHERE dataset_id = ? AND name = ? RETURNING name", [dataset_id, name]
            )
            if not rows.fetchall():
                raise missing("filter", name)
