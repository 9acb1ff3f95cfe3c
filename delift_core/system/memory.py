"""Free memory of this machine, its container and this process: checked before anything large is made and while a job
runs."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from delift_core.errors import ScoringError, SelectionError
from delift_core.system.texts import byte_size

LEAST_MEMORY = 200 << 20  # with less, the kernel starts to kill processes
LEAST_DISK = 64 << 20  # enough for the blocks in memory, the progress file and the database's log

_ROOT = Path("/")
# Limit, usage and prefix of the names in memory.stat, by version of control groups; "total_" includes inner groups.
_GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}
_SECONDS_BETWEEN_CHECKS = 2.0
_LIBRARIES = 350 << 20  # of torch and transformers, once they are imported


def available_memory() -> int:
    """Bytes that can still be allocated: the least of what the machine, its containers and process limits leave."""
    import psutil

    left = (max(0, limit - used) for limit, used in _limits())
    return min([int(psutil.virtual_memory().available), *left])


def total_memory() -> int:
    """Bytes of memory of this machine or, where that is less, of its container or the limit of this process."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _limits())])


def ensure_libraries_fit() -> None:
    """Refuses to import torch and transformers where there is no room for them: the system would end the process.

    Raises:
        ScoringError: less memory is available than they take.
    """
    available = available_memory()
    if "transformers" not in sys.modules and available < _LIBRARIES:
        raise ScoringError(
            f"running a model needs about {byte_size(_LIBRARIES)} of memory for its libraries alone and "
            f"{byte_size(available)} are free; close other programs, or give this machine or container more memory"
        )


def ensure_fits(rows: int, columns: int, bytes_per_entry: int, *, entries: int | None = None) -> None:
    """Refuses a (rows, columns) matrix that would not fit into memory.

    Args:
        bytes_per_entry: everything held at once for an entry, working copies included.
        entries: number of stored entries of a sparse matrix; None for a dense one.

    Raises:
        SelectionError: the matrix needs more memory than is available.
    """
    available = available_memory()
    needed = (rows * columns if entries is None else entries) * bytes_per_entry
    if needed > available:
        held = "" if entries is None else f" with {entries:,} entries"
        raise SelectionError(
            f"A kernel of {rows:,} x {columns:,}{held} needs {byte_size(needed)} of memory and {byte_size(available)} "
            f"is available: choose from a smaller pool, or use a machine with more memory."
        )


@contextmanager
def explains_out_of_memory(what: str, rows: int) -> Iterator[None]:
    """Turns a MemoryError inside the block into an error that says what to do.

    Args:
        what: the work inside the block, such as "choosing".
        rows: number of pool rows.

    Raises:
        SelectionError: the block ran out of memory.
    """
    try:
        yield
    except MemoryError as error:
        raise SelectionError(
            f"{what} among {rows:,} rows ran out of memory; nothing is lost: close other programs, choose from fewer "
            "rows, or score a budget of pairs (Options on Score, or --pairs k=32), whose matrix is kept sparse"
        ) from error


class ResourceWatch:
    """Checks free memory and disk space every two seconds while a job runs."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = available_memory,
    ) -> None:
        """Args:
        folder: on the disk to watch.
        memory: returns the available memory in bytes.
        """
        self._folder, self._clock, self._memory = folder, clock, memory
        self._next_check = clock()

    def check(self) -> None:
        """Raises if memory or disk space is nearly used up.

        Raises:
            ScoringError: it is; the message says what to do.
        """
        if self._clock() < self._next_check:
            return
        self._next_check = self._clock() + _SECONDS_BETWEEN_CHECKS
        memory, disk = self._memory(), shutil.disk_usage(self._folder).free
        if memory < LEAST_MEMORY:
            raise ScoringError(
                f"stopped with {byte_size(memory)} of memory left; everything finished is kept: "
                "close other programs, then continue"
            )
        if disk < LEAST_DISK:
            raise ScoringError(
                f"stopped with {byte_size(disk)} left on the disk of {self._folder}; everything finished is kept: "
                "make room, then continue"
            )


def _limits() -> Iterator[tuple[int, int]]:
    """Yields (limit, used) in bytes for each limit of this process and of the control groups that it is in."""
    import psutil

    process = psutil.Process()
    if hasattr(process, "rlimit"):  # Linux; macOS does not enforce such limits, and Windows has none
        own = process.memory_info()
        for kind, used in ((psutil.RLIMIT_AS, own.vms), (psutil.RLIMIT_DATA, own.data)):
            limit = process.rlimit(kind)[0]
            if limit != psutil.RLIM_INFINITY:
                yield limit, used
    try:
        lines = (_ROOT / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from _group_limits(_ROOT / "sys/fs/cgroup/memory", path, 1)
        elif not controllers:
            yield from _group_limits(_ROOT / "sys/fs/cgroup", path, 2)


def _group_limits(mount: Path, path: str, version: Literal[1, 2]) -> Iterator[tuple[int, int]]:
    """Yields (limit, used) in bytes for a control group and every group that it is in.

    The kernel drops cached file pages before it ends a process, so they do not count as used.
    """
    limit_file, used_file, prefix = _GROUP_FILES[version]
    cached = (f"{prefix}active_file", f"{prefix}inactive_file")
    own = Path(path.lstrip("/"))
    for group in (mount / one for one in (own, *own.parents)):
        try:
            limit = (group / limit_file).read_text(encoding="ascii").strip()
            used = int((group / used_file).read_text(encoding="ascii"))
            stat = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        except OSError:  # a group outside the container, or a root group of version 2, which has no limit
            continue
        if limit != "max":
            yield int(limit), max(0, used - sum(int(count) for name, count in map(str.split, stat) if name in cached))
