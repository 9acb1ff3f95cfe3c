"""Does fine-tuning on the subset lower the loss on held-out rows more than its size alone would?

One loaded model serves every arm: fine-tune, measure the held-out rows, put the weights back. Every arm has the same
recipe and as many epochs, so arms of as many rows make as many steps, and the full pool makes more. Held-out rows that
the selection has seen (exactly; near-duplicates are not looked for) are left out and named. This module knows nothing
of manifests and writes no files.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DataError, ScoringError
from delift_core.evaluation.report import ArmResult, EvaluationReport, LeftOutRow
from delift_core.evaluation.request import ArmName, EvaluationRequest
from delift_core.evaluation.statistics import difference, loss_estimate, mean_loss, verdict
from delift_core.jobs.scoring import encode_samples
from delift_core.models import LoadedModel, load_model
from delift_core.prompts import EncodedSample, Template, make_template
from delift_core.samples import Sample

if TYPE_CHECKING:
    from delift_core.utility.scorer import Scorer

Publish = Callable[[str], None]
Stop = Callable[[], bool]
Clock = Callable[[], float]

_REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Run:
    """One fine-tuning: the positions of its rows in the pool, and the seed of their order."""

    rows: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm with its runs; the untouched model has one without rows."""

    name: ArmName
    runs: tuple[_Run, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """(s, n) summed losses in nats of an arm's s runs over the n held-out rows, and what they took."""

    arm: _Arm
    losses: np.ndarray
    seconds: float


def evaluate(
    request: EvaluationRequest,
    *,
    publish: Publish = lambda line: None,
    stop: Stop = lambda: False,
    clock: Clock = time.monotonic,
) -> EvaluationReport:
    """Fine-tunes on the subset and on what it is compared with, and measures each on the held-out rows.

    Args:
        publish: called with a line of text whenever there is something to say, every few seconds at most.
        stop: asked before every step and batch.
        clock: gives seconds.

    Raises:
        DataError: no held-out row is left that the selection has not seen, or none can be scored.
        ModelError: the model cannot be loaded.
        EvaluationStopped: `stop` answered True.
        ScoringError: the subset has no row that can be trained on, or fine-tuning does not fit this machine.
    """
    from delift_core.evaluation.finetune import check_trainable
    from delift_core.utility.scorer import Scorer

    start = clock()
    heldout, seen = unseen_rows(request)
    publish(f"loading {request.model}")
    loaded = load_model(request.model, device=request.device, dtype="float32")
    bench = _Bench(request, loaded, Scorer(loaded), heldout, publish, stop, clock)
    arms = _plan(request, bench.pool)
    check_trainable(loaded, bench.template.head_alone, tuple(bench.pool.values()), request.tuning)
    bench.steps_planned = sum(request.tuning.steps(len(run.rows)) for arm in arms for run in arm.runs)
    measured = [bench.measure(arm) for arm in arms]
    return EvaluationReport(
        model=loaded.identity.name,
        revision=loaded.identity.revision,
        device=str(loaded.device),
        template=bench.template.name,
        tuning=request.tuning,
        seeds=tuple(range(request.first_seed, request.first_seed + request.seeds)),
        pool_rows=len(bench.pool),
        subset_rows=len(measured[1].arm.runs[0].rows),
        heldout_rows=len(bench.tokens),
        heldout_tokens=int(bench.tokens.sum()),
        arms=_compare(request, measured, bench.tokens),
        left_out=seen + bench.refused,
        seconds=clock() - start,
    )


def unseen_rows(request: EvaluationRequest) -> tuple[tuple[Sample, ...], tuple[LeftOutRow, ...]]:
    """The held-out rows that the selection has not seen, and those that it has.

    Raises:
        DataError: it has seen them all.
    """
    seen = {sample.content_hash: "the target" for sample in request.target}
    seen |= {sample.content_hash: "the pool" for sample in request.pool}
    fresh = tuple(sample for sample in request.heldout if sample.content_hash not in seen)
    known = tuple(
        LeftOutRow(sample.source, sample.line, f"the same row is in {seen[sample.content_hash]}")
        for sample in request.heldout
        if sample.content_hash in seen
    )
    if not fresh:
        first = known[0]
        raise DataError(
            f"all {len(known):,} held-out rows are in the pool or the target (the first is {first.source}, line "
            f"{first.line}); give held-out rows that the selection has not seen"
        )
    return fresh, known


class _Bench:
    """The loaded model and the encoded rows that all arms share."""

    def __init__(
        self,
        request: EvaluationRequest,
        loaded: LoadedModel,
        scorer: "Scorer",
        heldout: Sequence[Sample],
        publish: Publish,
        stop: Stop,
        clock: Clock,
    ) -> None:
        self._request, self._loaded, self._scorer = request, loaded, scorer
        self._publish, self._stop, self._clock = publish, stop, clock
        self._last_line = self._training_seconds = 0.0
        self._steps_done = 0
        self.steps_planned = 0
        self.template: Template = make_template(loaded.tokenizer, request.template)
        pool, refused_pool = self._encode(request.pool)
        self.pool: dict[int, EncodedSample] = pool
        measured, refused_heldout = self._encode(heldout)
        if not measured:
            raise DataError(f"no held-out row can be scored; {refused_heldout[0]}")
        self._heldout = tuple(measured.values())
        self.tokens = np.array([len(sample.response) for sample in self._heldout])
        self.refused = refused_heldout + refused_pool

    def measure(self, arm: _Arm) -> _Measured:
        """Runs an arm: (s, n) losses of its runs on the held-out rows."""
        start = self._clock()
        losses = []
        for number, run in enumerate(arm.runs, start=1):
            title = arm.name if len(arm.runs) == 1 else f"{arm.name}, run {number} of {len(arm.runs)}"
            losses.append(self._run(title, run))
            loss = losses[-1].sum() / self.tokens.sum()
            self._publish(f"{title}: loss {loss:.4f} nats per token on {len(self.tokens):,} held-out rows")
        return _Measured(arm, np.stack(losses), self._clock() - start)

    def _run(self, title: str, run: _Run) -> np.ndarray:
        from delift_core.evaluation.finetune import fine_tuned

        if not run.rows:
            return self._loss()
        rows = [self.pool[position] for position in run.rows]
        tuning, head = self._request.tuning, self.template.head_alone
        start, before = self._clock(), self._training_seconds

        def on_step(step: int) -> None:
            self._steps_done += 1
            self._training_seconds = before + self._clock() - start
            self._report(f"{title}: step {step:,} of {tuning.steps(len(rows)):,}")

        with fine_tuned(self._loaded, head, rows, tuning, seed=run.seed, stop=self._stop, on_step=on_step):
            return self._loss()

    def _loss(self) -> np.ndarray:
        from delift_core.evaluation.heldout import response_loss

        loss: np.ndarray = response_loss(self._scorer, self.template.head_alone, self._heldout, stop=self._stop)[:, 0]
        return loss

    def _report(self, line: str) -> None:
        if self._clock() - self._last_line < _REPORT_SECONDS:
            return
        self._last_line = self._clock()
        left = self._training_seconds / self._steps_done * (self.steps_planned - self._steps_done)
        self._publish(f"{line}, about {left:,.0f} s of fine-tuning left in all")

    def _encode(self, samples: Sequence[Sample]) -> tuple[dict[int, EncodedSample], tuple[LeftOutRow, ...]]:
        """Token ids by position, and the rows that do not fit this model."""
        conversations = {sample.content_hash: sample.messages for sample in samples}
        encoded, refusals = encode_samples(self.template, conversations, self._loaded.identity.context_length)
        reasons = {refusal.content_hash: refusal.reason for refusal in refusals}
        usable = {
            at: encoded[sample.content_hash] for at, sample in enumerate(samples) if sample.content_hash in encoded
        }
        refused = [sample for sample in samples if sample.content_hash in reasons]
        return usable, tuple(LeftOutRow(s.source, s.line, reasons[s.content_hash]) for s in refused)


def _plan(request: EvaluationRequest, pool: dict[int, EncodedSample]) -> tuple[_Arm, ...]:
    """The untouched model, the subset, and the arms asked for, all from the rows that can be trained on."""
    subset = tuple(position for position in dict.fromkeys(request.subset_positions) if position in pool)
    if not subset:
        raise ScoringError("no row of the subset fits this model's context; take a model with a longer one")
    positions, k = np.array(sorted(pool)), len(subset)
    by_length = sorted(pool, key=lambda position: (-len(pool[position].response), position))
    seeds = range(request.first_seed, request.first_seed + request.seeds)

    def draw(seed: int) -> tuple[int, ...]:
        return tuple(np.random.default_rng((seed, k)).choice(positions, size=k, replace=False).tolist())

    arms: dict[str, _Arm] = {
        "random": _Arm("random", tuple(_Run(draw(seed), seed) for seed in seeds)),
        "full": _Arm("full", (_Run(tuple(positions.tolist()), request.first_seed),)),
        "longest": _Arm("longest", (_Run(tuple(by_length[:k]), request.first_seed),)),
    }
    return (
        _Arm("untouched", (_Run((), request.first_seed),)),
        _Arm("subset", tuple(_Run(subset, seed) for seed in seeds)),
        *(arms[name] for name in dict.fromkeys(request.against)),
    )


def _compare(request: EvaluationRequest, measured: Sequence[_Measured], tokens: np.ndarray) -> tuple[ArmResult, ...]:
    subset = next(item.losses for item in measured if item.arm.name == "subset")
    results = []
    for item in measured:
        losses, rows = item.losses, len(item.arm.runs[0].rows)
        result = ArmResult(
            name=item.arm.name,
            rows=rows,
            steps=request.tuning.steps(rows),
            runs=tuple(mean_loss(run[None], tokens) for run in losses),
            loss=loss_estimate(losses, tokens, seed=request.first_seed),
            gap=None,
            verdict="",
            seconds=item.seconds,
        )
        if item.arm.name != "subset":
            gap = difference(subset, losses, tokens, seed=request.first_seed)
            result = replace(result, gap=gap, verdict=verdict(gap, len(tokens)))
        results.append(result)
    return tuple(results)
