"""The one connection to a workspace's DuckDB file, and statements that several stores share.

DuckDB returns wrong rows when threads share a cursor, and refuses concurrent writers: every read and every write has a
cursor and a transaction of its own, and writes wait for a lock.
"""

import atexit
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from delift_core.errors import WorkspaceError
from delift_core.system.access import Actor, Operation, local_user
from delift_core.system.logs import log_event
from delift_core.system.processes import describe_process
from delift_core.workspace.schema import migrate

Cursor = duckdb.DuckDBPyConnection
Row = tuple[Any, ...]

# Scoring needs most of the memory and the cores.
_MEMORY_LIMIT = "25%"
_MAX_THREADS = 4
_NOUNS = {"datasets": "data set", "runs": "run", "selections": "selection"}


class Database:
    """An open DuckDB file, with all permissions of its owner. Thread-safe."""

    actor: Actor

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, clock: Callable[[], datetime]) -> None:
        self.path = path
        self.actor = local_user()
        self._connection = connection
        self._clock = clock
        self._writer = threading.Lock()
        self._idle = threading.Condition()
        self._open_cursors = 0
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """A cursor in a read-only transaction, whose statements all see the same state."""
        with self._transaction("BEGIN TRANSACTION READ ONLY") as cursor:
            yield cursor

    @contextmanager
    def write(self, operation: Operation) -> Iterator[Cursor]:
        """A cursor in a transaction that commits at the end of the block and rolls back on an exception.

        One at a time: nested in one thread, the second would wait forever.

        Raises:
            NotAllowed: the actor's role does not allow the operation.
        """
        self.actor.require(operation)
        with self._writer, self._transaction("BEGIN TRANSACTION") as cursor:
            yield cursor

    def signed(self, author: str) -> str:
        """The author to record for an edit: the owner may record edits of others."""
        return author

    def checkpoint(self) -> None:
        """Writes the write-ahead log into the file."""
        with self._writer, self._counted(), self._clear_errors(), self._connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")

    def read_everything(self) -> int:
        """Reads every row, which verifies DuckDB's checksums, and returns their number."""
        rows = 0
        with self.read() as cursor:
            names = cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            for name in sorted(name for (name,) in names):
                table = f'"{name}"'
                found = fetch_one(cursor, f"SELECT count(*), bit_xor(hash(one)) FROM {table} AS one")
                rows += int(found[0]) if found else 0
        return rows

    def now(self) -> datetime:
        """The time as the tables store it: UTC without a time zone."""
        return self._clock().astimezone(UTC).replace(tzinfo=None)

    def close(self) -> None:
        """Waits for reads and writes to finish, then closes the file; further calls do nothing."""
        with self._idle:
            already, self._closed = self._closed, True
            self._idle.wait_for(lambda: self._open_cursors == 0)
            if not already:
                self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Cursor]:
        with self._counted(), self._clear_errors():
            cursor = self._connection.cursor()
            try:
                cursor.execute(begin)
                try:
                    yield cursor
                    cursor.execute("COMMIT")
                except BaseException:
                    with suppress(duckdb.Error):  # a failed COMMIT has already rolled back
                        cursor.execute("ROLLBACK")
                    raise
            finally:
                cursor.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Makes `close` wait for the end of the block: an open cursor keeps the file locked."""
        with self._idle:
            if self._closed:
                raise WorkspaceError(f"workspace {self.path.parent} is closed: open it again")
            self._open_cursors += 1
        try:
            yield
        finally:
            with self._idle:
                self._open_cursors -= 1
                self._idle.notify_all()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turns errors that a user can cause or solve (disk, rights, memory, invalid text) into WorkspaceError."""
        try:
            yield
        except (duckdb.OperationalError, duckdb.FatalException) as error:
            again = "open it again" if isinstance(error, duckdb.FatalException) else "try again"
            raise WorkspaceError(
                f"workspace {self.path.parent} could not be read or written ({_first_line(error)}): "
                f"check the free disk space, memory and rights of the folder, then {again}"
            ) from error
        except UnicodeEncodeError as error:
            raise WorkspaceError(_bad_text(self.path)) from error
        except duckdb.InvalidInputException as error:
            if "surrogate" not in str(error):
                raise
            raise WorkspaceError(_bad_text(self.path)) from error
        except duckdb.Error as error:
            if not str(error).startswith("Corrupt database file"):
                raise
            raise WorkspaceError(
                f"workspace {self.path.parent} is damaged on disk ({_first_line(error)}): stop, and restore its last "
                "backup to another folder"
            ) from error


class ActorDatabase(Database):
    """The same open file with the permissions of one visitor, whose name is recorded with what they write."""

    def __init__(self, database: Database, actor: Actor) -> None:
        self.path = database.path
        self.actor = actor
        self._database = database

    @contextmanager
    def read(self) -> Iterator[Cursor]:
        """As `Database.read`."""
        with self._database.read() as cursor:
            yield cursor

    @contextmanager
    def write(self, operation: Operation) -> Iterator[Cursor]:
        """As `Database.write`, with the visitor's role."""
        self.actor.require(operation)
        with self._database.write(operation) as cursor:
            yield cursor
        if operation not in ("observe", "edit"):  # edits have their own history
            log_event("written", actor=self.actor.name, operation=operation)

    def signed(self, author: str) -> str:
        """The visitor's own name."""
        return self.actor.name

    def checkpoint(self) -> None:
        """As `Database.checkpoint`."""
        self._database.checkpoint()

    def now(self) -> datetime:
        """As `Database.now`."""
        return self._database.now()

    def close(self) -> None:
        """Does nothing: other visitors use the file too."""


def connect(path: Path, writable: Path, clock: Callable[[], datetime]) -> Database:
    """Opens a DuckDB file, locks its configuration, and applies pending migrations.

    Args:
        path: the database file; made if it does not exist.
        writable: the only folder that SQL may read and write.
        clock: returns the time with its time zone.

    Raises:
        WorkspaceError: the file is open already (in any process), is no DuckDB file, or has tables of a newer version.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(str(path), config=config)
    except duckdb.ConnectionException as error:
        raise WorkspaceError(_open_here(path)) from error
    except duckdb.Error as error:
        raise WorkspaceError(_cannot_open(path, error)) from error
    try:
        _lock_down(connection, path, writable)
        database = Database(path, connection, clock)
        migrate(connection, path.parent, database.now())
    except BaseException:
        connection.close()
        raise
    atexit.register(_close_if_alive, weakref.ref(database))
    return database


def fetch_one(cursor: Cursor, statement: str, values: Sequence[object] = ()) -> Row | None:
    """The first row of a query, or None."""
    row: Row | None = cursor.execute(statement, list(values)).fetchone()
    return row


def get_row(cursor: Cursor, table: str, columns: str, item_id: str) -> Row:
    """The row with an id.

    Raises:
        WorkspaceError: there is none.
    """
    row = fetch_one(cursor, f"SELECT {columns} FROM {table} WHERE id = ?", [item_id])
    if row is None:
        raise missing(_NOUNS[table], item_id)
    return row


def newest_rows(cursor: Cursor, table: str, columns: str, parent: str, value: str | None) -> list[Row]:
    """The rows whose column `parent` has a value, or all rows if that is None, newest first."""
    statement = f"SELECT {columns} FROM {table} WHERE {parent} = ? OR ? IS NULL ORDER BY number DESC"
    return cursor.execute(statement, [value, value]).fetchall()


def insert_row(cursor: Cursor, table: str, columns: str, values: Sequence[object]) -> None:
    """Inserts one row; `columns` are separated by commas, with a value each."""
    marks = ", ".join("?" for _ in values)
    cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values))


def next_number(cursor: Cursor, sequence: str) -> int:
    """The next number of a sequence; numbers of deleted rows are not used again."""
    row = fetch_one(cursor, "SELECT nextval(?)", [sequence])
    assert row is not None  # a SELECT without FROM has one row
    return int(row[0])


def with_zone(moment: datetime) -> datetime:
    """A stored time with its time zone (UTC)."""
    return moment.replace(tzinfo=UTC)


def required_name(name: str, noun: str) -> str:
    """The name without surrounding whitespace.

    Raises:
        WorkspaceError: the name is blank.
    """
    if not name.strip():
        raise WorkspaceError(f"a {noun} needs a name: give it one that is not blank")
    return name.strip()


def missing(noun: str, item_id: str) -> WorkspaceError:
    """The error for an id that is not in the workspace."""
    return WorkspaceError(f"the workspace has no {noun} {item_id!r}: it was deleted, or is in another workspace")


def _close_if_alive(reference: "weakref.ref[Database]") -> None:
    """Closes a database that is still open at exit: a daemon thread inside DuckDB would abort the interpreter."""
    database = reference()
    if database is not None:
        database.close()


def _lock_down(connection: duckdb.DuckDBPyConnection, path: Path, writable: Path) -> None:
    # A second connection in this process shares the database of the first, which has locked the settings.
    locked = connection.execute("SELECT current_setting('lock_configuration')").fetchall()[0][0]
    if locked:
        raise WorkspaceError(_open_here(path))
    threads = max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2))
    quoted = str(writable).replace("'", "''")
    try:
        for setting in (
            f"memory_limit = '{_MEMORY_LIMIT}'",
            f"threads = {threads}",
            f"allowed_directories = ['{quoted}']",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
    except duckdb.InvalidInputException as error:  # another thread locked it in between
        raise WorkspaceError(_open_here(path)) from error


def _cannot_open(path: Path, error: duckdb.Error) -> str:
    text = str(error)
    if "lock" in text.lower() or "being used by another process" in text:  # the second is said by Windows
        found = re.search(r"PID (\d+)", text)
        process = describe_process(int(found[1])) if found else "pid unknown"
        return (
            f"workspace {path.parent} is in use by another process ({process}): "
            "close the DELIFT Studio that has it open, or choose another workspace folder"
        )
    return (
        f"workspace {path.parent} cannot be opened: {_first_line(error)}; "
        f"check {path.name} and its rights, or choose another workspace folder"
    )


def _open_here(path: Path) -> str:
    return (
        f"workspace {path.parent} is already open in this process: use the Workspace that holds it, or close that one"
    )


def _bad_text(path: Path) -> str:
    return (
        f"workspace {path.parent} cannot keep text that is not valid Unicode (it has a lone surrogate): "
        "remove or replace that character"
    )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
