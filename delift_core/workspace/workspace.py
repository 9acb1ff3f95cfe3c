"""The workspace folder: its database, its sub-folders, and the stores that read and write them.

    with Workspace.open(folder) as workspace:
        record = workspace.datasets.add(dataset, role="pool", origin="alpaca.json")

It owns where things lie; what lies in its sub-folders belongs to the modules that write it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from delift_core.errors import WorkspaceError
from delift_core.system.access import Actor, Operation
from delift_core.system.files import why_no_folder
from delift_core.workspace.database import ActorDatabase, Database, connect, fetch_one
from delift_core.workspace.datasets import DatasetStore
from delift_core.workspace.edits import EditLog, FilterStore
from delift_core.workspace.row_signals import SignalStore
from delift_core.workspace.runs import RunStore
from delift_core.workspace.selections import ExportLog, SelectionStore


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


DATABASE_NAME = "delift.duckdb"
FOLDERS = ("utility", "jobs", "exports", "uploads", "evaluations")


def utc_now() -> datetime:
    """The time now, UTC."""
    return datetime.now(UTC)


class Workspace:
    """A curator's work: one folder, one database, one store for each noun. Threads may share it.

    Attributes:
        folder: the workspace folder, absolute.
        utility_folder: scored pairs, one folder per context key.
        jobs_folder: files of background runs.
        exports_folder: written subsets.
        uploads_folder: files that came through the browser.
        evaluations_folder: evaluations of selections, one folder each, and the arms that they share.
        datasets, runs, selections, edits, exports, filters, settings, signals: the stores.
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
        self.settings = SettingStore(database)
        self.signals = SignalStore(database)
        self._database = database

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], datetime] = utc_now) -> "Workspace":
        """Opens a workspace, making the folder, its sub-folders and its tables where they are missing.

        Args:
            folder: the workspace folder; made when it does not exist.
            clock: gives the time, with its zone.

        Raises:
            WorkspaceError: the folder cannot be made, the workspace is open in another process or already in this
                one, or its file is broken or of a newer version.
        """
        folder = _make_folders(folder)
        return cls(folder, connect(folder / DATABASE_NAME, folder / "exports", clock))

    @property
    def actor(self) -> Actor:
        """In whose name this is used."""
        return self._database.actor

    def acting_as(self, actor: Actor) -> "Workspace":
        """The same open workspace as somebody else may use it; the one who opened it closes it."""
        return Workspace(self.folder, ActorDatabase(self._database, actor))

    def require(self, operation: Operation) -> None:
        """For what is done with files rather than the database.

        Raises:
            NotAllowed: the role of the actor does not reach.
        """
        self.actor.require(operation)

    def checkpoint(self) -> None:
        """Puts everything written so far into the one database file."""
        self._database.checkpoint()

    def read_everything(self) -> int:
        """Reads every row of every table, so that a damaged part of the file is found, and counts them.

        Raises:
            WorkspaceError: a part of the file is damaged.
        """
        return self._database.read_everything()

    def close(self) -> None:
        """Lets go of the file, so that another process can open it; more calls do nothing."""
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
        if words := why_no_folder(folder):
            raise WorkspaceError(words)
        folder = folder.resolve()
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder, or a loop of links
        raise WorkspaceError(
            f"workspace folder {folder} cannot be made ({error}): choose a folder that you may write to"
        ) from error
    return folder
