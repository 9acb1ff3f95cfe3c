"""The worker process of a job, and the one of scoring: `python -m delift_core.jobs.worker JOB_FOLDER`."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from delift_core.errors import DeliftError
from delift_core.jobs.folder import JobFolder, WorkerFolder, run_queued_job
from delift_core.system.callbacks import Stop
from delift_core.system.logs import begin_log, log_event, log_failure

_NICENESS = 5  # keeps the pages responsive while every core is busy


def run_worker(job: WorkerFolder, kind: str, work: Callable[[Stop], None]) -> int:
    """Does a job's work in this process; SIGTERM and a request to cancel stop it.

    Args:
        kind: names the job in the log and in messages, such as "scoring".
        work: takes a function that says whether to stop; logs its own beginning and end.

    Returns:
        The exit code: 0, or 2 if the job failed.
    """
    begin_log(job.folder.parent.parent, "worker", job=job.folder.name)
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    signal.signal(signal.SIGTERM, on_signal)
    job.claim(os.getpid())
    _lower_priority()
    try:
        work(lambda: bool(signals) or job.cancel_requested())
    except DeliftError as error:
        log_event(f"{kind} failed", level=logging.ERROR, reason=str(error))
        _fail(job, str(error))
        return 2
    except BaseException as error:
        traceback.print_exc()
        log_failure(f"{kind} failed", error)
        log = job.folder / "worker.log"
        _fail(job, f"the {kind} worker stopped unexpectedly ({type(error).__name__}); see {log}")
        raise
    return 0


def main(folder: Path) -> int:
    """Scores the job in a folder, and returns the exit code."""
    job = JobFolder(folder)

    def work(stop: Stop) -> None:
        request, conversations = job.read_request()
        log_event("scoring began", mode=request.mode, model=request.model, samples=len(conversations))
        last = run_queued_job(job, request, conversations, publish=job.write_progress, stop=stop)
        log_event("scoring ended", state=last.state, pairs=last.pairs_done, device=last.device)

    return run_worker(job, "scoring", work)


def _fail(job: WorkerFolder, reason: str) -> None:
    """Records the failure in the job's folder or, where that cannot be written, in worker.log."""
    try:
        job.fail(reason)
    except OSError as error:
        print(f"{reason} (and this could not be noted: {error})", file=sys.stderr)


def _lower_priority() -> None:
    """Lets other programs run first. Linux schedules sessions before processes, and a worker is a session of its own:
    the niceness of its session has to be set as well."""
    niceness = os.nice(_NICENESS)
    with suppress(OSError):  # other systems, and kernels without session scheduling
        Path("/proc/self/autogroup").write_text(str(niceness))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
