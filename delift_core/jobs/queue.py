"""A queue of heavy jobs, first come first served: one at a time in a workspace and on a device of this machine.

A job that scores, evaluates or lays out a map keeps a ticket in a folder that all processes of this user share. There
is no queue process: each job waits until no earlier or running ticket needs the same. A ticket is void as soon as its
process has ended.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from delift_core.errors import ScoringError, Stopped
from delift_core.system.callbacks import Stop, never
from delift_core.system.codec import decode, encode
from delift_core.system.files import write_whole
from delift_core.system.processes import is_running, started_at

QUEUE_VARIABLE = "DELIFT_QUEUE"
_POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting or running job.

    Attributes:
        job: id of the run, or a short description.
        workspace: its folder; "" for a job without a workspace.
        requested: when the job was requested, in nanoseconds since the epoch; decides the order.
        needs: of two jobs that need the same, one waits.
        pid, created: the process, and when it started, in seconds since the epoch.
        began: when the job left the queue, in seconds since the epoch; 0 while it waits.
    """

    job: str
    workspace: str
    requested: int
    needs: tuple[str, ...] = ()
    pid: int = 0
    created: float = 0.0
    began: float = 0.0

    def named_in(self, workspace: str) -> str:
        """The job's name for users of a workspace; ids and folders of other workspaces are not shown."""
        if not self.workspace or self.workspace == workspace:
            return self.job
        since = f", running since {time.strftime('%H:%M', time.localtime(self.began))}" if self.began else ""
        return f"another job on this machine{since}"


@contextmanager
def wait_for_device(
    ticket: Ticket, device: str, *, on_wait: Callable[[str], None] = lambda message: None, stop: Stop = never
) -> Iterator[None]:
    """Waits until the device is free, and keeps it for the length of the block.

    Args:
        device: "cpu", a device that may be a GPU, or "cluster", which is none of this machine's.
        on_wait: called with "waiting for r3" whenever that changes.
        stop: asked while waiting.

    Raises:
        Stopped: `stop` answered True.
        ScoringError: the queue's folder cannot be written to.
    """
    pid = os.getpid()
    # Whether there is a GPU is found out without loading torch; not on Linux, its jobs wait for those of the CPU.
    gpu = device != "cpu" and Path("/proc/driver/nvidia").exists()
    needs = (*filter(None, [ticket.workspace]), *(() if device == "cluster" else ("gpu" if gpu else "cpu",)))
    own = replace(ticket, needs=needs, pid=pid, created=started_at(pid))
    path = queue_folder() / f"{ticket.requested:020d}.{pid}"
    try:
        _wait(path, own, on_wait, stop)
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def queue_folder() -> Path:
    """Where tickets are kept: $DELIFT_QUEUE, else a folder for this machine in the user's cache folder."""
    named = os.environ.get(QUEUE_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "delift-studio" / "queue" / socket.gethostname()


def _wait(path: Path, own: Ticket, on_wait: Callable[[str], None], stop: Stop) -> None:
    last_message = ""
    while before := _take_place(path, own):
        if stop():
            raise Stopped("stopped while waiting for the device; nothing was started")
        other = next((one for one in before if one.began), before[0])
        message = f"waiting for {other.named_in(own.workspace)}"
        if message != last_message:
            last_message = message
            on_wait(message)
        time.sleep(_POLL_SECONDS)


def _take_place(path: Path, own: Ticket) -> list[Ticket]:
    """Writes the ticket, and returns those that it waits for; if there are none, the job has begun."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(path.with_name("lock"), mode=0o600):
            others = ((name, ticket) for name, ticket in _tickets(path.parent) if name != path.name)
            before = [
                ticket
                for name, ticket in others
                if (ticket.began or name < path.name) and not set(ticket.needs).isdisjoint(own.needs)
            ]
            if not before or not path.exists():
                content = own if before else replace(own, began=time.time())
                write_whole(path, encode(content))
            return before
    except OSError as error:
        raise ScoringError(
            f"the queue of jobs in {queue_folder()} cannot be used ({error.strerror or error}): "
            f"make it writable, or name another folder in {QUEUE_VARIABLE}"
        ) from error


def _tickets(folder: Path) -> Iterator[tuple[str, Ticket]]:
    """The tickets of running processes with their names, the earliest first; the others are removed."""
    for path in sorted(folder.glob("[0-9]*")):
        with suppress(FileNotFoundError, ValueError):  # its job has just ended, or it was damaged by a power cut
            ticket = decode(Ticket, path.read_bytes())
            if is_running(ticket.pid, ticket.created):
                yield path.name, ticket
                continue
        path.unlink(missing_ok=True)
