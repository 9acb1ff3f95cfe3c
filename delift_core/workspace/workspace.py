"""The workspace folder: its database, its sub-folders, and the stores of its tables.

with Workspace.open(folder) as workspace:
    record = workspace.datasets.add(dataset, role="pool")
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from delift_core.errors import WorkspaceError
from delift_core.system.access import Actor, Operation
from delift_core.system.files import why_folder_unusable
from delift_core.workspace.database import ActorDatabase, Database, connect, fetch_one
from delift_core.workspace.datasets import DatasetStore
from delift_core.workspace.edits import EditLog, FilterStore, ReadLog
from delift_core.workspace.runs import RunStore
from delift_core.workspace.sample_rows import SignalStore
from delift_core.workspace.selections import ExportLog, SelectionStore


class SettingStore:
    """The workspace's settings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: str = "") -> str:
        """The text stored under a key, or `default`."""
        with self._database.read() as cursor:
            row = fetch_one(cursor, "SELECT value FROM settings WHERE key = ?", [key])
        return default if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Stores a text under a key; an earlier one is replaced."""
        with self._database.write("upkeep") as cursor:
            cursor.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key, value])


DATABASE_NAME = "delift.duckdb"
FOLDERS = ("utility", "jobs", "exports", "uploads", "evaluations")


def utc_now() -> datetime:
    """The time now, UTC."""
    return datetime.now(UTC)


class Workspace:
    """A curator's work: a folder, its database, and a store for each table. Thread-safe.

    Attributes:
        folder: the workspace folder, absolute.
        utility_folder: scored pairs, one folder per context key.
        jobs_folder: files of scoring jobs, one folder per run.
        exports_folder: exported subsets.
        uploads_folder: files uploaded in the browser.
        evaluations_folder: evaluations of selections, one folder each, and the results that they share.
        datasets, runs, selections, edits, exports, filters, reads, settings, signals: the stores.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.utility_folder = folder / "utility"
        self.jobs_folder = folder / "jobs"
        self.exports_folder = folder / "exports"
        self.uploads_folder = folder / "uploads"
        self.evaluations_folder = folder / "evaluations"
        self.datasets = DatasetStore(database)
        self.runs = RunStore(database)
        self.selections = SelectionStore(database)
        self.edits = EditLog(database)
        self.exports = ExportLog(database)
        self.filters = FilterStore(database)
        self.reads = ReadLog(database)
        self.settings = SettingStore(database)
        self.signals = SignalStore(database)
        self._database = database

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], datetime] = utc_now) -> "Workspace":
        """Opens a workspace; missing folders and tables are made.

        Args:
            clock: returns the time with its time zone.

        Raises:
            WorkspaceError: the folder cannot be made, the workspace is open already (in any process), or its database
                is damaged or of a newer version.
        """
        folder = _make_folders(folder)
        return cls(folder, connect(folder / DATABASE_NAME, folder / "exports", clock))

    @property
    def actor(self) -> Actor:
        """The user on whose behalf the workspace is used."""
        return self._database.actor

    def acting_as(self, actor: Actor) -> "Workspace":
        """The same open workspace with the permissions of another user, who cannot close it."""
        return Workspace(self.folder, ActorDatabase(self._database, actor))

    def require(self, operation: Operation) -> None:
        """Raises unless the actor's role allows an operation; for operations on files rather than the database.

        Raises:
            NotAllowed: it does not.
        """
        self.actor.require(operation)

    def checkpoint(self) -> None:
        """Writes the write-ahead log into the database file."""
        self._database.checkpoint()

    def read_everything(self) -> int:
        """Reads every row of every table, which verifies their checksums, and returns the number of rows.

        Raises:
            WorkspaceError: the file is damaged.
        """
        return self._database.read_everything()

    def close(self) -> None:
        """Closes the file, so that another process can open it; further calls do nothing."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_folders(folder: Path) -> Path:
    try:
        folder = folder.expanduser()
        if problem := why_folder_unusable(folder):
            raise WorkspaceError(problem)
        folder = folder.resolve()
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder, or a loop of links
        raise WorkspaceError(
            f"workspace folder {folder} cannot be made ({error}): choose a folder that you may write to"
        ) from error
    return folder
