"""Other processes of this machine, in words: who has a workspace open."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 60


def describe_process(pid: int) -> str:
    """A process: its number, the words it was started with, and the port it answers on, as far as that can be read."""
    import psutil

    try:
        process = psutil.Process(pid)
        words = _without_interpreter(process.cmdline())
        ports = sorted({link.laddr.port for link in process.net_connections("inet") if link.status == "LISTEN"})
    except psutil.Error:
        return f"pid {pid}"
    port = f", port {ports[0]}" if ports else ""
    return f"pid {pid}, {words[:_SHOWN]}{port}" if words else f"pid {pid}{port}"


def _without_interpreter(words: list[str]) -> str:
    """The program and its first words; options may hold what is nobody else's business."""
    names = [Path(word).name if word.startswith("/") else word for word in words]
    if names and names[0].startswith("python"):
        names = names[2:] if names[1:2] == ["-m"] else names[1:]
    plain = []
    for name in names:
        if name.startswith("-"):
            break
        plain.append(name)
    return " ".join(plain)


@contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the search for cycles off inside the block; for blocks that make hundreds of thousands of objects at once.

    Threads may be inside at the same time: the first to leave turns it on again, which costs the others time only.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
