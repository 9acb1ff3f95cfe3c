"""A forecast of how long an evaluation takes, from one timed training step and a few timed held-out rows."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delift_core.models.prompts import EncodedSample
from delift_core.selection.methods import METHODS

if TYPE_CHECKING:
    from delift_core.evaluation.fine_tuner import FineTuner

_TIMED_ROWS = 8  # held-out rows
_TIMED_ANSWER_TOKENS = 4
_RATING_TOKENS = 60  # that a rating prompt adds to a row, about
_RATINGS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate, in which no result is cached yet."""

    seconds: float  # of the whole evaluation
    runs: int  # number of fine-tuning runs
    trained_tokens: int  # over all epochs and runs


def forecast(tuner: "FineTuner", *, clock: Callable[[], float] = time.monotonic) -> Cost:
    """Times a training step and a measurement, and counts how many of them the request needs.

    Raises:
        Stopped: `tuner.stop` answered True.
        ScoringError: fine-tuning does not fit this machine or this model.
    """
    request, tuning = tuner.request, tuner.request.tuning
    per_trained, per_read, per_written = _seconds_per_token(tuner, clock)
    pool, subset = _tokens(tuner.pool.values()), _tokens(tuner.pool[at] for at in tuner.subset)
    mean = pool / len(tuner.pool)
    k, runs = len(tuner.subset), {"random": request.seeds, "random-tokens": request.seeds, "full": 1}
    names = dict.fromkeys((*request.against, *(other.name for other in request.others)))
    each = {name: runs.get(name, request.method_runs) for name in names}
    rows = float(request.seeds * subset)
    rows += sum(count * (pool if name == "full" else k * mean) for name, count in each.items())
    trained = int(tuning.epochs * rows)
    measurements = 1 + request.seeds + sum(each.values())
    heldout = _tokens(tuner.heldout)
    read = float(measurements * heldout)
    if request.examples:
        read += 2 * pool + measurements * (heldout + len(tuner.heldout) * request.examples * mean)
    needs = {METHODS[name].needs for name in set(names) - set(runs) - {other.name for other in request.others}}
    read += pool if needs & {"statistics", "responses alone"} else 0
    read += _RATINGS * (pool + _RATING_TOKENS * len(tuner.pool)) if "ratings" in needs else 0
    more = request.less.epochs * (pool + request.less.targets * mean) if "gradients" in needs else 0
    written = measurements * tuner.answered * request.answer_tokens
    seconds = (trained + more) * per_trained + read * per_read + written * per_written
    return Cost(seconds, request.seeds + sum(each.values()), trained)


def _seconds_per_token(tuner: "FineTuner", clock: Callable[[], float]) -> tuple[float, float, float]:
    """Seconds for each token that is trained on, read, and generated."""
    from delift_core.evaluation.measures import answer
    from delift_core.evaluation.training import fine_tuned

    tuning, head = tuner.request.tuning, tuner.template.head_alone
    at = tuner.subset[: tuning.rows_per_step]
    rows = [tuner.pool[position] for position in at]
    began = clock()
    with fine_tuned(tuner.loaded, head, rows, replace(tuning, epochs=1), seed=0, stop=tuner.stop):
        trained = clock() - began
    few = tuner.plain_rows[:_TIMED_ROWS]
    began = clock()
    tuner.measure(few)
    read = clock() - began
    written = 0.0
    if tuner.answered:
        began = clock()
        answer(tuner.loaded, few[:1], _TIMED_ANSWER_TOKENS, stop=tuner.stop)
        written = (clock() - began) / _TIMED_ANSWER_TOKENS
    return trained / _tokens(rows), read / sum(len(row) for row in few), written


def _tokens(samples: Iterable[EncodedSample]) -> int:
    return sum(len(sample.query_alone) + len(sample.response) for sample in samples)
