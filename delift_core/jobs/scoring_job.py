"""A scoring job, in a worker or in the command's own process: prepare, wait for the device, load, forecast, score.

It reads samples and writes blocks. It never opens the database, which allows one process only.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from delift_core.errors import ScoringError, Stopped
from delift_core.jobs.backends import ReadyBackend, ready_backend
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.preparation import Prepared, ScoringRequest, prepare
from delift_core.jobs.progress import Calibration, JobProgress, ProgressReporter, Publish
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.samples import Conversation
from delift_core.scoring.forecast import Forecast, memory_needed, memory_to_select, plan_pairs
from delift_core.scoring.metrics import Metric
from delift_core.scoring.store import PairStore
from delift_core.system.callbacks import Phase, Stop, never
from delift_core.system.codec import decode
from delift_core.system.memory import ResourceWatch, available_memory

if TYPE_CHECKING:
    from delift_core.scoring.scoring_run import Backend, ScoringProgress

_DEFAULT_METRIC: Metric = "euclidean"
_MEMORY_RESERVE = 512 << 20

Conversations = Mapping[str, Conversation]


OnPrepared = Callable[[Prepared], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks of a scoring job.

    Attributes:
        publish: called with the progress, a few times a second at most.
        stop: asked between batches; True ends the job, and everything finished is kept.
        on_prepared: called before the job waits; an error that it raises ends the job.
    """

    publish: Publish = lambda progress: None
    stop: Stop = never
    on_prepared: OnPrepared = lambda prepared: None


NO_CALLBACKS = Callbacks()


def work(job: JobFolder, stop: Stop) -> None:
    """Does a scoring job in a worker."""
    run_scoring_job(*read_request(job), Callbacks(job.write_progress, stop), job.ticket())


def prepare_job(job: JobFolder, request: ScoringRequest, conversations: Conversations) -> None:
    """Writes what a worker needs; an earlier request in this folder is replaced.

    Raises:
        ScoringError: a worker is at the earlier request, or the folder cannot be written to.
    """
    job.prepare({"request": request, "samples": dict(conversations)})


def read_request(job: JobFolder) -> tuple[ScoringRequest, dict[str, Conversation]]:
    """The request, and the conversations by content hash."""
    content = job.read("request.json")
    conversations = {name: decode(Conversation, value) for name, value in content["samples"].items()}
    return decode(ScoringRequest, content["request"]), conversations


def run_scoring_job(
    request: ScoringRequest,
    conversations: Conversations,
    callbacks: Callbacks = NO_CALLBACKS,
    ticket: Ticket | None = None,
) -> JobProgress:
    """Runs a job to its end and returns its final progress.

    Args:
        conversations: every sample of the request, by content hash.
        ticket: the place in the queue for the device, where the job waits unless every pair is on disk, and once it
            can no longer be refused; None does not wait. A job on a cluster needs no device of this machine.

    Raises:
        ModelError: the model cannot be loaded.
        ScoringError: nothing can be scored, the run does not fit this machine, memory or disk ran out, or the workers
            failed. Everything finished is kept.
    """
    reporter = ProgressReporter(callbacks.publish)
    reporter.publish(JobProgress("starting", message=f"loading the tokenizer of {request.model}"))
    with _watched_resources(Path(request.utility_folder)) as check:
        prepared = prepare(request, conversations)
        callbacks.on_prepared(prepared)
        finished = _finished_from_disk(request, conversations, prepared, reporter)
        if finished is not None:
            return finished
        device = "cluster" if request.placement.backend == "ray" else request.device
        turn = wait_for_device(ticket, device, on_wait=reporter.wait, stop=callbacks.stop) if ticket else nullcontext()

        def stop() -> bool:
            check()
            return callbacks.stop()

        try:
            with turn:
                reporter.publish(JobProgress("loading", message=f"loading {request.model}"))
                backend = ready_backend(request.placement, request.model, device=request.device, dtype=request.dtype)
                with backend as ready:
                    return _score(request, conversations, prepared, ready, reporter, stop)
        except Stopped:
            return reporter.publish(JobProgress("cancelled"))


class _Scoring:
    """The run of a job whose rows are encoded."""

    def __init__(
        self, request: ScoringRequest, conversations: Conversations, prepared: Prepared, backend: "Backend"
    ) -> None:
        from delift_core.scoring.estimation.budgeted import BudgetedRun
        from delift_core.scoring.estimation.run_plan import SampleText
        from delift_core.scoring.scoring_run import ScoringRun

        self.request, self.prepared, self.samples = request, prepared, prepared.samples
        self.store = PairStore.open(Path(request.utility_folder), prepared.context)
        common = backend, prepared.encoded, self.store
        whole = prepared.whole_pairs(conversations)
        self.texts: dict[str, SampleText] = {}
        self.run: ScoringRun | BudgetedRun
        if request.pairs.unit == "all":
            self.run = ScoringRun(*common, plan_pairs(self.store, self.samples), whole=whole)
        else:
            self.texts = {name: SampleText.of(conversations[name].messages) for name in self.samples.all}
            self.run = BudgetedRun(*common, self.samples, request.pairs, self.texts, whole=whole)

    def forecast(self, ready: ReadyBackend | None = None, measured_rate: float = 0.0) -> Forecast:
        """The cost of the missing pairs, at the rate measured so far; without a rate, no time is forecast."""
        progress, cost, all_pairs = self.run.progress, self.run.cost, self.request.pairs.unit == "all"
        rate = measured_rate or progress.tokens_per_second
        return Forecast(
            pairs_total=cost.pairs_total,
            pairs_missing=cost.pairs_missing,
            seconds=progress.work_total / rate if rate else None,
            tokens_per_second=rate,
            memory_bytes=(ready.memory_here if ready else memory_needed(0)) + cost.planning_bytes,
            disk_bytes=cost.disk_bytes,
            memory_available=_usable_memory(),
            disk_available=shutil.disk_usage(self.store.folder).free,
            selection_bytes=memory_to_select(self.samples, None if all_pairs else cost.pairs_total),
            alone_tokens=cost.alone_tokens,
            budgeted_pair_tokens=cost.budgeted_pair_tokens,
            whole_sequences=ready is not None and ready.whole_sequences,
            weights=ready.weights if ready else "",
            is_spread=ready is not None and ready.is_spread,
        )

    def end(self, reporter: ProgressReporter) -> JobProgress:
        """Publishes that the job is done.

        The utilities of a budget are first assembled in the default metric, so that the first page to show them need
        not wait. If memory or disk space runs out, that page assembles them.
        """
        from delift_core.scoring.estimation.matrix_files import BudgetedPairs

        if self.request.mode == "score" and self.request.pairs.unit != "all":
            made = BudgetedPairs(self.store, self.samples, self.request.pairs)
            if made.read(_DEFAULT_METRIC) is None:
                reporter.publish_now("scoring", self.run.progress, "assembling the utilities")
                with suppress(OSError, MemoryError):
                    made.assemble(self.texts, _DEFAULT_METRIC)
        return reporter.publish_now("done", self.run.progress)


def _finished_from_disk(
    request: ScoringRequest, conversations: Conversations, prepared: Prepared, reporter: ProgressReporter
) -> JobProgress | None:
    """The final progress of a job whose pairs are all on disk, which needs no device; None if any is missing.

    Raises:
        ScoringError: the missing blocks do not fit the disk.
    """
    from delift_core.scoring.scoring_run import NoBackend

    if not prepared.certain:
        return None
    scoring = _Scoring(request, conversations, prepared, NoBackend())
    forecast, store = scoring.forecast(), scoring.store
    if forecast.disk_refusal:
        raise ScoringError(forecast.disk_refusal)
    if forecast.pairs_missing or store.missing_zero_shot(prepared.samples.all) or any(store.damaged()):
        return None
    reporter.begin(scoring.run.progress, prepared, "", forecast)
    return scoring.end(reporter)


def _score(
    request: ScoringRequest,
    conversations: Conversations,
    prepared: Prepared,
    ready: ReadyBackend,
    reporter: ProgressReporter,
    stop: Stop,
) -> JobProgress:
    prepared = replace(prepared, identity=ready.identity)
    damaged = PairStore.open(Path(request.utility_folder), prepared.context).remove_damaged()
    scoring = _Scoring(request, conversations, prepared, ready.backend)
    forecast, run = scoring.forecast(ready), scoring.run
    reporter.begin(run.progress, prepared, ready.device, forecast, damaged)
    phase: Phase = "scoring" if request.mode == "score" else "calibrating"
    calibration = Calibration()

    def update_forecast() -> None:
        forecast = scoring.forecast(ready, calibration.tokens_per_second)
        reporter.facts = replace(reporter.facts, forecast=forecast)

    def on_progress(progress: "ScoringProgress") -> None:
        if calibration.completed_by(progress):  # calibrates on the run itself, whose finished blocks are kept
            update_forecast()
            reporter.publish_now(phase, progress)
        reporter.tick(phase, progress)

    if forecast.refusal:
        raise ScoringError(forecast.refusal)
    if request.mode == "score":
        complete = run.work(on_progress, stop)
    else:
        complete = run.work(on_progress, lambda: stop() or calibration.tokens_per_second > 0)
        update_forecast()
        if not complete and not stop():
            return reporter.publish_now("forecast", run.progress)
    return scoring.end(reporter) if complete else reporter.publish_now("cancelled", run.progress)


@contextmanager
def _watched_resources(folder: Path) -> Iterator[Callable[[], None]]:
    """Yields a check that raises before memory or disk space runs out; if either does, the error says what to do."""
    try:
        yield ResourceWatch(folder).check
    except OSError as error:
        raise ScoringError(
            f"{folder} could not be written ({error.strerror or error}); everything finished is kept: "
            "make room on its disk or fix its permissions, then continue"
        ) from error
    except (MemoryError, RuntimeError, ImportError) as error:  # torch raises RuntimeErrors, a library's file the last
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise ScoringError(
            "scoring ran out of memory; everything finished is kept: close other programs, then continue"
        ) from error


def _usable_memory() -> int:
    """Available memory plus what this process already holds (such as the weights), less a reserve for the system."""
    import psutil

    return available_memory() + int(psutil.Process().memory_info().rss) - _MEMORY_RESERVE
