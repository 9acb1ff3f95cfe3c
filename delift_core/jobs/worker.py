"""The worker process of a job: `python -m delift_core.jobs.worker KIND FOLDER`."""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import cast

from delift_core.errors import DeliftError
from delift_core.jobs.folder import JobFolder, JobKind
from delift_core.system.logs import begin_log, log_event, log_failure
from delift_core.system.processes import lower_priority

_NICENESS = 5  # keeps the pages responsive while every core is busy


def main(job: JobFolder) -> int:
    """Does a job's work in this process; SIGTERM and a request to cancel stop it.

    Returns:
        The exit code: 0, or 2 if the job failed.
    """
    begin_log(job.folder.parent.parent, "worker", job=job.folder.name)
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    signal.signal(signal.SIGTERM, on_signal)
    job.claim(os.getpid())
    lower_priority(_NICENESS)
    log_event(f"{job.kind} began")
    try:
        job.run(lambda: bool(signals) or job.cancel_requested())
    except DeliftError as error:
        log_event(f"{job.kind} failed", level=logging.ERROR, reason=str(error))
        _fail(job, str(error))
        return 2
    except BaseException as error:
        traceback.print_exc()
        log_failure(f"{job.kind} failed", error)
        log = job.folder / "worker.log"
        _fail(job, f"the {job.kind} worker stopped unexpectedly ({type(error).__name__}); see {log}")
        raise
    last = job.status().progress
    log_event(f"{job.kind} ended", state=last.phase, done=last.done, device=last.facts.device)
    return 0


def _fail(job: JobFolder, reason: str) -> None:
    """Records the failure in the job's folder or, where that cannot be written, in worker.log."""
    try:
        job.fail(reason)
    except OSError as error:
        print(f"{reason} (and this could not be noted: {error})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(JobFolder(Path(sys.argv[2]), cast(JobKind, sys.argv[1]))))
