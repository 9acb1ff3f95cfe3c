"""What a scoring job does, in whichever process: load the model, encode, forecast, score.

It reads samples and writes blocks; it never opens the database (DuckDB has one writer process).
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from delift_core.errors import ScoringError
from delift_core.jobs.backends import HERE, Placement, ReadyBackend, ready_backend
from delift_core.jobs.watch import ResourceWatch
from delift_core.models import DeviceName, DtypeName, ModelIdentity
from delift_core.prompts import TEMPLATE_VERSION, EncodedSample, Template, TemplateChoice, fit, make_template
from delift_core.samples import Message
from delift_core.utility.metrics import Metric
from delift_core.utility.pairs import ALL_PAIRS, PairBudget
from delift_core.utility.plan import (
    Forecast,
    RunSamples,
    memory_needed,
    memory_to_select,
    plan_pairs,
)
from delift_core.utility.store import PairStore, ScoringContext

if TYPE_CHECKING:
    from delift_core.utility.budgeted import BudgetedRun
    from delift_core.utility.run import ScoringProgress, ScoringRun

JobMode = Literal["forecast", "score"]
JobState = Literal[
    "starting", "waiting", "loading", "calibrating", "scoring", "forecast", "done", "cancelled", "failed"
]
FINAL_STATES: frozenset[JobState] = frozenset({"forecast", "done", "cancelled", "failed"})

CALIBRATION_SECONDS = 5.0
_USUAL_METRIC: Metric = "euclidean"
_REPORT_SECONDS = 0.25
_MEMORY_RESERVE = 512 << 20


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """What to score, with what, and where the blocks go. "forecast" stops after the calibration."""

    mode: JobMode
    model: str
    device: DeviceName
    dtype: DtypeName
    template: TemplateChoice
    utility_folder: str
    samples: RunSamples
    placement: Placement = HERE
    pairs: PairBudget = ALL_PAIRS


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sample that cannot be scored with this model."""

    content_hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The state of a job, as its worker last wrote it.

    Attributes:
        pairs_per_second: since this job started; cached pairs do not count.
        context_key: folder of the blocks under the utility folder, once the model is known.
        refused: samples that cannot be scored, with the reason.
        truncated: samples whose prompt was cut to fit the context.
        alone_done, alone_total: rows scored without an example, which comes before all pairs.
        damaged: blocks whose bytes had changed on the disk; they are scored again.
        updated_at: seconds since the epoch.
    """

    state: JobState
    message: str = ""
    pairs_done: int = 0
    pairs_total: int = 0
    pairs_per_second: float = 0.0
    seconds_left: float | None = None
    context_key: str = ""
    revision: str = ""
    device: str = ""
    dtype: str = ""
    template: str = ""
    refused: tuple[Refusal, ...] = ()
    truncated: int = 0
    damaged: int = 0
    forecast: Forecast | None = None
    updated_at: float = 0.0
    alone_done: int = 0
    alone_total: int = 0

    @property
    def phase(self) -> str:
        """What the job is doing, in a few words."""
        if self.state in ("waiting", "scoring") and self.message:
            return self.message
        if self.state == "scoring" and self.alone_done < self.alone_total:
            return f"scoring each row without an example, {self.alone_done:,} of {self.alone_total:,}"
        return {"loading": "loading the model", "calibrating": "measuring"}.get(self.state, self.state)


Publish = Callable[[JobProgress], None]


def carry_out(
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    *,
    publish: Publish,
    stop: Callable[[], bool] = lambda: False,
) -> JobProgress:
    """Runs a job to its end and returns its last progress.

    Args:
        conversations: messages of every sample of the request, by content hash.
        publish: called with every change worth showing, at most a few times a second.
        stop: asked between batches; True ends the job with everything finished so far kept.

    Raises:
        ModelError: the model cannot be loaded.
        ScoringError: nothing can be scored, the run does not fit this machine, its memory or disk ran out meanwhile, or
            its workers cannot go on. Everything finished is kept.
    """
    reporter = _Reporter(publish)
    reporter.publish(JobProgress("loading", f"loading {request.model}"))
    with (
        _resources_that_last(Path(request.utility_folder)) as check,
        ready_backend(request.placement, request.model, device=request.device, dtype=request.dtype) as ready,
    ):
        return _carry_out(request, conversations, ready, reporter, lambda: check() or stop())


def _carry_out(
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    ready: ReadyBackend,
    reporter: "_Reporter",
    stop: Callable[[], bool],
) -> JobProgress:
    template = make_template(ready.tokenizer, request.template)
    encoded, refused = encode_samples(template, conversations, ready.identity.context_length)
    samples = request.samples.only(encoded)
    if not samples.pool:
        raise ScoringError(f"no pool sample can be scored: {refused[0].reason if refused else 'the pool is empty'}")
    context = scoring_context(ready.identity, template)
    store = PairStore.open(Path(request.utility_folder), context)
    damaged = store.drop_damaged()
    reporter.facts = JobProgress(
        "calibrating",
        context_key=context.key,
        revision=ready.identity.revision,
        device=ready.device,
        dtype=ready.identity.dtype,
        template=template.name,
        refused=refused,
        truncated=sum(sample.truncated > 0 for sample in encoded.values()),
        damaged=damaged,
    )
    run = _run(request, conversations, ready, template, encoded, store, samples)
    reporter.cached_pairs = run.progress.pairs_done
    state: JobState = "scoring" if request.mode == "score" else "calibrating"
    pace = _Pace()

    def foresee() -> None:
        forecast = _forecast(run, request.pairs, samples, ready, store.folder, pace.tokens_per_second)
        reporter.facts = replace(reporter.facts, forecast=forecast)

    def follow(progress: "ScoringProgress") -> None:
        if pace.measured_by(progress):  # on the real plan: its finished blocks are kept
            foresee()
            reporter.publish_now(state, progress)
        reporter.tick(state, progress)

    foresee()
    if reporter.facts.forecast and reporter.facts.forecast.refusal:
        raise ScoringError(reporter.facts.forecast.refusal)
    if request.mode == "score":
        complete = run.work(follow, stop)
        if complete and request.pairs.unit != "all":
            reporter.publish_now("scoring", run.progress, "putting the utilities together")
            _keep_utilities(store, samples, request.pairs, conversations)
        return reporter.publish_now("done" if complete else "cancelled", run.progress)
    complete = run.work(follow, lambda: stop() or pace.tokens_per_second > 0)
    foresee()
    return reporter.publish_now("done" if complete else "cancelled" if stop() else "forecast", run.progress)


def _run(
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    ready: ReadyBackend,
    template: Template,
    encoded: Mapping[str, EncodedSample],
    store: PairStore,
    samples: RunSamples,
) -> "ScoringRun | BudgetedRun":
    """A run of all pairs, or of a budget of them."""
    from delift_core.utility.budgeted import BudgetedRun
    from delift_core.utility.parts import Texts
    from delift_core.utility.run import ScoringRun

    if request.pairs.unit == "all":
        return ScoringRun(ready.backend, template, encoded, store, plan_pairs(store, samples))
    texts = {name: Texts.of(conversations[name]) for name in samples.all}
    return BudgetedRun(ready.backend, template, encoded, store, samples, request.pairs, texts)


def _keep_utilities(
    store: PairStore, samples: RunSamples, pairs: PairBudget, conversations: Mapping[str, Sequence[Message]]
) -> None:
    """Puts the utilities together in the usual metric, for whoever looks first; without room or memory, they do."""
    from delift_core.jobs.utilities import BudgetedPairs
    from delift_core.utility.parts import Texts

    made = BudgetedPairs(store, samples, pairs)
    if made.kept(_USUAL_METRIC) is None:
        with suppress(OSError, MemoryError):
            made.put_together({name: Texts.of(conversations[name]) for name in samples.all}, _USUAL_METRIC)


def scoring_context(identity: ModelIdentity, template: Template) -> ScoringContext:
    """What the numbers of this model with this template depend on."""
    return ScoringContext(
        identity.name, identity.revision, identity.dtype, template.name, TEMPLATE_VERSION, identity.context_length
    )


def encode_samples(
    template: Template, conversations: Mapping[str, Sequence[Message]], context_length: int
) -> tuple[dict[str, EncodedSample], tuple[Refusal, ...]]:
    """Token ids of every sample that can be scored, and the reason for each that cannot."""
    encoded: dict[str, EncodedSample] = {}
    refused = []
    for digest, messages in conversations.items():
        try:
            encoded[digest] = fit(template.encode(messages), context_length, len(template.head))
        except ScoringError as error:
            refused.append(Refusal(digest, str(error)))
    return encoded, tuple(refused)


def _forecast(
    run: "ScoringRun | BudgetedRun",
    pairs: PairBudget,
    samples: RunSamples,
    ready: ReadyBackend,
    folder: Path,
    measured_rate: float,
) -> Forecast:
    """The cost of what is still missing, at the rate measured so far (no time is given before anything was scored)."""
    progress = run.progress
    rate, cost = measured_rate or progress.tokens_per_second, run.cost
    return Forecast(
        pairs_total=cost.pairs_total,
        pairs_missing=cost.pairs_missing,
        seconds=progress.work_total / rate if rate else None,
        tokens_per_second=rate,
        memory_bytes=memory_needed(ready.weights_here) + cost.planning_bytes,
        disk_bytes=cost.disk_bytes,
        memory_available=_memory_within_reach(),
        disk_available=shutil.disk_usage(folder).free,
        selection_bytes=memory_to_select(samples, None if pairs.unit == "all" else cost.pairs_total),
        alone_tokens=cost.alone_tokens,
        budgeted_pair_tokens=cost.budgeted_pair_tokens,
    )


@contextmanager
def _resources_that_last(folder: Path) -> Iterator[Callable[[], bool]]:
    """Gives a check that stops the work in time (and else says False); what ran out all the same is put into words."""
    watch = ResourceWatch(folder)

    def check() -> bool:
        watch.check()
        return False

    try:
        yield check
    except OSError as error:
        raise ScoringError(
            f"{folder} could not be written ({error.strerror or error}); everything finished is kept: "
            "make room on its disk or mend its rights, then continue"
        ) from error
    except (MemoryError, RuntimeError) as error:  # torch's own errors of this kind are RuntimeErrors
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise ScoringError(
            "scoring ran out of memory; everything finished is kept: close other programs, then continue"
        ) from error


def _memory_within_reach() -> int:
    """Free memory plus what this process already holds (the weights among it), less a reserve for the system."""
    import psutil

    return int(psutil.virtual_memory().available + psutil.Process(os.getpid()).memory_info().rss - _MEMORY_RESERVE)


class _Pace:
    """The rate of a run over some seconds after its first batch, which takes longer than others."""

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._first: tuple[float, int] | None = None  # when, and the tokens until then

    def measured_by(self, progress: "ScoringProgress") -> bool:
        """Whether the rate is known with this look, and was not before."""
        now = time.monotonic()
        if self.tokens_per_second or not progress.work_done:
            return False
        if self._first is None:
            self._first = now, progress.work_done
            return False
        seconds, tokens = now - self._first[0], progress.work_done - self._first[1]
        if seconds < CALIBRATION_SECONDS or seconds <= 0 or tokens <= 0:
            return False
        self.tokens_per_second = tokens / seconds
        return True


class _Reporter:
    """Publishes progress at a bearable rate, with the facts that are known so far."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._last = 0.0
        self.cached_pairs = 0
        self.facts = JobProgress("starting")

    def publish(self, progress: JobProgress) -> JobProgress:
        stamped = replace(progress, updated_at=time.time())
        self._publish(stamped)
        return stamped

    def tick(self, state: JobState, progress: "ScoringProgress") -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self.publish(self._filled(state, progress))

    def publish_now(self, state: JobState, progress: "ScoringProgress", message: str = "") -> JobProgress:
        return self.publish(replace(self._filled(state, progress), message=message))

    def _filled(self, state: JobState, progress: "ScoringProgress") -> JobProgress:
        done = progress.pairs_done - self.cached_pairs
        return replace(
            self.facts,
            state=state,
            pairs_done=progress.pairs_done,
            pairs_total=progress.pairs_total,
            pairs_per_second=done / progress.seconds if progress.seconds > 0 else 0.0,
            seconds_left=progress.seconds_left if progress.work_done else None,
            alone_done=progress.alone_done,
            alone_total=progress.alone_total,
        )
