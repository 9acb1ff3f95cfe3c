"""Evaluates a subset: fine-tunes on each arm's rows and compares the losses on held-out rows.

One loaded model serves every arm: fine-tune, measure the held-out rows, restore the weights. All arms have the same
settings and number of epochs, so arms with equally many rows make equally many steps. Held-out rows that the selection
has seen are left out and reported; held-out rows whose prompt is in the pool with another answer are measured and
reported.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from delift_core.errors import ScoringError
from delift_core.evaluation.arms import Arm, difference, loss_estimate, mean_loss, plan_arms, verdict
from delift_core.evaluation.cost import ResultCache
from delift_core.evaluation.evaluation_request import SUBSET, EvaluationRequest
from delift_core.evaluation.fine_tuner import ANSWERS, MEASURED, FineTuner, rows_with_a_known_prompt, unseen_rows
from delift_core.evaluation.measures import CORRECT, LOSS
from delift_core.evaluation.report import SCORES, AnswerScore, ArmResult, EvaluationReport, LeftOutRow
from delift_core.evaluation.training import check_trainable
from delift_core.jobs.progress import JobProgress, Publish
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.models.devices import resolve_precision
from delift_core.models.loading import load_model, read_outline
from delift_core.models.model_files import check_model
from delift_core.models.prompts import make_template
from delift_core.system.callbacks import OnProgress, Progress, Stop, never
from delift_core.system.files import why_folder_unusable
from delift_core.system.texts import duration

Clock = Callable[[], float]

_REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Measured:
    """The results of an arm's s runs on n held-out rows."""

    arm: Arm
    losses: np.ndarray  # (s, n) summed losses in nats
    correct: np.ndarray  # (s, n) numbers of correctly predicted tokens
    answers: np.ndarray | None  # (s, 6, g) scores of g answers, if requested
    seconds: float


def evaluate(
    request: EvaluationRequest,
    *,
    publish: Publish = lambda progress: None,
    stop: Stop = never,
    clock: Clock = time.monotonic,
    cache: ResultCache | None = None,
    adapter: Path | None = None,
) -> EvaluationReport:
    """Fine-tunes on the subset and on the other arms, and measures each on the held-out rows.

    Args:
        publish: called with the progress in steps of fine-tuning, whose message changes every few seconds.
        stop: asked before every step and batch.
        clock: returns seconds.
        cache: for the results of runs; None keeps nothing.
        adapter: a folder that does not exist yet, for the LoRA layers of the subset's first run.

    Raises:
        DataError: the selection has seen every held-out row, or none can be scored.
        ModelError: the model cannot be loaded.
        Stopped: `stop` answered True.
        ScoringError: no row of the subset can be trained on, fine-tuning does not fit this machine, LoRA does not fit
            this model, or there are no LoRA layers to save.
    """
    start = clock()
    publish(JobProgress("evaluating", message=f"loading {request.model}"))
    tuner, seen = load_tuner(request, stop=stop, cache=cache, adapter=adapter)
    loaded = tuner.loaded
    costs: dict[str, float] = {}

    def order_of(method: str) -> np.ndarray:
        publish(JobProgress("evaluating", message=f"{method}: ordering {len(tuner.pool):,} rows"))
        began = clock()
        order = tuner.order_of(method)
        costs[method] = clock() - began
        return order

    arms = plan_arms(request, tuner.subset, {at: len(row.response) for at, row in tuner.pool.items()}, order_of)
    counter = _StepCounter(request, arms, publish, clock)
    measured = [_measure(tuner, arm, counter, adapter, clock) for arm in arms]
    in_context = [_measure_in_context(tuner, arm, counter, clock) for arm in arms] if request.examples else []
    return EvaluationReport(
        model=loaded.identity.name,
        revision=loaded.identity.revision,
        device=str(loaded.device),
        template=tuner.template.name,
        tuning=request.tuning,
        lora=request.tuning.uses_lora(loaded.identity.parameters),
        seeds=tuple(range(request.first_seed, request.first_seed + request.seeds)),
        pool_rows=len(tuner.pool),
        subset_rows=len(tuner.subset),
        heldout_rows=len(tuner.tokens),
        heldout_tokens=int(tuner.tokens.sum()),
        arms=_compare(request, tuner, measured, costs),
        in_context=_compare(request, tuner, in_context, {}),
        examples=request.examples,
        left_out=seen + tuner.refused,
        same_prompt=rows_with_a_known_prompt(request, unseen_rows(request)[0]),
        seconds=clock() - start,
    )


def evaluate_in_turn(
    request: EvaluationRequest,
    name: str,
    *,
    publish: OnProgress,
    stop: Stop = never,
    cache: ResultCache | None = None,
    adapter: Path | None = None,
) -> EvaluationReport:
    """Evaluates once the device is free; what can be refused is refused before the wait.

    Args:
        name: what others who wait read.
        publish: called with the progress every few seconds.
        stop, cache, adapter: see `evaluate`.

    Raises:
        DeliftError: as `evaluate`.
    """
    check_request(request, adapter)

    def waiting(message: str) -> None:
        publish(Progress("waiting", message=message))

    with wait_for_device(Ticket(name, "", time.time_ns()), request.device, on_wait=waiting, stop=stop):
        return evaluate(request, publish=publish, stop=stop, cache=cache, adapter=adapter)


def load_tuner(
    request: EvaluationRequest, *, stop: Stop, cache: ResultCache | None = None, adapter: Path | None = None
) -> tuple[FineTuner, tuple[LeftOutRow, ...]]:
    """The loaded model with everything checked that can be before time is spent, and held-out rows that were seen.

    Raises:
        DeliftError: as `evaluate`.
    """
    heldout, seen = unseen_rows(request)
    loaded = load_model(request.model, device=request.device, dtype="float32")
    _ensure_savable(request, adapter, loaded.identity.parameters)
    tuner = FineTuner(request, loaded, heldout, cache or ResultCache(None), stop)
    check_trainable(loaded, tuple(tuner.pool.values()), request.tuning)
    return tuner, seen


def check_request(request: EvaluationRequest, adapter: Path | None = None) -> None:
    """Checks a request before the evaluation waits for the device and loads the model.

    Raises:
        DataError: the selection has seen every held-out row.
        ModelError: the model or the device does not exist.
        ScoringError: there are no LoRA layers to save, or their folder cannot be written.
    """
    unseen_rows(request)
    check_model(request.model)
    outline = read_outline(request.model, resolve_precision(request.device, "float32"))
    make_template(outline.tokenizer, request.template, request.template_arguments)
    _ensure_savable(request, adapter, outline.identity.parameters)


def _ensure_savable(request: EvaluationRequest, adapter: Path | None, parameters: int) -> None:
    if adapter is None:
        return
    if not request.tuning.uses_lora(parameters):
        raise ScoringError("only LoRA layers can be saved, and all weights are fine-tuned here; choose LoRA")
    if problem := why_folder_unusable(adapter, new=True):
        raise ScoringError(problem)


class _StepCounter:
    """Publishes the progress of an evaluation, with a new message every few seconds."""

    def __init__(self, request: EvaluationRequest, arms: Sequence[Arm], publish: Publish, clock: Clock) -> None:
        self._publish, self._clock, tuning = publish, clock, request.tuning
        planned = sum(tuning.steps(len(run.rows)) for arm in arms for run in arm.runs)
        self._progress = JobProgress("evaluating", 0, planned)
        self._trained = 0
        self._seconds, self._last_line, self._last_step = 0.0, 0.0, clock()

    def start_run(self) -> None:
        """Starts the clock of a run."""
        self._last_step = self._clock()

    def say(self, message: str) -> None:
        """Publishes a message."""
        self._update(message=message)

    def step(self, title: str, step: int, steps: int) -> None:
        """Counts a step of the optimiser."""
        now = self._clock()
        self._trained += 1
        self._seconds += now - self._last_step
        self._last_step = now
        done, message = self._progress.done + 1, self._progress.message
        left = self._seconds / self._trained * (self._progress.total - done)
        if now - self._last_line >= _REPORT_SECONDS:
            self._last_line = now
            message = f"{title}: step {step:,} of {steps:,}, about {duration(left)} of training left in all"
        self._update(done=done, seconds_left=left, message=message)

    def skip_run(self, steps: int) -> None:
        """Counts the steps of a run whose results were cached."""
        self._update(done=self._progress.done + steps, seconds_left=None)

    def _update(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)
        self._publish(self._progress)


def _measure(tuner: FineTuner, arm: Arm, counter: _StepCounter, adapter: Path | None, clock: Clock) -> _Measured:
    start = clock()
    found = []
    for number, run in enumerate(arm.runs, start=1):
        title = arm.name if len(arm.runs) == 1 else f"{arm.name}, run {number} of {len(arm.runs)}"
        steps = tuner.request.tuning.steps(len(run.rows))
        made: list[int] = []

        def on_step(step: int, title: str = title, steps: int = steps, made: list[int] = made) -> None:
            made.append(step)
            counter.step(title, step, steps)

        counter.start_run()
        saved = adapter if arm.name == SUBSET and number == 1 else None
        found.append(tuner.fine_tune(run, on_step, adapter=saved))
        if not made:
            counter.skip_run(steps)
        loss = found[-1][MEASURED][LOSS].sum() / tuner.tokens.sum()
        counter.say(f"{title}: loss {loss:.4f} nats per token on {len(tuner.tokens):,} held-out rows")
    both = np.stack([one[MEASURED] for one in found])
    answers = np.stack([one[ANSWERS] for one in found]) if tuner.answered else None
    return _Measured(arm, both[:, LOSS], both[:, CORRECT], answers, clock() - start)


def _measure_in_context(tuner: FineTuner, arm: Arm, counter: _StepCounter, clock: Clock) -> _Measured:
    start = clock()
    runs = tuple({run.rows: run for run in arm.runs}.values())  # without training, the order of rows has no effect
    both = np.stack([tuner.in_context(run)[MEASURED] for run in runs])
    loss = both[:, LOSS].sum() / (len(runs) * tuner.tokens.sum())
    counter.say(f"{arm.name}, as examples: loss {loss:.4f} nats per token")
    return _Measured(Arm(arm.name, runs), both[:, LOSS], both[:, CORRECT], None, clock() - start)


def _compare(
    request: EvaluationRequest, tuner: FineTuner, measured: Sequence[_Measured], costs: dict[str, float]
) -> tuple[ArmResult, ...]:
    if not measured:
        return ()
    tokens, seed = tuner.tokens, request.first_seed
    subset = next(item for item in measured if item.arm.name == SUBSET)
    results = []
    for item in measured:
        rows = item.arm.runs[0].rows
        result = ArmResult(
            name=item.arm.name,
            rows=len(rows),
            tokens=sum(len(tuner.pool[position].response) for position in rows),
            steps=request.tuning.steps(len(rows)),
            runs=tuple(mean_loss(run[None], tokens) for run in item.losses),
            loss=loss_estimate(item.losses, tokens, seed=seed),
            accuracy=loss_estimate(item.correct, tokens, seed=seed),
            gap=None,
            verdict="",
            seconds=item.seconds,
            ordering_seconds=costs.get(item.arm.name, 0.0),
            positions=item.arm.runs[0].rows,
            answers=_answer_scores(item.answers, subset.answers, seed),
        )
        if item is not subset:
            gap = difference(subset.losses, item.losses, tokens, seed=seed)
            result = replace(result, gap=gap, verdict=verdict(gap, len(tokens)))
        results.append(result)
    return tuple(results)


def _answer_scores(answers: np.ndarray | None, subset: np.ndarray | None, seed: int) -> tuple[AnswerScore, ...]:
    """Each score with its interval, and the subset's minus it; from (s, 6, g) scores of the arm and the subset."""
    if answers is None or subset is None:
        return ()
    rows = np.ones(answers.shape[2])
    found = []
    for column, name in enumerate(SCORES):
        own, best = answers[:, column], subset[:, column]
        gap = None if answers is subset else difference(best, own, rows, seed=seed)
        found.append(AnswerScore(name, loss_estimate(own, rows, seed=seed), gap))
    return tuple(found)
