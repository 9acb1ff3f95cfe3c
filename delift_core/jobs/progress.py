"""The progress of a job, how fast it is published, and the rate that is measured for the forecast of a scoring job."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delift_core.jobs.preparation import Prepared, Refusal
from delift_core.models.prompts import Rendering
from delift_core.scoring.forecast import Forecast
from delift_core.system.callbacks import Phase, Progress

if TYPE_CHECKING:
    from delift_core.scoring.scoring_run import ScoringProgress

CALIBRATION_SECONDS = 5.0
_REPORT_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ScoringFacts:
    """What a scoring job knows of its rows and its model, once the rows are encoded.

    Attributes:
        context_key: folder of the blocks under the utility folder.
        refused: samples that cannot be scored, with the reason.
        truncated: number of samples whose prompt was cut to fit the context.
        rendering: how the rows are written for the model.
        damaged: number of blocks that were damaged on disk and are scored again.
    """

    context_key: str = ""
    revision: str = ""
    device: str = ""
    dtype: str = ""
    rendering: Rendering = Rendering()
    refused: tuple[Refusal, ...] = ()
    truncated: int = 0
    damaged: int = 0
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class JobProgress(Progress):
    """The progress of a job of any kind: pairs of a scoring job, steps of fine-tuning of an evaluation.

    The phase "forecast" is the end of a job that only estimates its time.

    Attributes:
        per_second: the rate since this job started; pairs found on disk do not count.
        updated_at: seconds since the epoch.
        facts: of a scoring job.
    """

    per_second: float = 0.0
    seconds_left: float | None = None
    updated_at: float = 0.0
    facts: ScoringFacts = ScoringFacts()

    @property
    def words(self) -> str:
        """What the job is doing, in a few words."""
        if self.phase in ("waiting", "scoring") and self.message:
            return self.message
        return {"loading": "loading the model", "calibrating": "measuring speed"}.get(self.phase, self.phase)


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
    """Publishes the progress of a scoring job at a limited rate, together with the facts that no longer change."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._last, self._pairs_before = 0.0, 0
        self.facts = ScoringFacts()

    def publish(self, progress: JobProgress) -> JobProgress:
        stamped = replace(progress, updated_at=time.time())
        self._publish(stamped)
        return stamped

    def wait(self, message: str) -> None:
        self.publish(JobProgress("waiting", message=message))

    def begin(
        self, run: "ScoringProgress", prepared: Prepared, device: str, forecast: Forecast, damaged: int = 0
    ) -> None:
        """Sets what all further progress has in common: the facts, and the pairs of the run that were on disk."""
        self._pairs_before = run.done
        self.facts = ScoringFacts(
            context_key=prepared.context.key,
            revision=prepared.identity.revision,
            device=device,
            dtype=prepared.identity.dtype,
            rendering=prepared.rendering(("whole" if forecast.whole_sequences else "prefix") if device else ""),
            refused=prepared.refused,
            truncated=sum(sample.truncated > 0 for sample in prepared.encoded.values()),
            damaged=damaged,
            forecast=forecast,
        )

    def tick(self, phase: Phase, progress: "ScoringProgress") -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self.publish_now(phase, progress)

    def publish_now(self, phase: Phase, progress: "ScoringProgress", message: str = "") -> JobProgress:
        if phase == "scoring" and progress.alone_done < progress.alone_total:  # comes before all pairs
            message = f"scoring each row without an example, {progress.alone_done:,} of {progress.alone_total:,}"
        scored = progress.done - self._pairs_before
        return self.publish(
            JobProgress(
                phase,
                progress.done,
                progress.total,
                message,
                per_second=scored / progress.seconds if progress.seconds > 0 else 0.0,
                seconds_left=progress.seconds_left if progress.work_done else None,
                facts=self.facts,
            )
        )
