"""What an evaluation costs: a forecast from one timed training step and a few timed held-out rows, and results on disk,
which are not computed again."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import BadZipFile

import numpy as np

from delift_core.models.encoded import EncodedSample
from delift_core.selection.methods import METHODS
from delift_core.system.files import write_whole

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

    tuning = tuner.request.tuning
    at = tuner.subset[: tuning.rows_per_step]
    rows = [tuner.pool[position] for position in at]
    began = clock()
    with fine_tuned(tuner.loaded, rows, replace(tuning, epochs=1), seed=0, stop=tuner.stop):
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
    return sum(sample.length for sample in samples)


Arrays = Mapping[str, np.ndarray]


class ResultCache:
    """One .npz file for each result; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: object) -> Arrays | None:
        """The arrays stored under a key (plain JSON values); None if there are none or they cannot be read."""
        path = self._path(key)
        if path is None:
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            return None

    def save(self, key: object, arrays: Arrays) -> None:
        """Stores arrays under a key; the file is replaced atomically."""
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, **cast(Any, dict(arrays)))
        write_whole(path, buffer.getvalue())

    def _path(self, key: object) -> Path | None:
        text = json.dumps(key, sort_keys=True, ensure_ascii=True)
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        return self._folder and self._folder / name
