"""Checks every file of a workspace, and repairs damage without losing anything that a person made.

Only files that can be computed again (damaged blocks) and temporary files are removed, never data sets, selections,
edits or exports. A database that cannot be read has to be restored from a backup.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from delift_core.curation.scoring_runs import refresh
from delift_core.errors import DeliftError, WorkspaceError
from delift_core.jobs.folder import JobFolder
from delift_core.maintenance.cleanup import collect_leftovers, ensure_idle
from delift_core.scoring.store import PairStore, read_context
from delift_core.system.texts import Check
from delift_core.workspace import RunRecord, Workspace


@dataclass(frozen=True, slots=True)
class Repair:
    """A description of something that was repaired."""

    what: str


def check_workspace(workspace: Workspace) -> tuple[Check, ...]:
    """Reads every row and every block, and compares them with their checksums and with each other."""
    database, blocks = _database(workspace), _blocks(workspace)
    if not database.ok:  # the other checks compare files with the database
        return database, blocks
    return database, blocks, _runs(workspace), _exports(workspace), _leftovers(workspace)


def repair_workspace(workspace: Workspace) -> tuple[Repair, ...]:
    """Removes damaged blocks and temporary files, and marks incomplete runs so that they can be continued.

    Raises:
        WorkspaceError: a job is running, or a file cannot be removed.
    """
    ensure_idle(workspace)
    return (*_drop_blocks(workspace), *_mark_runs(workspace), *_remove_leftovers(workspace))


def _database(workspace: Workspace) -> Check:
    try:
        return Check("Database", True, f"{workspace.read_everything():,} rows read, all as they were written")
    except WorkspaceError as error:
        return Check("Database", False, f"{error}; restore the last backup to another folder")


def _blocks(workspace: Workspace) -> Check:
    damaged = {store.folder.name: sum(1 for _ in store.damaged()) for store in _stores(workspace)}
    total = sum(damaged.values())
    if total:
        return Check("Scored pairs", False, f"{total:,} damaged blocks; doctor --repair removes them, score again")
    return Check("Scored pairs", True, f"intact, of {len(damaged):,} models and templates")


def _runs(workspace: Workspace) -> Check:
    broken = [f"{record.id} ({why})" for record, why in _unreadable(workspace)]
    if broken:
        return Check("Runs", False, f"not complete: {', '.join(broken[:5])}; continue them on the Score page")
    return Check("Runs", True, f"{len(workspace.runs.records()):,}, each finished one with its numbers")


def _exports(workspace: Workspace) -> Check:
    gone = [record.path for record in workspace.exports.records() if not Path(record.path).is_file()]
    words = f"; {len(gone):,} were moved or removed since" if gone else ""
    return Check("Exports", True, f"{len(workspace.exports.records()):,} noted{words}")


def _leftovers(workspace: Workspace) -> Check:
    found = collect_leftovers(workspace)
    if found:
        return Check("Leftovers", False, f"{len(found):,} files that were not finished; doctor --repair removes them")
    return Check("Leftovers", True, "none")


def _stores(workspace: Workspace) -> Iterator[PairStore]:
    for folder in sorted(workspace.utility_folder.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and (folder / "pairs").is_dir():
            yield PairStore(folder)


def _unreadable(workspace: Workspace) -> Iterator[tuple[RunRecord, str]]:
    """Finished runs whose scored pairs cannot be read, and why."""
    for record in workspace.runs.records():
        if record.status != "done":
            continue
        folder = workspace.utility_folder / record.context_key
        if not folder.is_dir():
            yield record, "its scored pairs are gone"
        elif read_context(folder) is None:
            yield record, "the record of its model and template is gone"


def _drop_blocks(workspace: Workspace) -> Iterator[Repair]:
    for store in _stores(workspace):
        try:
            removed = store.remove_damaged()
        except OSError as error:
            raise WorkspaceError(f"{error.filename} cannot be removed ({error.strerror})") from error
        if not removed:
            continue
        yield Repair(f"removed {removed:,} damaged blocks of {store.folder.name}")
        for record in workspace.runs.records():
            if record.context_key == store.folder.name and record.status == "done":
                yield _to_be_continued(workspace, record)


def _mark_runs(workspace: Workspace) -> Iterator[Repair]:
    for record in workspace.runs.records():
        before = record.status
        try:
            after = refresh(workspace, record.id)[0].status
        except DeliftError as error:
            raise WorkspaceError(f"run {record.id}: {error}") from error
        if after != before:
            yield Repair(f"run {record.id} is {after}, not {before}")
    for record, _ in _unreadable(workspace):
        yield _to_be_continued(workspace, record)


def _to_be_continued(workspace: Workspace, record: RunRecord) -> Repair:
    """Marks a run as incomplete; continuing it scores only the missing pairs."""
    job = JobFolder(workspace.jobs_folder / record.id)
    if job.folder.is_dir():
        job.write_progress(replace(job.status().progress, phase="cancelled"))
    workspace.runs.set_status(record.id, "cancelled", message="")
    return Repair(f"run {record.id} has to be continued: only its damaged or missing pairs are scored again")


def _remove_leftovers(workspace: Workspace) -> Iterator[Repair]:
    for item in collect_leftovers(workspace, remove=True):
        yield Repair(f"removed {item.path}: {item.why}")
