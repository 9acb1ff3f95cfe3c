"""Migrations: applied once, in order, wholly or not at all; a newer file is refused."""

from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from delift_core.errors import WorkspaceError
from delift_core.workspace import Workspace
from delift_core.workspace.schema import MIGRATIONS, Migration, current_version, migrate

NOW = datetime(2031, 1, 2)
WHERE = Path("somewhere")


def tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def test_versions_count_from_one_without_gaps() -> None:
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_each_migration_applies_alone_to_the_version_before_it() -> None:
    connection = duckdb.connect()
    assert current_version(connection) == 0
    for count in range(1, len(MIGRATIONS) + 1):
        assert migrate(connection, WHERE, NOW, MIGRATIONS[:count]) == (count,)
        assert current_version(connection) == count
    logged = connection.execute("SELECT version, name, applied_at FROM migrations ORDER BY version").fetchall()
    assert logged == [(migration.version, migration.name, NOW) for migration in MIGRATIONS]


def test_reopening_applies_nothing(tmp_path: Path) -> None:
    Workspace.open(tmp_path).close()
    connection = duckdb.connect(str(tmp_path / "delift.duckdb"))
    before = connection.execute("SELECT * FROM migrations").fetchall()
    assert migrate(connection, WHERE, datetime(2099, 1, 1)) == ()
    assert connection.execute("SELECT * FROM migrations").fetchall() == before
    assert len(before) == len(MIGRATIONS)
    connection.close()


def test_later_migrations_build_on_rows_of_earlier_ones() -> None:
    first = Migration(1, "one", ("CREATE TABLE a (x INTEGER PRIMARY KEY)",))
    second = Migration(2, "two", ("ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7", "CREATE TABLE b (z INTEGER)"))
    connection = duckdb.connect()
    migrate(connection, WHERE, NOW, (first,))
    connection.execute("INSERT INTO a VALUES (1)")
    assert migrate(connection, WHERE, NOW, (first, second)) == (2,)
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 7)]


def test_selections_of_before_quotas_have_none() -> None:
    connection = duckdb.connect()
    migrate(connection, WHERE, NOW, MIGRATIONS[:6])
    values = ["s1", 1, "r1", "old", "pmi", 0, NOW, "task", 1.0, 1.0, 0.0, "rows", 2.0, 2, 3, 0.5, 0.75]
    blobs = [b""] * 8
    marks = ", ".join("?" for _ in (*values, *blobs))
    connection.execute(f"INSERT INTO selections VALUES ({marks})", [*values, *blobs])
    assert migrate(connection, WHERE, NOW, MIGRATIONS[:7]) == (7,)
    assert connection.execute("SELECT id, budget_amount, quotas, quota_codes FROM selections").fetchall() == [
        ("s1", 2.0, None, None)
    ]
    migrate(connection, WHERE, NOW)
    assert connection.execute("SELECT engine FROM selections").fetchall() == [("auto",)]


@pytest.mark.parametrize("good_before", [0, 1])
def test_a_failing_migration_rolls_back_wholly(good_before: int) -> None:
    good = Migration(1, "good", ("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)"))
    statements = ("CREATE TABLE half (x INTEGER)", "CREATE SEQUENCE half_numbers", "SELECT * FROM nowhere")
    bad = Migration(good_before + 1, "bad one", statements)
    connection = duckdb.connect()
    with pytest.raises(WorkspaceError, match=rf"version {good_before + 1} \(bad one\).*nothing was changed") as caught:
        migrate(connection, WHERE, NOW, (good,)[:good_before] + (bad,))
    assert "\n" not in str(caught.value)
    assert tables(connection) == ({"a", "migrations"} if good_before else set())
    assert connection.execute("SELECT count(*) FROM duckdb_sequences()").fetchall() == [(0,)]
    assert current_version(connection) == good_before
    mended = Migration(good_before + 1, "mended", ("CREATE TABLE half (x INTEGER)",))
    assert migrate(connection, WHERE, NOW, (good,)[:good_before] + (mended,)) == (good_before + 1,)


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    Workspace.open(tmp_path).close()
    newer = len(MIGRATIONS) + 1
    connection = duckdb.connect(str(tmp_path / "delift.duckdb"))
    connection.execute("INSERT INTO migrations VALUES (?, 'from the future', ?)", [newer, NOW])
    connection.close()
    for _ in range(2):  # the refusal lets go of the file
        with pytest.raises(WorkspaceError, match=rf"schema version {newer}.*newer DELIFT Studio"):
            Workspace.open(tmp_path)
    connection = duckdb.connect(str(tmp_path / "delift.duckdb"))
    assert current_version(connection) == newer
    connection.close()
