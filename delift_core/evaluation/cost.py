"""What an evaluation will take on this machine, from one step of fine-tuning and one look at a few held-out rows."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delift_core.models.prompts import EncodedSample

if TYPE_CHECKING:
    from delift_core.evaluation.fine_tuner import FineTuner

_LOOKED_AT = 8  # held-out rows that are timed
_WRITTEN = 4  # tokens of the answer that is timed
_RATING_TOKENS = 60  # about what a rating prompt adds to a row
_RATINGS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate; runs that are known already take less.

    Attributes:
        seconds: in all.
        runs: fine-tunings.
        trained_tokens: over all epochs and runs.
    """

    seconds: float
    runs: int
    trained_tokens: int


def forecast(tuner: "FineTuner", *, clock: Callable[[], float] = time.monotonic) -> Cost:
    """Times a step and a look, and counts how many of them the request needs.

    Raises:
        EvaluationStopped: the tuner was asked to stop.
        ScoringError: fine-tuning does not fit this machine or this model.
    """
    request, tuning = tuner.request, tuner.request.tuning
    a_trained, a_read, a_written = _rates(tuner, clock)
    pool, subset = _tokens(tuner.pool.values()), _tokens(tuner.pool[at] for at in tuner.subset)
    mean = pool / len(tuner.pool)
    k, runs = len(tuner.subset), {"random": request.seeds, "random-tokens": request.seeds, "full": 1}
    names = dict.fromkeys((*request.against, *(other.name for other in request.others)))
    each = {name: runs.get(name, request.method_runs) for name in names}
    rows = float(request.seeds * subset)
    rows += sum(count * (pool if name == "full" else k * mean) for name, count in each.items())
    trained = int(tuning.epochs * rows)
    looks = 1 + request.seeds + sum(each.values())
    heldout = _tokens(tuner.heldout)
    read = float(looks * heldout)
    if request.examples:
        read += 2 * pool + looks * (heldout + len(tuner.heldout) * request.examples * mean)
    methods = set(names) - set(runs) - {other.name for other in request.others}
    read += pool if methods - {"less"} else 0
    read += _RATINGS * (pool + _RATING_TOKENS * len(tuner.pool)) if "selectit" in methods else 0
    more = request.less.epochs * (pool + request.less.targets * mean) if "less" in methods else 0
    seconds = (trained + more) * a_trained + read * a_read + looks * tuner.answered * request.answer_tokens * a_written
    return Cost(seconds, request.seeds + sum(each.values()), trained)


def _rates(tuner: "FineTuner", clock: Callable[[], float]) -> tuple[float, float, float]:
    """Seconds a token: trained on, read, written."""
    from delift_core.evaluation.finetune import fine_tuned
    from delift_core.evaluation.measures import answer

    tuning, head = tuner.request.tuning, tuner.template.head_alone
    at = tuner.subset[: tuning.rows_per_step]
    rows = [tuner.pool[position] for position in at]
    began = clock()
    with fine_tuned(tuner.loaded, head, rows, replace(tuning, epochs=1), seed=0, stop=tuner.stop):
        trained = clock() - began
    few = tuner.plain_rows[:_LOOKED_AT]
    began = clock()
    tuner.look(few)
    read = clock() - began
    written = 0.0
    if tuner.answered:
        began = clock()
        answer(tuner.loaded, few[:1], _WRITTEN, stop=tuner.stop)
        written = (clock() - began) / _WRITTEN
    return trained / _tokens(rows), read / sum(len(row) for row in few), written


def _tokens(samples: Iterable[EncodedSample]) -> int:
    return sum(len(sample.query_alone) + len(sample.response) for sample in samples)
