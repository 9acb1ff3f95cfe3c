"""One heavy job at a time, in a workspace and on a device of this machine; the others wait in the order of asking.

Whoever wants to score, evaluate or lay out a map takes a ticket: a file in a folder that all processes of this user on
this machine share. Its process holds a lock on it as long as it lives, so that one that was killed leaves its place at
once, and one that waits goes on waiting whatever becomes of the server. No process keeps the order: each looks who
stands before it.
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
LOOK_SECONDS = 0.3
_TURN = "turn"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who waits, or is at work.

    Attributes:
        job: id of the run or evaluation, or a few words.
        workspace: its folder; "" where there is none.
        asked: when it was asked for, in nanoseconds since the epoch; the earlier goes first.
        began: when its turn began, in seconds since the epoch; 0 while it waits.
    """

    job: str
    workspace: str
    asked: int
    began: float = 0.0

    def named_in(self, workspace: str) -> str:
        """The job, for somebody who works in this workspace: of another one they know neither ids nor folder."""
        if not self.workspace or self.workspace == workspace:
            return self.job
        since = f", running since {time.strftime('%H:%M', time.localtime(self.began))}" if self.began else ""
        return f"another job on this machine{since}"


@contextmanager
def turn(
    ticket: Ticket,
    device: str,
    *,
    waiting: Callable[[str], None] = lambda words: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[bool]:
    """Waits for the job's turn, and holds it for the length of the block.

    Args:
        device: "cpu" stands in one line, whatever may take a GPU in another; "cluster" is no device of this machine.
        waiting: called with "waiting for r3" whenever that changes.
        stop: asked while waiting.

    Yields:
        True at its turn; False when it was stopped before.

    Raises:
        ScoringError: the folder of tickets cannot be written.
    """
    lines = [f"workspace-{hashlib.sha256(ticket.workspace.encode()).hexdigest()[:16]}"] if ticket.workspace else []
    with ExitStack() as held:
        try:
            # always in this order, so that no two can wait for each other
            lines += [] if device == "cluster" else [_line_of(device)]
            mine = all(held.enter_context(_in_line(name, ticket, waiting, stop)) for name in lines)
        except OSError as error:
            raise ScoringError(
                f"the line of jobs in {queue_folder()} cannot be used ({error.strerror or error}): "
                f"make it writable, or name another folder in {QUEUE_VARIABLE}"
            ) from error
        yield mine


def queue_folder() -> Path:
    """Where tickets lie: $DELIFT_QUEUE, else in the user's cache folder, apart for each machine that shares it."""
    named = os.environ.get(QUEUE_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "delift-studio" / "queue" / socket.gethostname()


def _line_of(device: str) -> str:
    """Who stands in one line fights over one thing; a GPU is looked for without loading torch."""
    return "gpu" if device != "cpu" and Path("/proc/driver/nvidia").exists() else "cpu"


@contextmanager
def _in_line(name: str, ticket: Ticket, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
    folder = queue_folder() / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = _take(folder, ticket)
    place = f"{ticket.asked:020d}.{os.getpid()}"
    work = os.open(folder / _TURN, os.O_RDWR | os.O_CREAT, 0o600)
    said = ""
    try:
        while not stop():
            before = _before(folder, place)
            if before is None and _lock(work):
                os.ftruncate(work, 0)
                os.pwrite(work, _written(ticket), 0)
                yield True
                return
            other = _at_work(folder) or before
            words = f"waiting for {other.named_in(ticket.workspace)}" if other else said
            if words and words != said:
                said = words
                waiting(words)
            time.sleep(LOOK_SECONDS)
        yield False
    finally:
        os.close(work)
        with suppress(OSError):
            (folder / place).unlink()
        os.close(handle)


def _take(folder: Path, ticket: Ticket) -> int:
    """Puts a ticket down, locked before anybody can see it; it counts as long as the handle is open."""
    place = folder / f"{ticket.asked:020d}.{os.getpid()}"
    unseen = folder / f".{place.name}"
    handle = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, _written(ticket))
    unseen.rename(place)
    return handle


def _before(folder: Path, place: str) -> Ticket | None:
    """The first of those who asked earlier and still live; tickets of the dead are cleared away."""
    for path in sorted(folder.iterdir()):
        if path.name in (_TURN, place) or path.name.startswith("."):
            continue
        if path.name > place:
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


def _at_work(folder: Path) -> Ticket | None:
    """Whose turn it is, if anybody's."""
    handle = os.open(folder / _TURN, os.O_RDONLY)
    try:
        if _lock(handle):
            return None
        found = _read(handle)
        return found and replace(found, began=os.fstat(handle).st_mtime)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(ticket: Ticket) -> bytes:
    return json.dumps([ticket.job, ticket.workspace, ticket.asked]).encode()


def _read(handle: int) -> Ticket | None:
    try:
        job, workspace, asked = json.loads(os.pread(handle, 65536, 0))
    except ValueError:  # its turn has just begun
        return None
    return Ticket(str(job), str(workspace), int(asked))
