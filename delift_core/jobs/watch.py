"""Free memory and disk, looked at while a job works: it stops in time, with everything finished kept.

A forecast before the job says what it will take; other programs may take the rest meanwhile.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from delift_core.errors import ScoringError

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
