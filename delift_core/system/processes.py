"""Other processes of this machine: what they are and whether they run; and a pause of Python's garbage collector."""

import gc
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
