"""Processes: what each is started with, what the others of this machine are and whether they run.

Importing this module touches no disk and no large library.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_DESCRIPTION = 60
_CLOCK_SLACK = 2.0  # seconds by which a process's age may seem to change when the system clock is set


def started_at(pid: int) -> float:
    """When a process started, in seconds since the epoch."""
    import psutil

    return float(psutil.Process(pid).create_time())


def is_running(pid: int, started: float) -> bool:
    """Whether a process still runs; a later one with its id has started at another time."""
    import psutil

    try:
        same = abs(started_at(pid) - started) < _CLOCK_SLACK
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def describe_process(pid: int) -> str:
    """Describes a process by its id, its program and the port it listens on, as far as these can be read."""
    import psutil

    try:
        process = psutil.Process(pid)
        program = _program(process.cmdline())
        ports = sorted({link.laddr.port for link in process.net_connections("inet") if link.status == "LISTEN"})
    except psutil.Error:
        return f"pid {pid}"
    port = f", port {ports[0]}" if ports else ""
    return f"pid {pid}, {program[:_LONGEST_DESCRIPTION]}{port}" if program else f"pid {pid}{port}"


def _program(command: list[str]) -> str:
    """The program without its interpreter, and its arguments up to the first option: options may hold secrets."""
    names = [Path(word).name if word.startswith("/") else word for word in command]
    if names and names[0].startswith("python"):
        names = names[2:] if names[1:2] == ["-m"] else names[1:]
    plain = []
    for name in names:
        if name.startswith("-"):
            break
        plain.append(name)
    return " ".join(plain)


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector, which is slow while hundreds of thousands of objects are made.

    Several threads may be inside: the first to leave turns the collector on again, which only costs the others time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


WORKSPACE_VARIABLE = "DELIFT_WORKSPACE"

# Read when torch is first imported. OpenMP threads that wait for each other spin briefly and then sleep: by default
# they go on spinning, which makes scoring several times slower as soon as the machine does anything else.
LIBRARY_ENVIRONMENT = {"GOMP_SPINCOUNT": "3000", "TOKENIZERS_PARALLELISM": "false"}


def default_workspace() -> Path:
    """The workspace folder if none is given: $DELIFT_WORKSPACE, else .delift in the home folder."""
    path = Path(os.environ.get(WORKSPACE_VARIABLE) or "~/.delift")
    try:
        return path.expanduser()
    except RuntimeError:  # no home folder; opening the workspace reports it
        return path
