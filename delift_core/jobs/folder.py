"""The folder of a job: how the app and the worker process communicate, through files that are replaced atomically.

    request.json   what to do                  samples.jsonl   the conversations to score
    progress.json  the latest progress         worker.json     the worker's process id
    cancel         asks the worker to stop     worker.log      its output

The app may be restarted, or the browser closed, while the worker goes on: the folder says how far the job is.
"""

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import psutil

from delift_core.errors import ScoringError
from delift_core.jobs.preparation import ScoringRequest
from delift_core.jobs.progress import FINAL_STATES, JobProgress, JobState, Publish
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.jobs.scoring_job import OnPrepared, run_scoring_job
from delift_core.samples import Message
from delift_core.system.callbacks import Stop
from delift_core.system.codec import decode
from delift_core.system.defaults import LIBRARY_ENVIRONMENT
from delift_core.system.files import write_whole

_CLOCK_SLACK = 2.0  # seconds by which a process's age may seem to change when the system clock is set

ObservedState = JobState | Literal["interrupted"]


class Status(Protocol):
    """The state of any job."""

    @property
    def active(self) -> bool:
        """Whether the job is being worked on."""


class WorkerFolder(ABC):
    """A folder with at most one worker process."""

    worker_module: ClassVar[str]
    active_message: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Starts a worker process that outlives this one; its output goes to worker.log.

        Raises:
            ScoringError: the job already has a worker, or the folder cannot be written to.
        """
        self._refuse_if_active()
        environment = dict(os.environ, **LIBRARY_ENVIRONMENT, PYTHONPATH=_import_path())
        with self._writing(), (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # this Python, this package, a folder that we made
                [sys.executable, "-m", self.worker_module, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.claim(process.pid)

    def claim(self, pid: int) -> None:
        """Records which process works on the job."""
        self._write("worker.json", json.dumps({"pid": pid, "created": psutil.Process(pid).create_time()}))

    def cancel(self) -> None:
        """Asks the worker to stop; it does so after the current batch or step, and keeps everything finished.

        Raises:
            ScoringError: the folder cannot be written to.
        """
        with self._writing():
            (self.folder / "cancel").touch()

    def cancel_requested(self) -> bool:
        """Whether the worker has been asked to stop."""
        return (self.folder / "cancel").exists()

    @property
    def alive(self) -> bool:
        """Whether the worker process is running."""
        return has_live_worker(self.folder)

    @abstractmethod
    def status(self) -> "Status":
        """The state of the job."""

    @abstractmethod
    def fail(self, reason: str) -> None:
        """Records that the job failed."""

    def ticket(self) -> Ticket:
        """The job's place in the queue: that of its last request."""
        requested = (self.folder / "request.json").stat().st_mtime_ns
        return Ticket(self.folder.name, str(self.folder.parent.parent), requested)

    def _clear(self, *names: str) -> None:
        """Makes the folder, and removes what an earlier request left there.

        Raises:
            ScoringError: a worker is at the earlier request.
        """
        self._refuse_if_active()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("cancel", "worker.json", *names):  # a worker that has finished may still be shutting down
            (self.folder / name).unlink(missing_ok=True)

    def _refuse_if_active(self) -> None:
        if self.status().active:
            raise ScoringError(self.active_message)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns a full disk or missing permissions into a ScoringError."""
        try:
            yield
        except OSError as error:
            raise ScoringError(
                f"{self.folder} could not be written ({error.strerror or error}); nothing was started or stopped: "
                "make room on its disk or fix its permissions, then try again"
            ) from error

    def _write(self, name: str, text: str) -> None:
        write_whole(self.folder / name, text.encode())


def has_live_worker(folder: Path) -> bool:
    """Whether the worker process of a job of any kind is running."""
    try:
        worker = json.loads((folder / "worker.json").read_text())
        process = psutil.Process(worker["pid"])
        same = abs(process.create_time() - worker["created"]) < _CLOCK_SLACK
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # no worker yet, or its process has ended
        return False


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The last progress of a scoring job, and whether its worker is running."""

    progress: JobProgress
    alive: bool

    @property
    def state(self) -> ObservedState:
        """ "interrupted" when the worker died before the job ended."""
        if not self.alive and self.progress.state not in FINAL_STATES:
            return "interrupted"
        return self.progress.state

    @property
    def active(self) -> bool:
        """Whether the job is being worked on."""
        return self.alive and self.progress.state not in FINAL_STATES


class JobFolder(WorkerFolder):
    """The folder of a scoring job."""

    worker_module = "delift_core.jobs.worker"
    active_message = "this run is being scored already; wait for it, or cancel it first"

    def prepare(self, request: ScoringRequest, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Writes what a worker needs; an earlier request in this folder is replaced.

        Raises:
            ScoringError: a worker is at the earlier request, or the folder cannot be written to.
        """
        lines = (
            json.dumps({"hash": digest, "messages": [[m.role, m.content] for m in messages]})
            for digest, messages in conversations.items()
        )
        with self._writing():
            self._clear()
            self._write("samples.jsonl", "\n".join(lines) + "\n")
            self._write("request.json", json.dumps(asdict(request)))
            self.write_progress(JobProgress("starting"))

    def read_request(self) -> tuple[ScoringRequest, dict[str, tuple[Message, ...]]]:
        """The request, and the conversations by content hash."""
        request = decode(ScoringRequest, json.loads((self.folder / "request.json").read_text()))
        conversations = {}
        with (self.folder / "samples.jsonl").open(encoding="utf-8") as stream:
            for line in stream:
                record = json.loads(line)
                conversations[record["hash"]] = tuple(Message(role, text) for role, text in record["messages"])
        return request, conversations

    def status(self) -> JobStatus:
        """The state of the job."""
        alive = self.alive  # read first: a worker that ends in between has written its final progress by then
        try:
            progress = decode(JobProgress, json.loads((self.folder / "progress.json").read_text()))
        except (OSError, ValueError):  # not written yet, or damaged
            progress = JobProgress("starting")
        return JobStatus(progress, alive)

    def write_progress(self, progress: JobProgress) -> None:
        """Replaces the progress."""
        self._write("progress.json", json.dumps(asdict(progress)))

    def fail(self, reason: str) -> None:
        """Records that the job failed; the counts of the last progress stay."""
        self.write_progress(replace(self.status().progress, state="failed", message=reason))


def _import_path() -> str:
    """PYTHONPATH for the worker: this package's parent first, so that it runs the same code as the app."""
    package_parent = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))


def run_queued_job(
    job: JobFolder,
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    *,
    publish: Publish,
    stop: Stop,
    on_prepared: OnPrepared = lambda prepared: None,
) -> JobProgress:
    """Runs `run_scoring_job` once the device is free; until then its state is "waiting".

    A job on a cluster needs no device of this machine: it waits for jobs of the same workspace only.
    """
    device = "cluster" if request.placement.backend == "ray" else request.device

    def queue(on_wait: Callable[[str], None]) -> AbstractContextManager[bool]:
        return wait_for_device(job.ticket(), device, on_wait=on_wait, stop=stop)

    return run_scoring_job(request, conversations, publish=publish, stop=stop, queue=queue, on_prepared=on_prepared)
