"""The folder of a job: how the app and the worker process communicate, through files that are replaced atomically.

    request.json   what to do                  progress.json  the latest progress
    worker.json    the worker's process id     worker.log     its output
    cancel         asks the worker to stop     and what the job's kind writes there

The app may be restarted, or the browser closed, while the worker goes on: the folder says how far the job is.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from delift_core.errors import ScoringError, Stopped
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.system.callbacks import FINAL_PHASES, Phase, Stop
from delift_core.system.codec import decode, encode
from delift_core.system.files import write_whole
from delift_core.system.processes import LIBRARY_ENVIRONMENT, detached, is_running, started_at

JobKind = Literal["scoring", "evaluation", "map"]
JobState = Phase | Literal["interrupted"]
PROCESS_FILES = ("worker.json", "cancel")  # about a process of this machine


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of job.

    Attributes:
        place: the folder of a workspace that holds the folders of such jobs.
        module: its function `work(job, stop)` does the job; it may be of a package above this one.
        title: of a job, for the queue, with the id of its run or selection.
        doing: what is said while a job is active.
    """

    place: str
    module: str
    title: str
    doing: str


_KINDS: Mapping[JobKind, _Kind] = {
    "scoring": _Kind("jobs", "delift_core.jobs.scoring_job", "{}", "run {} is being scored"),
    "evaluation": _Kind(
        "evaluations", "delift_core.evaluation.background", "the evaluation of {}", "the evaluation of {} is running"
    ),
    "map": _Kind("maps", "delift_core.curation.umap_layout", "the map of {}", "the map of {} is being laid out"),
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The last progress of a job, and whether its worker is running."""

    progress: JobProgress
    alive: bool

    @property
    def state(self) -> JobState:
        """The phase; "interrupted" when the worker died before the job ended."""
        if not self.alive and self.progress.phase not in FINAL_PHASES:
            return "interrupted"
        return self.progress.phase

    @property
    def active(self) -> bool:
        """Whether the job is being worked on."""
        return self.alive and self.progress.phase not in FINAL_PHASES


class JobFolder:
    """The folder of a job, with at most one worker process.

    Its name is the id of the run, or begins with that of the run or selection and a full stop.
    """

    def __init__(self, folder: Path, kind: JobKind = "scoring") -> None:
        self.folder = folder
        self.kind = kind

    @property
    def owner(self) -> str:
        """Id of the run or selection that the job is for."""
        return self.folder.name.partition(".")[0]

    @property
    def doing(self) -> str:
        """What is said of the job while it is active."""
        return _KINDS[self.kind].doing.format(self.owner)

    def prepare(self, request: object, *, replaces: tuple[str, ...] = ()) -> None:
        """Writes what a worker needs; an earlier request in this folder is replaced.

        Args:
            request: a dataclass, or a plain JSON value.
            replaces: names of results of an earlier request, which are removed.

        Raises:
            ScoringError: a worker is at the earlier request, or the folder cannot be written to.
        """
        with self.writing():
            self._refuse_if_active()
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (*PROCESS_FILES, *replaces):  # a worker that has finished may still be shutting down
                (self.folder / name).unlink(missing_ok=True)
            self.write("request.json", request)
            self.write_progress(JobProgress("starting"))

    def start(self) -> None:
        """Starts a worker process that outlives this one; its output goes to worker.log.

        Raises:
            ScoringError: the job already has a worker, or the folder cannot be written to.
        """
        self._refuse_if_active()
        environment = dict(os.environ, **LIBRARY_ENVIRONMENT, PYTHONPATH=_import_path())
        with self.writing(), (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # this Python, this package, a folder that we made
                [sys.executable, "-m", "delift_core.jobs.worker", self.kind, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                **detached(),
            )
        self.claim(process.pid)

    def claim(self, pid: int) -> None:
        """Records which process works on the job."""
        self.write("worker.json", {"pid": pid, "created": started_at(pid)})

    def run(self, stop: Stop) -> None:
        """Does the job in this process, until it is done or `stop` answers True.

        Raises:
            DeliftError: the job failed; a stop raises nothing.
        """
        try:
            import_module(_KINDS[self.kind].module).work(self, stop)
        except Stopped as error:
            self.write_progress(replace(self.status().progress, phase="cancelled", message=str(error)))

    def wait_for_device(self, device: str, stop: Stop) -> AbstractContextManager[None]:
        """`queue.wait_for_device`; what the job waits for is its progress."""

        def on_wait(message: str) -> None:
            self.write_progress(JobProgress("waiting", message=message))

        return wait_for_device(self.ticket(), device, on_wait=on_wait, stop=stop)

    def cancel(self) -> None:
        """Asks the worker to stop; it does so after the current batch or step, and keeps everything finished.

        Raises:
            ScoringError: the folder cannot be written to.
        """
        with self.writing():
            (self.folder / "cancel").touch()

    def cancel_requested(self) -> bool:
        """Whether the worker has been asked to stop."""
        return (self.folder / "cancel").exists()

    def status(self) -> JobStatus:
        """The state of the job."""
        alive = self._alive()  # read first: a worker that ends in between has written its final progress by then
        for name in ("progress.json", "status.json"):  # earlier versions kept that of an evaluation in status.json
            with suppress(OSError, ValueError):  # not written yet, or damaged
                return JobStatus(_progress(self.read(name)), alive)
        return JobStatus(JobProgress("starting"), alive)

    def write_progress(self, progress: JobProgress) -> None:
        """Replaces the progress."""
        self.write("progress.json", progress)

    def fail(self, reason: str) -> None:
        """Records that the job failed; the counts of the last progress stay."""
        self.write_progress(replace(self.status().progress, phase="failed", message=reason))

    def ticket(self) -> Ticket:
        """The job's place in the queue: that of its last request."""
        requested = (self.folder / "request.json").stat().st_mtime_ns
        return Ticket(_KINDS[self.kind].title.format(self.owner), str(self.folder.parent.parent), requested)

    def read(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            OSError, ValueError: there is no such file, or it is damaged.
        """
        return json.loads((self.folder / name).read_bytes())

    def write(self, name: str, content: object) -> None:
        """Replaces a JSON file by a dataclass or a plain value.

        Raises:
            OSError: the folder cannot be written to.
        """
        write_whole(self.folder / name, encode(content))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns a full disk or missing permissions into a ScoringError."""
        try:
            yield
        except OSError as error:
            raise ScoringError(
                f"{self.folder} could not be written ({error.strerror or error}); nothing was started or stopped: "
                "make room on its disk or fix its permissions, then try again"
            ) from error

    def _alive(self) -> bool:
        try:
            worker = self.read("worker.json")
            return is_running(worker["pid"], worker["created"])
        except (OSError, ValueError, KeyError, TypeError):  # no worker yet
            return False

    def _refuse_if_active(self) -> None:
        if self.status().active:
            raise ScoringError(f"{self.doing} already; wait for it, or cancel it first")


def job_folders(workspace: Path, *kinds: JobKind) -> Iterator[JobFolder]:
    """The folders of a workspace's jobs, of all kinds or some."""
    for kind in kinds or _KINDS:
        for path in sorted((workspace / _KINDS[kind].place).glob("*")):
            if any((path / name).exists() for name in ("progress.json", "request.json")):
                yield JobFolder(path, kind)


def _progress(document: Any) -> JobProgress:
    """A progress from its JSON form, also of earlier versions, which kept all in one object, with other names."""
    if isinstance(document, dict) and "state" in document:
        phases = {"measuring": "calibrating", "estimated": "forecast"}  # of an evaluation
        phase = phases.get(document["state"], document["state"])
        counts = {"done": document.get("pairs_done", 0), "total": document.get("pairs_total", 0)}
        document = {**document, "phase": phase, **counts, "facts": document}
    return decode(JobProgress, document)


def _import_path() -> str:
    """PYTHONPATH for the worker: this package's parent first, so that it runs the same code as the app."""
    package_parent = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))
