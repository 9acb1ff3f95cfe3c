"""A scoring job in a command: progress on standard error, and a stop by signal that keeps what is scored."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from delift_core.cli.terminal import LINE_SECONDS, Interrupted, UsageError, every, note
from delift_core.curation.selector import Selector
from delift_core.errors import Stopped
from delift_core.evaluation.method_orders import ask_the_model
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import Callbacks
from delift_core.scoring.forecast import Forecast, SmallerRun
from delift_core.scoring.pair_spec import format_pairs
from delift_core.selection.request import SelectionRequest
from delift_core.system.callbacks import Stop, new_messages
from delift_core.system.texts import duration
from delift_core.workspace import Workspace


class LongRunCheck:
    """Asks, once, whether to start a run that takes long.

    Attributes:
        refusal: why the run is stopped, in one line with the options that score less; "" if it is not.
    """

    def __init__(self, rows: tuple[int, int, int], *, needs_all: bool = False) -> None:
        """Args:
        rows: of the pool, the target and the existing set.
        needs_all: the pairs are of use together only.
        """
        self.refusal = ""
        self._rows, self._needs_all = rows, needs_all
        self._settled = False

    def is_due(self, forecast: Forecast | None) -> bool:
        """Whether the time is known, is long, and nobody was asked yet."""
        if self._settled or forecast is None or forecast.seconds is None:
            return False
        self._settled = True
        return forecast.is_long

    def ask(self, forecast: Forecast) -> None:
        """Asks on a terminal whether to go on; sets `refusal` where the answer is not yes, or there is no terminal."""
        assert forecast.seconds is not None
        smaller = () if self._needs_all else forecast.smaller_runs(*self._rows)
        whole = f"{forecast.pairs_missing:,} pairs take about {duration(forecast.seconds)} on this machine"
        ways = [*map(_way, smaller), "--pairs all scores them all"]
        self.refusal = f"{whole}; what was scored is kept. Say how many to score: {'; '.join(ways)}"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return
        note(f"{whole}{'. A part of them may do, the rest is estimated:' if smaller else ''}")
        for one in smaller:
            note(f"  {_way(one)}")
        print("Score all pairs now? [y/N] ", end="", file=sys.stderr, flush=True)
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
        self.refusal = "" if agreed else "stopped; what was scored is kept. Give the command again with --pairs"


def _way(run: SmallerRun) -> str:
    return f"--pairs {format_pairs(run.budget)} scores {run.pairs:,} in about {duration(run.seconds)}"


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def watched_scoring(workspace: Workspace, long_run: LongRunCheck | None = None) -> Iterator[Callbacks]:
    """Shows the progress of the scoring in the block; a signal stops it, and what is scored is kept.

    Args:
        long_run: asks whether to start a long run; None if the user has confirmed it.

    Raises:
        UsageError: the run takes long and was not confirmed; every finished block is kept.
        Interrupted: Ctrl-C or SIGTERM; every finished block is kept.
    """
    try:
        with _display() as (show, hide), stop_on_signal() as stop:

            def publish(progress: JobProgress) -> None:
                if progress.phase == "scoring":
                    forecast, damaged = progress.facts.forecast, progress.facts.damaged
                    for caution in forecast.cautions if forecast and not stop.gently else ():
                        note(caution)
                    if not stop.gently and damaged:
                        note(f"{damaged:,} blocks were damaged on disk; their pairs are scored again")
                    stop.gently = True  # from now on there are results to keep
                    if long_run and forecast and long_run.is_due(forecast):
                        hide()
                        with stop.at_once():
                            long_run.ask(forecast)
                show(progress)

            yield Callbacks(publish, lambda: stop() or bool(long_run and long_run.refusal))
    except Stopped as error:
        if long_run and long_run.refusal:
            raise UsageError(long_run.refusal) from error
        raise Interrupted(
            f"interrupted; the pairs scored so far are kept in {workspace.folder}: "
            "give the same command again to continue"
        ) from error
    if long_run and long_run.refusal:
        raise UsageError(long_run.refusal)


@contextmanager
def stops_gently(kept: str = "") -> Iterator[Stop]:
    """Yields a function that says whether a signal has asked the work in the block to stop.

    Args:
        kept: what is kept, for the end of the message.

    Raises:
        Interrupted: the work has stopped.
    """
    try:
        with stop_on_signal() as stop:
            stop.gently = True
            yield stop
    except Stopped as error:
        raise Interrupted(f"{error}{kept}") from error


def measure_order(workspace: Workspace, selector: Selector, request: SelectionRequest) -> None:
    """`ask_the_model` in a command: a signal stops it, and progress is on standard error.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
        DeliftError: as `ask_the_model`.
    """
    if "model" in request.needs:
        with stops_gently(f"; what was scored is kept in {workspace.folder}") as stop:
            ask_the_model(workspace, selector, request, publish=new_messages(note), stop=stop)


class StopRequest:
    """Whether a signal has asked the work to stop.

    Attributes:
        gently: whether the first signal only sets a flag, so that the work stops after the current batch. Otherwise
            (such as while a model loads) the first signal ends the work at once, as a second one always does.
    """

    def __init__(self) -> None:
        self.gently = False
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block, the first signal ends the work at once; for questions to the user."""
        before, self.gently = self.gently, False
        try:
            yield
        finally:
            self.gently = before

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
def _display() -> Iterator[tuple[Callable[[JobProgress], None], Callable[[], None]]]:
    """Functions that show progress and hide it until it changes: a bar on a terminal, else a line every ten seconds."""
    if not sys.stderr.isatty():
        due = every(LINE_SECONDS)

        def say(progress: JobProgress) -> None:
            if progress.phase == "waiting" or (progress.phase == "scoring" and due()):
                note(_in_words(progress))

        yield say, lambda: None
        return
    from tqdm import tqdm

    form, loaded = "{desc} {bar} {elapsed}", threading.Event()
    with tqdm(total=1, file=sys.stderr, bar_format=form, dynamic_ncols=True, leave=False) as bar:

        def draw(progress: JobProgress) -> None:
            if progress.phase not in ("starting", "loading"):
                loaded.set()
            bar.set_description_str(_in_words(progress), refresh=False)
            bar.total, bar.n = max(1, progress.total), progress.done
            bar.refresh()

        def run_clock() -> None:
            while not loaded.wait(1.0):
                bar.refresh()

        threading.Thread(target=run_clock, daemon=True).start()
        try:
            yield draw, bar.clear
        finally:
            loaded.set()


def _in_words(progress: JobProgress) -> str:
    """The phase; while scoring, the pairs and the time left as well."""
    if progress.phase != "scoring":
        return progress.words
    left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
    return f"{progress.words}: {progress.done:,} of {progress.total:,} pairs{left}"
