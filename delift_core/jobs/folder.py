"""A job's folder: how the app and its worker process talk, through files that are always whole.

    request.json   what to do                  samples.jsonl   the conversations to score
    progress.json  the worker's last word      worker.json     its process id
    cancel         asks it to stop             worker.log      what it printed

The app may be restarted, or the browser closed, while the worker goes on; whoever opens the folder sees how far it is.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from delift_core.errors import ScoringError
from delift_core.jobs.backends import Placement
from delift_core.jobs.preparation import Refusal, ScoringRequest
from delift_core.jobs.queue import Ticket, turn
from delift_core.jobs.scoring_job import FINAL_STATES, Expect, JobProgress, JobState, Publish, carry_out
from delift_core.samples import Message
from delift_core.scoring.forecast import Forecast, RunSamples
from delift_core.scoring.pair_spec import PairBudget
from delift_core.system.defaults import LIBRARY_ENVIRONMENT
from delift_core.system.files import write_whole

_CLOCK_SLACK = 2.0  # seconds by which a process's age may seem to change when the system clock is set

ObservedState = JobState | Literal["interrupted"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as seen from outside: its last progress, and whether a worker still stands behind it."""

    progress: JobProgress
    alive: bool

    @property
    def state(self) -> ObservedState:
        """ "interrupted" when the worker died before its job came to an end."""
        if not self.alive and self.progress.state not in FINAL_STATES:
            return "interrupted"
        return self.progress.state

    @property
    def active(self) -> bool:
        """Whether work is going on."""
        return self.alive and self.progress.state not in FINAL_STATES


class JobFolder:
    """Reads and writes one job's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, request: ScoringRequest, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Writes what a worker needs; an earlier request in this folder is replaced.

        Raises:
            ScoringError: a worker is at the earlier request, or the folder cannot be written to.
        """
        self._refuse_if_active()
        lines = (
            json.dumps({"hash": digest, "messages": [[m.role, m.content] for m in messages]})
            for digest, messages in conversations.items()
        )
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            for left_behind in ("cancel", "worker.json"):  # a worker that said its last word may still be closing down
                (self.folder / left_behind).unlink(missing_ok=True)
            self._write("samples.jsonl", "\n".join(lines) + "\n")
            self._write("request.json", json.dumps(asdict(request)))
            self.write_progress(JobProgress("starting"))

    def start(self) -> None:
        """Starts a worker process that outlives this one; its output goes to worker.log.

        Raises:
            ScoringError: a worker is already at this job, or the folder cannot be written to.
        """
        self._refuse_if_active()
        environment = dict(os.environ, **LIBRARY_ENVIRONMENT, PYTHONPATH=_import_path())
        with self._writing(), (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # this Python, this package, a folder that we made
                [sys.executable, "-m", "delift_core.jobs.worker", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.claim(process.pid)

    def claim(self, pid: int) -> None:
        """Notes which process works on the job."""
        self._write("worker.json", json.dumps({"pid": pid, "created": psutil.Process(pid).create_time()}))

    def cancel(self) -> None:
        """Asks the worker to stop; it does so within a batch, and keeps every finished block.

        Raises:
            ScoringError: the folder cannot be written to.
        """
        with self._writing():
            (self.folder / "cancel").touch()

    def cancel_requested(self) -> bool:
        """Whether somebody asked the worker to stop."""
        return (self.folder / "cancel").exists()

    def status(self) -> JobStatus:
        """Where the job stands."""
        alive = self._worker_alive()  # asked first: a worker that ends in between has written its last word by then
        return JobStatus(self._read_progress(), alive)

    def write_progress(self, progress: JobProgress) -> None:
        """Replaces the worker's last word."""
        self._write("progress.json", json.dumps(asdict(progress)))

    def read_request(self) -> tuple[ScoringRequest, dict[str, tuple[Message, ...]]]:
        """What to do, and the conversations by content hash."""
        fields = json.loads((self.folder / "request.json").read_text())
        samples = RunSamples(**{name: tuple(rows) for name, rows in fields.pop("samples").items()})
        placement = Placement(**fields.pop("placement"))
        pairs = PairBudget(**fields.pop("pairs"))
        conversations = {}
        with (self.folder / "samples.jsonl").open(encoding="utf-8") as stream:
            for line in stream:
                record = json.loads(line)
                conversations[record["hash"]] = tuple(Message(role, text) for role, text in record["messages"])
        return ScoringRequest(samples=samples, placement=placement, pairs=pairs, **fields), conversations

    def ticket(self) -> Ticket:
        """The job's place in the line of jobs: that of its last request."""
        asked = (self.folder / "request.json").stat().st_mtime_ns
        return Ticket(self.folder.name, str(self.folder.parent.parent), asked)

    def _refuse_if_active(self) -> None:
        if self.status().active:
            raise ScoringError("this run is being scored already; wait for it, or cancel it first")

    def _read_progress(self) -> JobProgress:
        try:
            fields = json.loads((self.folder / "progress.json").read_text())
            refused = tuple(Refusal(**entry) for entry in fields.pop("refused"))
            forecast = fields.pop("forecast")
            progress = JobProgress(**fields)
            return replace(progress, refused=refused, forecast=Forecast(**forecast) if forecast else None)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # nothing was said yet, or it was damaged since
            return JobProgress("starting")

    def _worker_alive(self) -> bool:
        try:
            worker = json.loads((self.folder / "worker.json").read_text())
            process = psutil.Process(worker["pid"])
            same = abs(process.create_time() - worker["created"]) < _CLOCK_SLACK
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # nobody is named, or nobody is there
            return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns a full disk and lost rights into words."""
        try:
            yield
        except OSError as error:
            raise ScoringError(
                f"{self.folder} could not be written ({error.strerror or error}); nothing was started or stopped: "
                "make room on its disk or fix its permissions, then try again"
            ) from error

    def _write(self, name: str, text: str) -> None:
        write_whole(self.folder / name, text.encode())


def _import_path() -> str:
    """PYTHONPATH for the worker: this package's parent first, so that it runs the same code as the app."""
    package_parent = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH", "")]))


def carry_out_in_turn(
    job: JobFolder,
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    *,
    publish: Publish,
    stop: Callable[[], bool],
    expect: Expect = lambda prepared: None,
) -> JobProgress:
    """As `scoring.carry_out`, when no other heavy job is at work; until then its state is "waiting".

    On a cluster the work is done elsewhere, so only jobs of the same workspace stand in line with it.
    """
    device = "cluster" if request.placement.backend == "ray" else request.device

    def line(say: Callable[[str], None]) -> AbstractContextManager[bool]:
        return turn(job.ticket(), device, waiting=say, stop=stop)

    return carry_out(request, conversations, publish=publish, stop=stop, line=line, expect=expect)
