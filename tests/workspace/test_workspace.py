"""Opening, sharing, closing and surviving: the folder and the one connection."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from delift_core.errors import WorkspaceError
from delift_core.system.processes import describe_process
from delift_core.workspace import Workspace, database

CORE = str(Path(__file__).parents[2])


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {CORE!r})\n{code}"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)


def test_open_makes_the_folders_and_the_file(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "a" / "b") as workspace:
        assert workspace.folder == (tmp_path / "a" / "b").resolve()
        for folder in ("utility", "jobs", "exports", "uploads"):
            assert (workspace.folder / folder).is_dir()
            assert getattr(workspace, f"{folder}_folder") == workspace.folder / folder
    assert (workspace.folder / "delift.duckdb").is_file()


@pytest.mark.parametrize("name", ["it's mine", "größe 数据 😀", "a [b] %s; -- x"])
def test_awkward_folder_names(tmp_path: Path, name: str) -> None:
    with Workspace.open(tmp_path / name) as workspace:
        workspace.settings.set("key", "value")
    with Workspace.open(tmp_path / name) as workspace:
        assert workspace.settings.get("key") == "value"


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("I am a file")
    with pytest.raises(WorkspaceError, match="is a file, not a folder"):
        Workspace.open(tmp_path / "work")


def test_a_broken_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "delift.duckdb").write_text("hello" * 5000)
    with pytest.raises(WorkspaceError, match="cannot be opened.*delift.duckdb"):
        Workspace.open(tmp_path)


def test_close_is_idempotent_and_use_after_it_is_a_clear_error(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    workspace.close()
    workspace.close()
    with pytest.raises(WorkspaceError, match="closed: open it again"):
        workspace.settings.get("key")
    with pytest.raises(WorkspaceError, match="closed: open it again"):
        workspace.settings.set("key", "value")


def test_a_second_open_in_one_process_is_refused_and_harms_nothing(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="already open in this process"):
        Workspace.open(workspace.folder)
    workspace.settings.set("key", "still works")
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        assert again.settings.get("key") == "still works"


def test_a_second_process_gets_a_clear_error_with_the_pid(workspace: Workspace) -> None:
    code = """
import os
from pathlib import Path
from delift_core.errors import WorkspaceError
from delift_core.workspace import Workspace
try:
    Workspace.open(Path(sys.argv[1]))
except WorkspaceError as error:
    print(os.getppid(), error)
"""
    answer = run_python(code, str(workspace.folder)).stdout
    parent, message = answer.strip().split(" ", 1)
    assert int(parent) == os.getpid()
    assert f"in use by another process ({describe_process(os.getpid())}): close" in message
    assert "\n" not in message


OUTSIDE = (
    "FROM read_text('/etc/hostname')",
    "FROM read_blob('/etc/hostname')",
    "FROM glob('/etc/*')",
    "FROM read_csv('/etc/passwd')",
    "FROM sniff_csv('/etc/passwd')",
    "FROM '/etc/passwd.csv'",
    "FROM read_text('http://127.0.0.1:9/x')",
    "FROM read_text('{inside}/../../secret')",
    "FROM read_text('{inside}/link/hostname')",
    "COPY settings TO '{outside}/out.csv'",
    "COPY settings TO '{inside}/../out.csv'",
    "COPY settings FROM '/etc/passwd'",
    "EXPORT DATABASE '{outside}/dump'",
    "IMPORT DATABASE '{outside}/dump'",
    "ATTACH '{outside}/other.duckdb'",
    "ATTACH '/etc/passwd'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{outside}/mine.duckdb_extension'",
    "CREATE SECRET (TYPE s3)",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "SET allowed_directories = ['/']",
    "SET autoinstall_known_extensions = true",
    "SET temp_directory = '{outside}'",
    "PRAGMA profiling_output = '{outside}/profile'",
    "SELECT getenv('HOME')",
)


@pytest.mark.parametrize("statement", OUTSIDE)
def test_sql_cannot_leave_the_workspace(workspace: Workspace, tmp_path: Path, statement: str) -> None:
    """Each is refused, and of everything beside the workspace nothing is changed."""
    (workspace.exports_folder / "link").symlink_to("/etc")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(workspace.folder)}
    filled = statement.format(outside=tmp_path, inside=workspace.exports_folder)
    with workspace._database.read() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(filled)
    with pytest.raises(duckdb.Error), workspace._database.write("upkeep") as cursor:
        cursor.execute(filled)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(workspace.folder)} == before


def test_a_write_that_fails_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), workspace._database.write("upkeep") as cursor:
        cursor.execute("INSERT INTO settings VALUES ('key', 'half')")
        raise ZeroDivisionError
    assert workspace.settings.get("key", "none") == "none"


def test_settings_keep_text_as_it_is(workspace: Workspace) -> None:
    assert workspace.settings.get("missing") == ""
    assert workspace.settings.get("missing", "default") == "default"
    for value in ("", "a\0b", "😀\u2028", "'; DROP TABLE settings; --"):
        workspace.settings.set("key", value)
        assert workspace.settings.get("key", "default") == value


def test_text_that_is_not_unicode_is_a_clear_error(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="not valid Unicode"):
        workspace.settings.set("key", "\ud800")


def test_threads_read_and_write_without_wrong_rows(workspace: Workspace) -> None:
    rounds = 25

    def work(mine: int) -> None:
        for turn in range(rounds):
            value = f"{mine}:{turn}:" + "x" * (mine * 50)
            workspace.settings.set(f"key {mine}", value)
            assert workspace.settings.get(f"key {mine}") == value
            other = (mine + 1) % 4
            assert workspace.settings.get(f"key {other}", f"{other}:").startswith(f"{other}:")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))  # raises what a thread raised
    assert [workspace.settings.get(f"key {mine}").split(":")[1] for mine in range(4)] == [str(rounds - 1)] * 4


def test_a_sort_over_the_memory_limit_spills_into_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB may write its temporary files though SQL is locked out of the file system."""
    monkeypatch.setattr(database, "_MEMORY_LIMIT", "48MB")
    with Workspace.open(tmp_path) as workspace, workspace._database.read() as cursor:
        cursor.execute("SELECT repeat(hash(i)::VARCHAR, 8) AS text FROM range(500_000) rows(i) ORDER BY text")
        assert cursor.fetchone() is not None
        assert any((tmp_path / "delift.duckdb.tmp").iterdir())


def test_close_waits_for_reads_under_way(workspace: Workspace) -> None:
    reading, closed = threading.Event(), threading.Event()

    def close() -> None:
        reading.wait()
        workspace.close()
        closed.set()

    closer = threading.Thread(target=close)
    closer.start()
    with workspace._database.read() as cursor:
        reading.set()
        assert not closed.wait(0.2)
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    closer.join()
    with Workspace.open(workspace.folder) as again:
        assert again.settings.get("key") == ""


def test_a_program_that_ends_while_a_daemon_thread_reads_ends_well(tmp_path: Path) -> None:
    code = """
import threading, time
from pathlib import Path
from delift_core.errors import WorkspaceError
from delift_core.workspace import Workspace
workspace = Workspace.open(Path(sys.argv[1]))
def read():
    try:
        while True:
            workspace.settings.get("key")
    except WorkspaceError:
        pass
threading.Thread(target=read, daemon=True).start()
time.sleep(0.2)
"""
    assert run_python(code, str(tmp_path)).returncode == 0
