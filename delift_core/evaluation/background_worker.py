"""The worker process of an evaluation: `python -m delift_core.evaluation.background_worker FOLDER`."""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from delift_core.errors import DeliftError
from delift_core.evaluation.background import EvaluationFolder, EvaluationStatus, carry_out
from delift_core.system.logs import begin_log, note_event, note_failure

_NICENESS = 5  # the pages stay quick while every core trains


def main(folder: Path) -> int:
    """Carries out the evaluation in a folder; the exit code is 0 unless it failed."""
    job = EvaluationFolder(folder)
    begin_log(folder.parent.parent, "worker", job=folder.name)
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    job.claim(os.getpid())
    os.nice(_NICENESS)
    note_event("evaluation began")
    try:
        carry_out(job, lambda: bool(asked) or job.cancel_requested())
        note_event("evaluation ended", state=job.status().state)
    except DeliftError as error:
        note_event("evaluation failed", level=logging.ERROR, reason=str(error))
        job.write_status(EvaluationStatus("failed", str(error)))
        return 2
    except BaseException as error:
        traceback.print_exc()
        note_failure("evaluation failed", error)
        reason = f"the evaluation stopped unexpectedly ({type(error).__name__}); see {folder / 'worker.log'}"
        job.write_status(EvaluationStatus("failed", reason))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
