"""`delift`, or `python -m delift_core`: the commands, as a process of their own."""

import io
import os
import signal
import sys
import warnings
from types import FrameType

from delift_core.system.processes import LIBRARY_ENVIRONMENT


def _prepare() -> None:
    """Settings of the whole process: only commands write to its streams, and SIGTERM is an interrupt."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # data may hold what a terminal's encoding does not
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    quiet = LIBRARY_ENVIRONMENT | {"HF_HUB_VERBOSITY": "critical", "TRANSFORMERS_VERBOSITY": "critical"}
    if not sys.stderr.isatty():
        quiet |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)  # read when the libraries are imported
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run() -> int:
    """Runs the command line of this process and returns its exit code."""
    try:
        _prepare()
        from delift_core.cli import main

        return main()
    except KeyboardInterrupt:  # before the command line was read
        return 130


def run_studio() -> int:
    """As `run`, for the script `delift-studio`: without a command, it serves the app."""
    if len(sys.argv) == 1:
        sys.argv.append("studio")
    return run()


if __name__ == "__main__":
    sys.exit(run())
