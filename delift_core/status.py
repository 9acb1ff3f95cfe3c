"""How a workspace and its machine are, for people and for what watches over a server.

What needs the database is told by whoever holds it open; everything here is read from files, so that it can be said
while another process has the workspace.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from delift_core import __version__
from delift_core.evaluation.job import EvaluationFolder
from delift_core.files import existing
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.watch import LEAST_DISK, LEAST_MEMORY, free_memory
from delift_core.logs import last_lines

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
    disk, memory = shutil.disk_usage(existing(folder)).free, free_memory()
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
    problems = _problems(folder, shutil.disk_usage(existing(folder)).free, free_memory())
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
        found.append(f"{disk >> 20:,} MiB are left on the disk of {folder}: make room")
    if memory < LEAST_MEMORY:
        found.append(f"{memory >> 20:,} MiB of memory are left: close other programs")
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
