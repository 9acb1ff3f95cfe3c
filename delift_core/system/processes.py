"""Processes: what each is started with, what the others of this machine are and whether they run.

Importing this module touches no disk and no large library.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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

    program, ports = "", list[int]()
    with suppress(psutil.Error):  # it has ended, or belongs to somebody else
        process = psutil.Process(pid)
        program = _program(process.cmdline())
        ports = sorted({link.laddr.port for link in process.net_connections("inet") if link.status == "LISTEN"})
    port = f", port {ports[0]}" if ports else ""
    return f"pid {pid}, {program[:_LONGEST_DESCRIPTION]}{port}" if program else f"pid {pid}{port}"


def _program(command: list[str]) -> str:
    """The program without its interpreter, and its arguments up to the first option: options may hold secrets."""
    names = [Path(word).name if Path(word).is_absolute() else word for word in command]
    if names and names[0].startswith("python"):
        names = names[2:] if names[1:2] == ["-m"] else names[1:]
    plain = []
    for name in names:
        if name.startswith("-"):
            break
        plain.append(name)
    return " ".join(plain)


def program() -> str:
    """How this process was called: the name of the installed script, or `python -m delift_core`."""
    name = Path(sys.argv[0]).stem
    return name if name in ("delift", "delift-studio") else "python -m delift_core"


def detached() -> dict[str, Any]:
    """Options of `subprocess.Popen` for a process that outlives this one and gets no Ctrl-C of its terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def lower_priority(niceness: int) -> None:
    """Lets other programs run first. Linux schedules sessions before processes, and a worker is a session of its own:
    the niceness of its session has to be set as well."""
    if sys.platform == "win32":
        import psutil

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        return
    niceness = os.nice(niceness)
    with suppress(OSError):  # other systems, and kernels without session scheduling
        Path("/proc/self/autogroup").write_text(str(niceness))


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
