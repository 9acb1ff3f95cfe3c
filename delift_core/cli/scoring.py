"""A scoring job under a command: progress on standard error, and a stop that keeps what is scored."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from delift_core.cli.terminal import Interrupted, note
from delift_core.jobs.backends import Placement
from delift_core.jobs.runs import run_here
from delift_core.jobs.scoring import JobProgress
from delift_core.workspace import RunRecord, RunSpec, Workspace

_LINE_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def score_here(workspace: Workspace, spec: RunSpec, placement: Placement) -> RunRecord:
    """Scores a run to its end, under this process or on the cluster that it is given.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; every finished block is kept.
        DeliftError: as `jobs.runs.run_here`.
    """
    with _display() as show, stop_on_signal() as stop:

        def publish(progress: JobProgress) -> None:
            if progress.state == "scoring":
                if not stop.gently and progress.forecast and progress.forecast.caution:
                    note(progress.forecast.caution)
                if not stop.gently and progress.damaged:
                    note(f"{progress.damaged:,} blocks were damaged on disk; their pairs are scored again")
                stop.gently = True  # from now on there is something to keep
            show(progress)

        record = run_here(workspace, spec, publish=publish, stop=stop, placement=placement)
    if record.status == "cancelled":
        raise Interrupted(
            f"interrupted; the pairs scored so far are kept in {workspace.folder}, "
            "give the same command again to go on from there"
        )
    return record


class StopRequest:
    """Whether somebody asked the work to stop.

    Attributes:
        gently: the first signal only sets the flag, and the work ends at its next safe place; before that (while a
            model loads, which cannot be asked) a signal ends it at once. So does a second signal.
    """

    def __init__(self) -> None:
        self.gently = False
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._asked or not self.gently:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a stop request for the length of the block (in the main thread only)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _display() -> Iterator[Callable[[JobProgress], None]]:
    """A bar on a terminal; elsewhere a line now and then, and none before scoring starts."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from tqdm import tqdm

    with tqdm(file=sys.stderr, unit="pair", unit_scale=True, dynamic_ncols=True, leave=False) as bar:
        yield lambda progress: _advance(bar, progress)


def _advance(bar: Any, progress: JobProgress) -> None:
    words = {"loading": "loading the model", "scoring": "scoring", "waiting": progress.message}
    bar.set_description_str(words.get(progress.state, progress.state))
    if progress.pairs_total:
        bar.total = progress.pairs_total
        if not bar.initial and not bar.n:
            bar.initial = progress.pairs_done  # found on disk: no part of the rate
        bar.n = progress.pairs_done
    bar.refresh()


class _Lines:
    """Progress as lines of text."""

    def __init__(self) -> None:
        self._last = -_LINE_SECONDS

    def show(self, progress: JobProgress) -> None:
        """Prints a line if one is due."""
        now = time.monotonic()
        if progress.state == "waiting":
            note(progress.message)
        if progress.state != "scoring" or now - self._last < _LINE_SECONDS:
            return
        self._last = now
        left = f", about {progress.seconds_left:,.0f} s left" if progress.seconds_left is not None else ""
        note(f"scoring: {progress.pairs_done:,} of {progress.pairs_total:,} pairs{left}")
