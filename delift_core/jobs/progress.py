"""The progress of a scoring job, how fast it is published, and the rate that is measured for the forecast."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from delift_core.jobs.preparation import Prepared, Refusal
from delift_core.scoring.forecast import Forecast

if TYPE_CHECKING:
    from delift_core.scoring.scoring_run import ScoringProgress

JobState = Literal[
    "starting", "waiting", "loading", "calibrating", "scoring", "forecast", "done", "cancelled", "failed"
]
FINAL_STATES: frozenset[JobState] = frozenset({"forecast", "done", "cancelled", "failed"})

CALIBRATION_SECONDS = 5.0
_REPORT_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of a job.

    Attributes:
        pairs_per_second: since this job started; pairs found on disk do not count.
        context_key: folder of the blocks under the utility folder, once the model is known.
        refused: samples that cannot be scored, with the reason.
        truncated: number of samples whose prompt was cut to fit the context.
        alone_done, alone_total: rows scored without an example, which comes before all pairs.
        damaged: number of blocks that were damaged on disk and are scored again.
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
        return {"loading": "loading the model", "calibrating": "measuring speed"}.get(self.state, self.state)


Publish = Callable[[JobProgress], None]


class Calibration:
    """Measures the rate of a run for some seconds, after the first batch, which is slower than the others."""

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._first: tuple[float, int] | None = None  # time and tokens at the end of the first batch

    def completed_by(self, progress: "ScoringProgress") -> bool:
        """Whether this progress completes the measurement."""
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


class ProgressReporter:
    """Publishes progress at a limited rate, together with the facts that no longer change."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._last = 0.0
        self.cached_pairs = 0
        self.facts = JobProgress("starting")

    def publish(self, progress: JobProgress) -> JobProgress:
        stamped = replace(progress, updated_at=time.time())
        self._publish(stamped)
        return stamped

    def wait(self, message: str) -> None:
        self.publish(JobProgress("waiting", message))

    def set_facts(self, prepared: Prepared, device: str, forecast: Forecast, damaged: int = 0) -> None:
        """Sets the fields that all further progress has in common."""
        self.facts = JobProgress(
            "calibrating",
            context_key=prepared.context.key,
            revision=prepared.identity.revision,
            device=device,
            dtype=prepared.identity.dtype,
            template=prepared.template.name,
            refused=prepared.refused,
            truncated=sum(sample.truncated > 0 for sample in prepared.encoded.values()),
            damaged=damaged,
            forecast=forecast,
        )

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
