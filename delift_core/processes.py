"""Other processes of this machine, in words: who has a workspace open."""

from pathlib import Path

import psutil

_SHOWN = 60


def describe_process(pid: int) -> str:
    """A process: its number, the words it was started with, and the port it answers on, as far as that can be read."""
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
