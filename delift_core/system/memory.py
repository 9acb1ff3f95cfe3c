"""Free memory of this machine or its container: checked before a matrix is made and while a job runs."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from delift_core.errors import ScoringError, SelectionError
from delift_core.system.amounts import byte_size

LEAST_MEMORY = 200 << 20  # with less, the kernel starts to kill processes
LEAST_DISK = 64 << 20  # enough for the blocks in memory, the progress file and the database's log

_CGROUP = Path("/sys/fs/cgroup")
_SECONDS_BETWEEN_CHECKS = 2.0


def available_memory() -> int:
    """Bytes of memory that can still be allocated: the machine's or, where that is less, the container's."""
    available = int(psutil.virtual_memory().available)
    left = _left_in_container()
    return available if left is None else min(available, left)


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


def _left_in_container() -> int | None:
    """Bytes below the memory limit of the container (cgroup v2); None without a limit.

    The kernel drops cached file pages before it kills a process, so they do not count as used.
    """
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux, or no cgroup of our own
        return None
    if limit == "max":
        return None
    cached = sum(int(value) for name, value in map(str.split, stat) if name in ("active_file", "inactive_file"))
    return max(0, int(limit) - max(0, used - cached))
