"""A queue of heavy jobs, first come first served: one at a time in a workspace and on a device of this machine.

A job that scores, evaluates or lays out a map takes a ticket: a file in a folder that all processes of this user share.
The process holds a lock on its ticket as long as it lives, so a killed process leaves the queue at once, and waiting
does not depend on the server. There is no queue process: each job looks for earlier tickets that are still locked.
"""

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from delift_core.errors import ScoringError

QUEUE_VARIABLE = "DELIFT_QUEUE"
POLL_SECONDS = 0.3
_RUNNING = "turn"  # name of the file that the running job locks


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting or running job.

    Attributes:
        job: id of the run or evaluation, or a short description.
        workspace: its folder; "" for a job without a workspace.
        requested: when the job was requested, in nanoseconds since the epoch; decides the order.
        started: when the job left the queue, in seconds since the epoch; 0 while it waits.
    """

    job: str
    workspace: str
    requested: int
    started: float = 0.0

    def named_in(self, workspace: str) -> str:
        """The job's name for users of a workspace; ids and folders of other workspaces are not shown."""
        if not self.workspace or self.workspace == workspace:
            return self.job
        since = f", running since {time.strftime('%H:%M', time.localtime(self.started))}" if self.started else ""
        return f"another job on this machine{since}"


@contextmanager
def wait_for_device(
    ticket: Ticket,
    device: str,
    *,
    on_wait: Callable[[str], None] = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[bool]:
    """Waits until the device is free, and keeps it for the length of the block.

    Args:
        device: "cpu", a device that may be a GPU, or "cluster", which is none of this machine's.
        on_wait: called with "waiting for r3" whenever that changes.
        stop: asked while waiting.

    Yields:
        True once the device is free; False if the job was stopped while waiting.

    Raises:
        ScoringError: the queue's folder cannot be written to.
    """
    queues = [f"workspace-{hashlib.sha256(ticket.workspace.encode()).hexdigest()[:16]}"] if ticket.workspace else []
    with ExitStack() as held:
        try:
            # The workspace always comes before the device: two jobs can never wait for each other.
            queues += [] if device == "cluster" else [_device_queue(device)]
            free = all(held.enter_context(_in_queue(name, ticket, on_wait, stop)) for name in queues)
        except OSError as error:
            raise ScoringError(
                f"the queue of jobs in {queue_folder()} cannot be used ({error.strerror or error}): "
                f"make it writable, or name another folder in {QUEUE_VARIABLE}"
            ) from error
        yield free


def queue_folder() -> Path:
    """Where tickets are kept: $DELIFT_QUEUE, else a folder for this machine in the user's cache folder."""
    named = os.environ.get(QUEUE_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "delift-studio" / "queue" / socket.gethostname()


def _device_queue(device: str) -> str:
    """The queue of a device; whether there is a GPU is found out without loading torch."""
    return "gpu" if device != "cpu" and Path("/proc/driver/nvidia").exists() else "cpu"


@contextmanager
def _in_queue(name: str, ticket: Ticket, on_wait: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
    folder = queue_folder() / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = f"{ticket.requested:020d}.{os.getpid()}"
    handle = _write_ticket(folder / own, ticket)
    running = os.open(folder / _RUNNING, os.O_RDWR | os.O_CREAT, 0o600)
    last_message = ""
    try:
        while not stop():
            earlier = _first_before(folder, own)
            if earlier is None and _lock(running):
                os.ftruncate(running, 0)
                os.pwrite(running, _encoded(ticket), 0)
                yield True
                return
            other = _running(folder) or earlier
            message = f"waiting for {other.named_in(ticket.workspace)}" if other else last_message
            if message and message != last_message:
                last_message = message
                on_wait(message)
            time.sleep(POLL_SECONDS)
        yield False
    finally:
        os.close(running)
        with suppress(OSError):
            (folder / own).unlink()
        os.close(handle)


def _write_ticket(path: Path, ticket: Ticket) -> int:
    """Writes a ticket that is locked before it gets its name; it is valid as long as the handle is open."""
    hidden = path.with_name(f".{path.name}")
    handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, _encoded(ticket))
    hidden.rename(path)
    return handle


def _first_before(folder: Path, own: str) -> Ticket | None:
    """The first earlier ticket whose process lives; tickets of dead processes are removed."""
    for path in sorted(folder.iterdir()):
        if path.name in (_RUNNING, own) or path.name.startswith("."):
            continue
        if path.name > own:
            return None
        with suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY)
            try:
                if not _lock(handle):
                    return _read(handle)
                path.unlink(missing_ok=True)
            finally:
                os.close(handle)
    return None


def _running(folder: Path) -> Ticket | None:
    """The ticket of the running job, if there is one."""
    handle = os.open(folder / _RUNNING, os.O_RDONLY)
    try:
        if _lock(handle):
            return None
        found = _read(handle)
        return found and replace(found, started=os.fstat(handle).st_mtime)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _encoded(ticket: Ticket) -> bytes:
    return json.dumps([ticket.job, ticket.workspace, ticket.requested]).encode()


def _read(handle: int) -> Ticket | None:
    try:
        job, workspace, requested = json.loads(os.pread(handle, 65536, 0))
    except ValueError:  # locked, but not written yet
        return None
    return Ticket(str(job), str(workspace), int(requested))
