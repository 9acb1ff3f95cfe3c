"""A workspace goes into one file and comes out the same; nothing is ever half there."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.curate import open_selection
from delift_core.errors import WorkspaceError
from delift_core.export.subset_files import export_selection
from delift_core.maintenance import backup as module
from delift_core.maintenance.backup import backup, restore
from delift_core.workspace import Workspace
from tests.export.scored import alpaca_lines, scored


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A closed workspace with a selection s1, an edit and an export; and its backup."""
    folder = tmp_path_factory.mktemp("made")
    with Workspace.open(folder / "work") as workspace:
        done = scored(workspace, folder / "pool.jsonl", alpaca_lines(6))
        sample = open_selection(workspace, done.selection_id).samples[5]
        workspace.edits.apply(done.selection_id, "keep", [sample.id], author="me")
        export_selection(workspace, done.selection_id, workspace.exports_folder / "out.jsonl")
        (workspace.jobs_folder / done.run_id / "worker.json").write_text("{}")
        (workspace.uploads_folder / ".half").write_bytes(b"x")
    backup(folder / "work", folder / "work.tar")
    yield folder / "work", folder / "work.tar"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a backup takes, but for the database, which is compared by what it says."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("worker.json", ".half", "delift.duckdb")
    }


def test_a_restored_workspace_is_the_same(made: tuple[Path, Path], tmp_path: Path) -> None:
    work, tar = made
    report = restore(tar, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(work)
    assert report.files == len(contents(work)) + 1
    with Workspace.open(work) as before, Workspace.open(tmp_path / "again") as after:
        one, other = (open_selection(workspace, "s1") for workspace in (before, after))
        np.testing.assert_array_equal(one.problem.utilities.pool, other.problem.utilities.pool)
        np.testing.assert_array_equal(one.subset.positions, other.subset.positions)
        assert before.edits.history("s1") == after.edits.history("s1") and after.edits.history("s1")
        assert before.exports.records() == after.exports.records()


def test_an_empty_folder_may_be_restored_to_and_any_other_is_left_alone(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    restore(made[1], tmp_path / "empty")
    before = contents(tmp_path / "empty")
    with pytest.raises(WorkspaceError, match="is not empty and is left as it is"):
        restore(made[1], tmp_path / "empty")
    assert contents(tmp_path / "empty") == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("work.tar", "exists already"),
        ("work/in.tar", "is inside the workspace"),
        ("no/folder.tar", "does not exist"),
    ],
)
def test_a_backup_takes_no_files_place(made: tuple[Path, Path], out: str, message: str) -> None:
    work, tar = made
    before = tar.read_bytes()
    with pytest.raises(WorkspaceError, match=message):
        backup(work, work.parent / out)
    assert tar.read_bytes() == before and not list(work.parent.glob(".*.part"))


def test_what_is_no_workspace_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="there is no workspace"):
        backup(tmp_path, tmp_path / "out.tar")
    assert not list(tmp_path.iterdir())


def test_a_workspace_that_is_open_elsewhere_is_not_backed_up(made: tuple[Path, Path], tmp_path: Path) -> None:
    holder = "import sys; from pathlib import Path; from delift_core.workspace import Workspace\n"
    holder += "with Workspace.open(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(made[0])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        with pytest.raises(WorkspaceError, match=rf"in use by another process \(pid {process.pid}"):
            backup(made[0], tmp_path / "out.tar")
        process.communicate()
    assert not (tmp_path / "out.tar").exists()


def cut(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[: -tar.stat().st_size // 2])


def flip(tar: Path) -> None:
    with tarfile.open(tar) as archive:
        member = next(one for one in archive.getmembers() if one.name.startswith("utility") and one.size > 100)
    data = bytearray(tar.read_bytes())
    data[member.offset_data + 90] ^= 1
    tar.write_bytes(bytes(data))


def replace_index(tar: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Writes the archive again with another index."""
    with tarfile.open(tar) as archive:
        parts = {one.name: (archive.extractfile(one) or BytesIO()).read() for one in archive.getmembers()}
    index = json.loads(parts[module.INDEX])
    change(index)
    parts[module.INDEX] = json.dumps(index).encode()
    if "evil" in str(index):
        parts["../evil"] = b"evil"
    with tarfile.open(tar, "w") as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))


def lead_out(tar: Path) -> None:
    replace_index(tar, lambda index: index["files"].update({"../evil": [4, "0"]}))  # type: ignore[attr-defined]


def other_version(tar: Path) -> None:
    replace_index(tar, lambda index: index.update({"version": 99}))


def lacks_a_file(tar: Path) -> None:
    replace_index(tar, lambda index: index["files"].update({"jobs/r9/x": [4, "0"]}))  # type: ignore[attr-defined]


def nonsense(tar: Path) -> None:
    tar.write_bytes(b"hello" * 500)


@pytest.mark.parametrize("harm", [cut, flip, lead_out, other_version, lacks_a_file, nonsense])
def test_a_damaged_backup_restores_nothing(
    made: tuple[Path, Path], tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    tar = tmp_path / "bad.tar"
    shutil.copy(made[1], tar)
    harm(tar)
    with pytest.raises(WorkspaceError) as caught:
        restore(tar, tmp_path / "again")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]


def test_a_missing_backup_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="none.tar does not exist"):
        restore(tmp_path / "none.tar", tmp_path / "again")
    assert not list(tmp_path.iterdir())


def test_a_disk_too_small_is_said_before(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 10))
    with pytest.raises(WorkspaceError, match="are free in .*make room"):
        restore(made[1], tmp_path / "again")
    assert not list(tmp_path.iterdir())
