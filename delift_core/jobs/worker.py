"""The worker process of a scoring job: `python -m delift_core.jobs.worker JOB_FOLDER`."""

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from delift_core.errors import DeliftError
from delift_core.jobs.folder import JobFolder, carry_out_in_turn
from delift_core.system.logs import begin_log, note_event, note_failure

_NICENESS = 5  # the pages stay quick while every core scores


def main(folder: Path) -> int:
    """Carries out the job in a folder; the exit code is 0 unless it failed."""
    job = JobFolder(folder)
    begin_log(folder.parent.parent, "worker", job=folder.name)
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    job.claim(os.getpid())
    _yield_to_pages()
    request, conversations = job.read_request()
    note_event("scoring began", mode=request.mode, model=request.model, samples=len(conversations))
    try:
        last = carry_out_in_turn(
            job, request, conversations, publish=job.write_progress, stop=lambda: bool(asked) or job.cancel_requested()
        )
        note_event("scoring ended", state=last.state, pairs=last.pairs_done, device=last.device)
    except DeliftError as error:
        note_event("scoring failed", level=logging.ERROR, reason=str(error))
        _fail(job, str(error))
        return 2
    except BaseException as error:
        traceback.print_exc()
        note_failure("scoring failed", error)
        reason = f"the scoring worker stopped unexpectedly ({type(error).__name__}); see {folder / 'worker.log'}"
        _fail(job, reason)
        raise
    return 0


def _fail(job: JobFolder, reason: str) -> None:
    """The last word of a job that could not go on, and how far it had come; without room for it the log has it."""
    try:
        job.write_progress(replace(job.status().progress, state="failed", message=reason))
    except OSError as error:
        print(f"{reason} (and this could not be noted: {error})", file=sys.stderr)


def _yield_to_pages() -> None:
    """Lets other programs go first. Linux weighs sessions before processes, and a worker is a session of its own: there
    its own niceness counts for nothing, and the session's does."""
    niceness = os.nice(_NICENESS)
    with suppress(OSError):  # not on other systems, nor where sessions are not weighed
        Path("/proc/self/autogroup").write_text(str(niceness))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
