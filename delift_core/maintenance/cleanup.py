"""Finds and removes files of a workspace that nothing refers to or that were not finished.

Knows the layout of the workspace folder (see `workspace`, `scoring.store`, `scoring.estimation.plan_file`, `jobs`,
and `export.writers`). A file that may still be needed is kept.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from delift_core.curation.scoring_runs import open_run
from delift_core.curation.umap_layout import layout_path
from delift_core.errors import DeliftError, WorkspaceError
from delift_core.jobs.folder import job_folders
from delift_core.scoring.block_files import names_in, pack_files
from delift_core.workspace import RunRecord, Workspace

_DERIVED = ("plans", "assembled", "maps")  # folders of files that are computed from a context's blocks


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or folder that nothing in the workspace refers to; `size` in bytes."""

    path: Path
    size: int
    why: str


def collect_garbage(workspace: Workspace, *, dry_run: bool) -> tuple[Garbage, ...]:
    """Removes unused and unfinished files.

    These are scored pairs of samples that are no longer in the workspace, files of deleted runs (plans, matrices, maps,
    jobs) and selections (evaluations), and temporary files. Pairs of samples in the workspace are kept even if no run
    uses them; results of fine-tuning are kept while there is an evaluation that may use them.

    Args:
        dry_run: only list the files.

    Returns:
        The files and folders that were (or would be) removed.

    Raises:
        WorkspaceError: a job is running, or a file cannot be removed.
    """
    ensure_idle(workspace)
    found = tuple(_without_parts(_all_garbage(workspace)))
    if not dry_run:
        for item in found:
            _remove(item.path)
    return found


def collect_leftovers(workspace: Workspace, *, remove: bool = False) -> tuple[Garbage, ...]:
    """Lists, or removes, temporary files of writes that were cut short.

    Raises:
        WorkspaceError: a file cannot be removed.
    """
    found = tuple(_leftovers(workspace))
    for item in found if remove else ():
        _remove(item.path)
    return found


def ensure_idle(workspace: Workspace) -> None:
    """Raises while a job of the workspace is running.

    Raises:
        WorkspaceError: one is running.
    """
    for job in job_folders(workspace.folder):
        if job.status().active:
            raise WorkspaceError(f"{job.doing}; wait for it or cancel it, then clean up again")


def _all_garbage(workspace: Workspace) -> Iterator[Garbage]:
    yield from _unused_blocks(workspace)
    yield from _unused_derived(workspace)
    yield from _orphan_jobs(workspace)
    yield from _leftovers(workspace)


def _without_parts(found: Iterator[Garbage]) -> Iterator[Garbage]:
    """Leaves out files inside a folder that is removed as a whole."""
    whole: list[Path] = []
    for item in found:
        if not any(item.path.is_relative_to(path) for path in whole):
            whole.append(item.path)
            yield item


def _unused_blocks(workspace: Workspace) -> Iterator[Garbage]:
    present = {
        sample.content_hash
        for record in workspace.datasets.records()
        for sample in workspace.datasets.load(record.id).samples
    }
    for context in _subfolders(workspace.utility_folder):
        yield from _unused_in_context(context, present)


def _unused_in_context(context: Path, present: set[str]) -> Iterator[Garbage]:
    """Blocks and packs without a present sample, row sets without a block, and the whole context if nothing is left."""
    row_files = {path.stem: path for path in _files(context / "rows") if path.suffix == ".json"}
    alive = {name for name, path in row_files.items() if present.intersection(_names_in(path))}
    used: set[str] = set()
    unused: list[Path] = []
    for path in (*_files(context / "alone"), *_files(context / "pairs")):
        if path.name.startswith("."):
            continue
        helper, row_set = path.stem.split(".") if path.parent.name == "pairs" else ("", path.stem)
        if row_set in alive and (helper in present or not helper):
            used.add(row_set)
        else:
            unused.append(path)
    packs = {path: bool(present.intersection(names_in(path))) for path in pack_files(context / "packs")}
    unused += [path for path, needed in packs.items() if not needed]
    if not used and not any(packs.values()):
        yield Garbage(context, _size(context), "scored pairs of no sample in the workspace")
        return
    for path in unused:
        yield Garbage(path, _size(path), "scored pairs of samples that are no longer in the workspace")
    for name, path in row_files.items():
        if name not in used:
            yield Garbage(path, _size(path), "row names of no scored pairs")


def _names_in(path: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(path.read_bytes())]
    except ValueError:  # a damaged file holds no names
        return []


def _orphan_jobs(workspace: Workspace) -> Iterator[Garbage]:
    """Jobs of deleted runs and selections and, if no evaluation is left, the results of fine-tuning."""
    owners = {run.id for run in workspace.runs.records()} | {one.id for one in workspace.selections.records()}
    jobs = tuple(job_folders(workspace.folder))
    for job in jobs:
        if job.owner not in owners:
            yield Garbage(job.folder, _size(job.folder), "files of a run or a selection that was deleted")
    arms = workspace.evaluations_folder / "runs"
    if arms.is_dir() and not any(job.kind == "evaluation" and job.owner in owners for job in jobs):
        yield Garbage(arms, _size(arms), "fine-tuned arms of no evaluation")


def _unused_derived(workspace: Workspace) -> Iterator[Garbage]:
    """Plans, matrices and maps of deleted runs; all are kept if it is unknown which of them a run needs."""
    for context in _subfolders(workspace.utility_folder):
        needed = _derived_of_runs(workspace, context)
        if needed is None:
            continue
        for name in _DERIVED:
            for path in _files(context / name):
                if path not in needed and not path.name.startswith("."):
                    yield Garbage(path, _size(path), "made for a run that was deleted, or of other rows")


def _derived_of_runs(workspace: Workspace, context: Path) -> set[Path] | None:
    """The derived files of the finished runs of a context; None if it is unknown which files a run needs."""
    needed: set[Path] = set()
    for record in workspace.runs.records():
        if record.context_key not in (None, "", context.name):
            continue
        if record.status != "done":
            if record.spec.pairs.unit != "all":  # it will continue from its plan
                return None
            continue
        try:
            needed |= _derived_of(workspace, record)
        except (DeliftError, OSError):
            return None
    return needed


def _derived_of(workspace: Workspace, record: RunRecord) -> set[Path]:
    run = open_run(workspace, record.id)
    return {layout_path(run), *run.derived_files()}


def _leftovers(workspace: Workspace) -> Iterator[Garbage]:
    """Files of writes that were cut short: every writer gives a file a leading dot until it is complete."""
    contexts = _subfolders(workspace.utility_folder)
    folders = [workspace.exports_folder, *contexts, *(job.folder for job in job_folders(workspace.folder))]
    folders += [context / part for context in contexts for part in ("rows", "alone", "pairs", "packs", *_DERIVED)]
    folders += [workspace.evaluations_folder, workspace.evaluations_folder / "runs"]
    for folder in folders:
        for path in [*_files(folder), *_subfolders(folder)]:
            if path.name.startswith("."):
                yield Garbage(path, _size(path), "a file that was not finished")


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # may have been removed with its folder
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be removed ({error.strerror}); check the rights of its folder") from error
