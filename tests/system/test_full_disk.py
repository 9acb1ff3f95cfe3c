"""A full disk and folders that may not be written to: one clear line, nothing lost, and all goes on once there is room.

The disk is a real one of 24 MiB where this may be mounted (as root); elsewhere no file may grow beyond its first byte.
"""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from delift_core.cli import main
from delift_core.curation.curate import keep_selection, open_selection
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.errors import DeliftError, ExportError, ScoringError, WorkspaceError
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.export.writers import manifest_path
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import Callbacks
from delift_core.maintenance.backup import backup, restore
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.system import memory as watch
from delift_core.workspace import RunSpec, Workspace
from tests.export.scored import Scored, alpaca_lines, scored
from tests.rounding import UTILITY
from tests.scored import make_scored_workspace

pytestmark = pytest.mark.slow

FL = ObjectiveConfig("instruction")


class Disk:
    """A small disk that can be filled up and freed again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.real = _mount("-t", "tmpfs", "-o", "size=24m", "none", str(folder))
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Leaves no room."""
        if not self.real:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._before[1]))
            return
        handle = os.open(self.folder / "filler", os.O_CREAT | os.O_WRONLY)
        with suppress(OSError):
            while True:
                os.write(handle, b"x" * 4096)
        os.close(handle)

    def free(self) -> None:
        """Gives the room back."""
        (self.folder / "filler").unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    @contextmanager
    def full(self) -> Iterator[None]:
        """No room within the block."""
        self.fill()
        try:
            yield
        finally:
            self.free()


def _mount(*words: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk, and no stop of a job before it is full."""
    monkeypatch.setattr(watch, "LEAST_DISK", 0)
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Disk(folder)
    yield made
    made.free()
    if made.real:
        _unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder may not be written to, not even by root."""
    mounted = _mount("-t", "tmpfs", "-o", "ro", "none", str(folder))
    rights = folder.stat().st_mode
    if not mounted:
        folder.chmod(0o555)
    try:
        yield
    finally:
        if mounted:
            _unmount(folder)
        else:
            folder.chmod(rights)


def told(act: Callable[[], object], kind: type[DeliftError], words: str) -> None:
    """The act is refused in one line that holds the words."""
    with pytest.raises(kind, match=words) as refusal:
        act()
    assert "\n" not in str(refusal.value)


def test_edits_and_selections_of_a_full_disk(disk: Disk) -> None:
    with Workspace.open(disk.folder / "work") as workspace:
        six = scored(workspace, disk.folder.parent / "pool.jsonl", alpaca_lines(6))
        ids = [sample.id for sample in open_selection(workspace, six.selection_id).samples]
        for name in ids[:3]:
            workspace.edits.apply(six.selection_id, "keep", [name], author="me")
        selector = Selector(open_run(workspace, six.run_id))
        with disk.full():
            for act in (
                lambda: workspace.edits.apply(six.selection_id, "note", [ids[4]], author="me", detail="x" * 20_000),
                lambda: keep_selection(workspace, selector, SelectionRequest(FL, Budget("rows", 2)), name="x" * 20_000),
            ):
                told(act, WorkspaceError, "could not be read or written .*: check the free disk space")
            assert len(workspace.edits.history(six.selection_id)) == 3  # reading goes on
        assert workspace.edits.apply(six.selection_id, "drop", [ids[4]], author="me") == 4
    with Workspace.open(disk.folder / "work") as workspace:
        assert [edit.sample_ids for edit in workspace.edits.history(six.selection_id)] == [
            *((name,) for name in ids[:3]),
            (ids[4],),
        ]
        assert len(workspace.selections.records()) == 1


def test_closing_and_opening_on_a_full_disk_loses_no_edit(disk: Disk) -> None:
    workspace = Workspace.open(disk.folder / "work")
    six = scored(workspace, disk.folder.parent / "pool.jsonl", alpaca_lines(6))
    first = open_selection(workspace, six.selection_id).samples[0].id
    workspace.edits.apply(six.selection_id, "keep", [first], author="me")
    with disk.full():
        workspace.close()
        with suppress(WorkspaceError):  # it may open or say why not
            Workspace.open(disk.folder / "work").close()
    with Workspace.open(disk.folder / "work") as workspace:
        assert len(workspace.edits.history(six.selection_id)) == 1


def exports(six: Scored, out: Path) -> None:
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        told(
            lambda name=name: export_selection(six.workspace, six.selection_id, out / name, format="alpaca"),
            ExportError,
            "could not be written|may not be written to",
        )


def test_an_export_on_a_full_disk_or_into_a_closed_folder_leaves_the_file_of_before(disk: Disk) -> None:
    with Workspace.open(disk.folder / "work") as workspace:
        six = scored(workspace, disk.folder.parent / "pool.jsonl", alpaca_lines(6))
        out = workspace.exports_folder / "o.jsonl"
        export_selection(workspace, six.selection_id, out)
        before = {path: path.read_bytes() for path in workspace.exports_folder.iterdir()}
        with disk.full():
            exports(six, workspace.exports_folder)
        with read_only(workspace.exports_folder):
            exports(six, workspace.exports_folder)
        assert {path: path.read_bytes() for path in workspace.exports_folder.iterdir()} == before
        export_selection(workspace, six.selection_id, out)
        assert all(check.ok for check in verify(manifest_path(out)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A model, and the matrix of a run that met nothing."""
    folder = tmp_path_factory.mktemp("whole")
    make_scored_workspace(folder / "work", folder / "model")
    with Workspace.open(folder / "work") as workspace:
        return folder, open_run(workspace, "r1").utilities("euclidean").pool  # type: ignore[return-value]


def _spec(workspace: Workspace, whole: Path) -> RunSpec:
    with Workspace.open(whole / "work") as other:
        spec = other.runs.record("r1").spec
        pool = workspace.datasets.add(other.datasets.load(spec.pool_id), role="pool")
    return RunSpec(pool.id, None, None, str(whole / "model"), "auto", "cpu", "float32")


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_run_on_a_full_disk_is_continued_to_the_same_numbers(
    disk: Disk, whole: tuple[Path, np.ndarray], when: str
) -> None:
    with Workspace.open(disk.folder / "work") as workspace:
        spec = _spec(workspace, whole[0])

        def publish(progress: JobProgress) -> None:
            if when == "while" and progress.phase == "scoring":
                disk.fill()

        if when == "before":
            disk.fill()
        told(lambda: run_here(workspace, spec, Callbacks(publish)), DeliftError, "could not be (read or )?written")
        disk.free()
        run = run_here(workspace, spec)
        assert run.status == "done"
        found = open_run(workspace, run.id).utilities("euclidean").pool
        np.testing.assert_allclose(found, whole[1], rtol=0, atol=UTILITY)  # there, target rows were in the batches


def test_a_run_whose_numbers_may_not_be_written(disk: Disk, whole: tuple[Path, np.ndarray]) -> None:
    with Workspace.open(disk.folder / "work") as workspace:
        spec = _spec(workspace, whole[0])
        with read_only(workspace.utility_folder):
            told(
                lambda: run_here(workspace, spec),
                ScoringError,
                "could not be written .*make room on its disk or fix its permissions",
            )
        with read_only(workspace.jobs_folder):
            told(
                lambda: run_here(workspace, spec),
                ScoringError,
                "could not be written .*make room on its disk or fix its permissions",
            )
        assert run_here(workspace, spec).status == "done"


def test_a_backup_to_and_a_restore_onto_a_full_disk(disk: Disk, whole: tuple[Path, np.ndarray]) -> None:
    work, copy = whole[0] / "work", whole[0] / "copy.tar"
    with disk.full():
        told(
            lambda: backup(work, disk.folder / "copy.tar"), WorkspaceError, "could not be written .*; nothing was kept"
        )
    assert not list(disk.folder.iterdir())
    copy.unlink(missing_ok=True)
    backup(work, copy)
    with disk.full():
        told(lambda: restore(copy, disk.folder / "again"), WorkspaceError, "nothing was restored|make room")
    assert not list(disk.folder.iterdir())
    with read_only(disk.folder):
        told(lambda: restore(copy, disk.folder / "again"), WorkspaceError, "may not be written to")
        told(lambda: backup(work, disk.folder / "copy.tar"), WorkspaceError, "may not be written to")
    restore(copy, disk.folder / "again")
    with Workspace.open(disk.folder / "again") as workspace:
        np.testing.assert_array_equal(open_run(workspace, "r1").utilities("euclidean").pool, whole[1])


def test_commands_on_a_full_disk_end_with_one_line(
    disk: Disk, whole: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = disk.folder.parent / "pool.jsonl"
    pool.write_text("\n".join(alpaca_lines(4)) + "\n")
    model, work = str(whole[0] / "model"), str(disk.folder / "work")
    commands = (
        ["curate", str(pool), "--stage", "instruction", "--budget", "2", "--model", model, "--workspace", work]
        + ["--out", str(disk.folder / "o.jsonl")],
        ["convert", str(pool), "--out", str(disk.folder / "o.jsonl")],
        ["gc", "--workspace", work],
    )
    Workspace.open(Path(work)).close()
    for words in commands:
        with disk.full():
            code = main(words)
        said = capsys.readouterr().err.splitlines()
        assert (code, len(said)) in ((2, 1), (0, 0)), (words, code, said)
        assert words[0] == "gc" or code == 2
    assert main(commands[0]) == 0
