"""Settings: short texts under a key. It knows nothing of what they mean."""

from delift_core.workspace.database import Database, fetch_one


class SettingStore:
    """The workspace's settings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: str = "") -> str:
        """The text under a key, or `default`. This is a read-only operation."""
        with self._database.read() as cursor:
            row = fetch_one(cursor, "SELECT value FROM settings WHERE key = ?", [key])
        return default if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Puts a text under a key, in place of any that was there."""
        with self._database.write("upkeep") as cursor:
            cursor.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key, value])
