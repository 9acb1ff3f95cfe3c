"""Whether a matrix fits into memory, asked before it is made; and what to do where it did not fit all the same.

Knows nothing of what the matrix holds.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from delift_core.errors import ScoringError, SelectionError

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")


def available_bytes() -> int | None:
    """Bytes of memory this process may still take, or None where the system does not say.

    On Linux the smaller of what the kernel calls available and what is left of the container's limit; elsewhere the
    physical memory.
    """
    known = [size for size in (_machine_bytes(), _container_bytes()) if size is not None]
    return min(known, default=None)


def ensure_fits(
    rows: int, columns: int, bytes_per_entry: int, *, entries: int | None = None, available: int | None = None
) -> None:
    """Refuses a (rows, columns) matrix that would not fit into memory.

    Args:
        rows: number of represented rows.
        columns: number of selectable columns.
        bytes_per_entry: everything held at once for an entry, working copies included.
        entries: how many a sparse matrix holds; a dense one holds all.
        available: bytes that may be taken; asks the system when None.

    Raises:
        SelectionError: the matrix needs more than is available; the message says both sizes.
    """
    limit = available_bytes() if available is None else available
    needed = (rows * columns if entries is None else entries) * bytes_per_entry
    if limit is not None and needed > limit:
        held = "" if entries is None else f" with {entries:,} entries"
        raise SelectionError(
            f"A kernel of {rows:,} x {columns:,}{held} needs {_gigabytes(needed)} of memory and {_gigabytes(limit)} is "
            f"available: choose from a smaller pool, or use a machine with more memory."
        )


@contextmanager
def memory_said(what: str, rows: int) -> Iterator[None]:
    """Turns running out of memory into an error that says what to do; what was made so far is let go.

    Args:
        what: what is done in the block, such as "choosing".
        rows: of the pool.

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


def _machine_bytes() -> int | None:
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(os.sysconf_names):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container_bytes() -> int | None:
    if not (_CGROUP_LIMIT.is_file() and _CGROUP_USED.is_file()):
        return None
    limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    return None if limit == "max" else max(0, int(limit) - int(_CGROUP_USED.read_text(encoding="ascii")))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


LEAST_MEMORY = 200 << 20  # below this the system ends programs, and does not ask which
LEAST_DISK = 64 << 20  # room for the last blocks, the progress and the database's log
SECONDS_BETWEEN = 2.0


def free_memory() -> int:
    """Bytes that programs can still get."""
    return int(psutil.virtual_memory().available)


class ResourceWatch:
    """Looks at memory and disk now and then."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = free_memory,
    ) -> None:
        """Args:
        folder: where the job writes.
        memory: gives the free memory in bytes.
        """
        self._folder, self._clock, self._memory = folder, clock, memory
        self._next = clock()

    def check(self) -> None:
        """Does nothing while there is enough of both.

        Raises:
            ScoringError: there is not; it says what to do.
        """
        if self._clock() < self._next:
            return
        self._next = self._clock() + SECONDS_BETWEEN
        memory, disk = self._memory(), shutil.disk_usage(self._folder).free
        if memory < LEAST_MEMORY:
            raise ScoringError(
                f"stopped with {memory >> 20:,} MiB of memory left; everything finished is kept: "
                "close other programs, then continue"
            )
        if disk < LEAST_DISK:
            raise ScoringError(
                f"stopped with {disk >> 20:,} MiB left on the disk of {self._folder}; everything finished is kept: "
                "make room, then continue"
            )
