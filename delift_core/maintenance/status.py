"""The state of a workspace and its machine, for people and for monitoring: `health` and `doctor`.

`health` reads files only, so that it also works while another process has the database open.
"""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from delift_core import __version__
from delift_core.errors import DeliftError
from delift_core.jobs.folder import job_folders
from delift_core.models.model_files import BUNDLED_TITLE, INSTALL_COMMAND, bundled_available
from delift_core.system.files import nearest_existing, why_folder_unusable
from delift_core.system.logs import newest_lines
from delift_core.system.memory import LEAST_DISK, LEAST_MEMORY, available_memory, total_memory
from delift_core.system.processes import program
from delift_core.system.texts import Check, byte_size
from delift_core.workspace import Workspace
from delift_core.workspace.schema import MIGRATIONS
from delift_core.workspace.workspace import DATABASE_NAME

PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14))
PACKAGES = (
    *("numpy", "scipy", "numba", "duckdb", "pyarrow", "torch", "transformers", "datasets", "safetensors", "gguf"),
    *("msgspec", "psutil", "tqdm", "jinja2"),
)
_NOT_EVERYWHERE = ("submodlib-py", "wordllama")  # they have no wheels for some systems and versions of Python
_REMEDY = "run: pip install delift-studio, or in a checkout: pip install -r requirements.txt"
_REPORTED = ("streamlit", "duckdb", "torch", "transformers", "numpy", "submodlib-py")
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class JobLine:
    """A running job with its state and its latest message."""

    id: str
    kind: str
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of a workspace.

    Attributes:
        sizes: bytes by part of the folder, the largest first.
        disk_free, memory_free: bytes.
        versions: by package, the app's own first.
        problems: a line each.
        log: the newest lines, see `system.logs`.
    """

    workspace: Path
    sizes: Mapping[str, int]
    disk_free: int
    memory_free: int
    jobs: tuple[JobLine, ...]
    versions: Mapping[str, str]
    problems: tuple[str, ...]
    log: tuple[Mapping[str, object], ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def health(folder: Path) -> HealthReport:
    """Reads the state of a workspace from its folder, which need not exist."""
    folder = folder.expanduser().absolute()
    disk, memory = shutil.disk_usage(nearest_existing(folder)).free, available_memory()
    return HealthReport(
        workspace=folder,
        sizes=_sizes(folder),
        disk_free=disk,
        memory_free=memory,
        jobs=jobs_under_way(folder),
        versions=versions(),
        problems=_problems(folder, disk, memory),
        log=newest_lines(folder, _LOG_LINES),
    )


def brief(folder: Path) -> dict[str, object]:
    """The state without anything confidential (no paths, names or log lines), for monitoring without a login."""
    folder = folder.expanduser().absolute()
    problems = _problems(folder, shutil.disk_usage(nearest_existing(folder)).free, available_memory())
    jobs = jobs_under_way(folder)
    return {"ok": not problems, "version": __version__, "jobs": len(jobs), "problems": len(problems)}


def jobs_under_way(folder: Path) -> tuple[JobLine, ...]:
    """The jobs of a workspace that are being worked on."""
    found = ((job, job.status()) for job in job_folders(folder))
    return tuple(
        JobLine(job.folder.name, job.kind, status.state, status.progress.message)
        for job, status in found
        if status.active
    )


def versions() -> Mapping[str, str]:
    """Versions of the app, Python, the system, and the packages that results and files depend on."""
    found = {"DELIFT Studio": __version__, "Python": platform.python_version(), "System": platform.platform()}
    return found | {name: _version(name) or "missing" for name in _REPORTED}


def processor() -> str:
    """Cores and memory of the machine, without loading torch."""
    return f"{psutil.cpu_count() or 1} cores, {byte_size(total_memory())} of memory"


def _problems(folder: Path, disk: int, memory: int) -> tuple[str, ...]:
    found = []
    if disk < LEAST_DISK:
        found.append(f"only {byte_size(disk)} free on the disk of {folder}: free some space")
    if memory < LEAST_MEMORY:
        found.append(f"only {byte_size(memory)} of memory free: close other programs")
    return tuple(found)


def _sizes(folder: Path) -> Mapping[str, int]:
    sizes: dict[str, int] = {}
    for path in folder.glob("*"):
        name = "database" if path.name.startswith("delift.duckdb") else path.name
        sizes[name] = sizes.get(name, 0) + _size(path)
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _size(path: Path) -> int:
    total = 0
    for part in path.rglob("*") if path.is_dir() else (path,):
        try:
            total += part.stat().st_size if part.is_file() else 0
        except OSError:  # a worker has just replaced the file
            continue
    return total


def doctor(workspace_folder: Path) -> tuple[Check, ...]:
    """Checks everything that scoring and selecting need on this machine.

    Args:
        workspace_folder: opened if it exists; not made otherwise.
    """
    browser = Check("Browser", True, "only the pages need one; every command works without")
    return (*machine_checks(workspace_folder), _workspace(workspace_folder), browser)


def machine_checks(workspace_folder: Path) -> tuple[Check, ...]:
    """Checks versions, the device, the bundled model, free disk and free memory; opens no workspace."""
    return (
        Check("DELIFT Studio", True, f"{__version__} on {platform.platform()}"),
        _python(),
        _packages(),
        _torch(),
        _bundled(),
        _disk(workspace_folder),
        _memory(),
    )


def _python() -> Check:
    known = ", ".join(f"{major}.{minor}" for major, minor in PYTHON_VERSIONS)
    ok = sys.version_info[:2] in PYTHON_VERSIONS
    return Check("Python", ok, platform.python_version() + ("" if ok else f"; use Python {known}"))


def _packages() -> Check:
    found = {name: _version(name) for name in PACKAGES}
    if missing := [name for name, version in found.items() if not version]:
        return Check("Packages", False, f"missing: {', '.join(missing)}; {_REMEDY}")
    found |= {name: _version(name) or "not installed" for name in _NOT_EVERYWHERE}
    return Check("Packages", True, ", ".join(f"{name} {version}" for name, version in found.items()))


def _version(name: str) -> str:
    """The version of an installed package; "" if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("Torch", False, f"cannot be loaded ({error}); {_REMEDY}")
    if torch.cuda.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU {torch.cuda.get_device_name()}")
    if torch.backends.mps.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU (mps)")
    return Check("Torch", True, f"{torch.__version__}, scoring on the CPU with {torch.get_num_threads()} threads")


def _bundled() -> Check:
    ok = bundled_available()
    detail = f"{BUNDLED_TITLE} is installed" if ok else f"not installed; run: {program()} {INSTALL_COMMAND}"
    return Check("Bundled model", ok, detail)


def _workspace(folder: Path) -> Check:
    if not (folder / DATABASE_NAME).exists():
        problem = why_folder_unusable(folder)
        return Check("Workspace", not problem, problem or f"{folder} does not exist yet and will be made")
    try:
        with Workspace.open(folder) as workspace:
            runs, datasets = len(workspace.runs.records()), len(workspace.datasets.records())
    except DeliftError as error:
        return Check("Workspace", False, str(error))
    detail = f"{folder} opens, schema version {MIGRATIONS[-1].version}, {datasets} data sets, {runs} runs"
    return Check("Workspace", True, detail)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(nearest_existing(folder)).free
    ok = free >= LEAST_DISK
    return Check("Free disk", ok, byte_size(free) + ("" if ok else f"; scoring needs at least {byte_size(LEAST_DISK)}"))


def _memory() -> Check:
    free = available_memory()
    ok = free >= LEAST_MEMORY
    needed = "" if ok else f"; the bundled model needs {byte_size(LEAST_MEMORY)}"
    return Check("Free memory", ok, byte_size(free) + needed)
