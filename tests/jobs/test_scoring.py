"""A whole job in this process: states, forecasts, refusals, stopping and going on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.families import random_model, small_config
from delift_core.errors import ModelError, ScoringError
from delift_core.jobs import scoring_job as scoring
from delift_core.jobs.preparation import JobMode, ScoringRequest
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import Callbacks, run_scoring_job
from delift_core.samples import Conversation, Message, hash_conversation
from delift_core.scoring import blocks as blocks_module
from delift_core.scoring import scorer as scorer_module
from delift_core.scoring.forecast import Forecast, RunSamples, memory_needed, memory_to_select
from delift_core.scoring.store import PairStore
from tests.tiny_models import byte_tokenizer


def row(prompt: str, response: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", response)))


ROWS = {
    hash_conversation(conversation): conversation
    for conversation in (row(f"What is {i} + {i}?" + "?" * i, f"It is {2 * i}.") for i in range(8))
}
HASHES = tuple(ROWS)
SAMPLES = RunSamples(HASHES[:5], target=HASHES[5:7], existing=HASHES[7:])
PAIRS = 5 * 7 + 5


class Job:
    """A job of one request, with all that it said."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder = folder / "utility"
        self.request = ScoringRequest("score", str(model), "cpu", "float32", "auto", str(self.folder), SAMPLES)
        self.said: list[JobProgress] = []

    def run(
        self,
        mode: JobMode = "score",
        *,
        rows: Mapping[str, Conversation] = ROWS,
        stop: Callable[[], bool] = lambda: False,
        **changes: object,
    ) -> JobProgress:
        self.said.clear()
        request = replace(self.request, mode=mode, **changes)
        last = run_scoring_job(request, rows, Callbacks(self.said.append, stop))
        assert self.said[-1] == last
        return last

    def matrices(self) -> np.ndarray:
        (folder,) = self.folder.iterdir()
        return PairStore(folder).utility_matrix(HASHES, SAMPLES.pool + SAMPLES.existing, "pmi")

    def blocks(self) -> dict[Path, int]:
        """Finished blocks and when they were written."""
        return {path: path.stat().st_mtime_ns for path in self.folder.glob("*/pairs/*.npy")}


@pytest.fixture
def job(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Blocks of two rows, so that there is something to stop between."""
    monkeypatch.setitem(blocks_module.ROWS_PER_BLOCK, "cpu", 2)
    monkeypatch.setattr("delift_core.jobs.progress._REPORT_SECONDS", 0.0)
    return Job(model_folder, tmp_path)


def test_a_job_from_loading_to_done(job: Job) -> None:
    last = job.run()
    states = [progress.phase for progress in job.said]
    assert states[:2] == ["starting", "loading"] and states[-1] == "done"
    assert set(states[2:-1]) == {"scoring"} and len(states) > 10
    counts = [progress.done for progress in job.said]
    assert counts == sorted(counts)
    assert (last.done, last.total, last.seconds_left) == (PAIRS, PAIRS, 0)
    assert (last.facts.device, last.facts.dtype, last.facts.rendering.template) == ("cpu", "float32", "chat")
    assert last.per_second > 0 and last.facts.refused == () and last.facts.truncated == 0
    assert [folder.name for folder in job.folder.iterdir()] == [last.facts.context_key]
    stamps = [progress.updated_at for progress in job.said]
    assert stamps == sorted(stamps) and stamps[0] > 0


def test_a_second_call_has_nothing_to_score(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.run()
    before = job.blocks()
    monkeypatch.setattr(scorer_module.Scorer, "_score", None)  # nothing may call it
    last = job.run()
    assert [progress.phase for progress in job.said] == ["starting", "done"]
    assert last.facts.forecast is not None and last.facts.forecast.pairs_missing == 0
    assert (last.done, last.total, last.per_second) == (PAIRS, PAIRS, 0)
    assert job.blocks() == before


def stepping_clock() -> SimpleNamespace:
    """Stands for the module `time`: a tenth of a second passes at each look."""
    ticks = iter(range(10**6))
    return SimpleNamespace(monotonic=lambda: next(ticks) / 10, time=lambda: 1.0)


def test_a_forecast_measures_keeps_its_blocks_and_the_run_goes_on_from_them(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("delift_core.jobs.progress.time", stepping_clock())  # five seconds: the first fifty looks
        measured = job.run("forecast")
    assert measured.phase == "forecast"
    assert {progress.phase for progress in job.said[2:-1]} == {"calibrating"}
    forecast = measured.facts.forecast
    assert forecast is not None and forecast.seconds is not None
    assert forecast.seconds > 0 and forecast.tokens_per_second > 0 and forecast.refusal is None
    assert (forecast.pairs_total, forecast.pairs_missing) == (PAIRS, PAIRS)
    assert 0 < measured.done < PAIRS
    kept = job.blocks()
    assert measured.done == int((~np.isnan(job.matrices())).sum())

    job.run()
    assert {path: job.blocks()[path] for path in kept} == kept
    first = next(progress for progress in job.said if progress.phase == "scoring")
    assert first.done >= measured.done
    assert first.facts.forecast is not None and first.facts.forecast.pairs_missing == PAIRS - measured.done


def test_a_forecast_says_a_time_even_where_the_first_batch_takes_longer_than_it_is_given(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delift_core.jobs.progress.CALIBRATION_SECONDS", -1.0)
    measured = job.run("forecast")
    assert measured.phase == "forecast"
    forecast = measured.facts.forecast
    assert forecast is not None and forecast.seconds is not None and forecast.seconds > 0


def test_a_forecast_of_a_small_run_completes_it(job: Job) -> None:
    assert job.run("forecast").phase == "done"
    assert not np.isnan(job.matrices()[:7, :5]).any()


@pytest.mark.parametrize("looks", [3, 9, 21])
def test_stopped_in_the_middle_and_called_again_the_matrix_is_the_same_to_the_bit(
    job: Job, looks: int, tmp_path: Path
) -> None:
    whole = Job(Path(job.request.model), tmp_path / "whole")
    whole.run()
    left = iter(range(looks))
    stopped = job.run(stop=lambda: next(left, None) is None)
    assert stopped.phase == "cancelled"
    kept = job.blocks()
    assert 2 * len(kept) >= stopped.done == int((~np.isnan(job.matrices())).sum())
    assert job.run().phase == "done"
    assert {path: job.blocks()[path] for path in kept} == kept
    assert job.matrices().tobytes() == whole.matrices().tobytes()


def test_a_forecast_can_be_cancelled(job: Job) -> None:
    assert job.run("forecast", stop=lambda: True).phase == "cancelled"


def test_rows_that_do_not_fit_are_reported_and_the_rest_is_scored(job: Job) -> None:
    long, empty = row("Recite everything.", "la " * 200), row("Say nothing.", "")
    wordy = row("word " * 200, "Yes.")
    rows = {**ROWS, **{hash_conversation(extra): extra for extra in (long, empty, wordy)}}
    pool = (hash_conversation(long), *SAMPLES.pool, hash_conversation(empty), hash_conversation(wordy))
    last = job.run(rows=rows, samples=RunSamples(pool))
    assert last.phase == "done"
    assert (last.done, last.facts.truncated) == (6 * 6, 1)
    assert {refusal.content_hash: refusal.reason for refusal in last.facts.refused} == {
        hash_conversation(long): (
            "the response has 600 tokens and at most 236 fit beside an example in this model's context of 512; "
            "shorten or drop the row, or take a model with a longer context"
        ),
        hash_conversation(empty): "the response has no tokens: write a response, or drop the row",
    }
    (folder,) = job.folder.iterdir()
    assert PairStore(folder).zero_shot(pool).scored.tolist() == [False, *[True] * 5, False, True]


def test_a_pool_of_which_nothing_can_be_scored_is_refused_with_the_first_reason(job: Job) -> None:
    empty = row("Say nothing.", "")
    with pytest.raises(ScoringError, match="no pool sample can be scored: the response has no tokens"):
        job.run(rows={hash_conversation(empty): empty}, samples=RunSamples((hash_conversation(empty),)))
    with pytest.raises(ScoringError, match="no pool sample can be scored: the pool is empty"):
        job.run(rows={}, samples=RunSamples(()))


def test_a_model_that_is_not_there(job: Job) -> None:
    with pytest.raises(ModelError, match="the hub cannot be reached for model 'nobody/nothing'"):
        job.run(model="nobody/nothing")
    assert [progress.phase for progress in job.said] == ["starting"]


def test_another_template_is_another_context(job: Job) -> None:
    chat, plain = job.run().facts.context_key, job.run(template="plain").facts.context_key
    assert {folder.name for folder in job.folder.iterdir()} == {chat, plain} and chat != plain


def test_a_run_that_does_not_fit_the_memory_is_refused_before_it_starts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_usable_memory", lambda: 256 << 20)
    with pytest.raises(ScoringError) as caught:
        job.run()
    assert str(caught.value) == (
        "the run needs about 512.4 MiB of memory and 256.0 MiB are free; take a smaller pool or a smaller model"
    )
    assert job.blocks() == {}


def test_a_run_that_does_not_fit_the_disk_is_refused_before_it_starts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(ScoringError, match="on disk and 100 B are free; free some space or move the workspace"):
        job.run()
    assert job.blocks() == {}


ROOMY = Forecast(100, 100, 5.0, 20.0, 3 << 30, 2 << 30, 3 << 30, 2 << 30)


@pytest.mark.parametrize(
    ("forecast", "expected"),
    [
        (ROOMY, None),
        (
            replace(ROOMY, memory_bytes=(3 << 30) + 1),
            "the run needs about 3.0 GiB of memory and 3.0 GiB are free; take a smaller pool or a smaller model",
        ),
        (
            replace(ROOMY, disk_bytes=5 << 29),
            "the run needs about 2.5 GiB on disk and 2.0 GiB are free; free some space or move the workspace",
        ),
        (
            replace(ROOMY, memory_bytes=4 << 40, disk_bytes=5 << 40),
            "the run needs about 4,096.0 GiB of memory and 3.0 GiB are free; take a smaller pool or a smaller model",
        ),
    ],
)
def test_what_fits_exactly_is_not_refused(forecast: Forecast, expected: str | None) -> None:
    assert forecast.refusal == expected


def test_a_matrix_larger_than_the_memory_is_scored_and_cautioned_of() -> None:
    """50,000 x 50,000 pairs: 28 GiB to select from, and no more to score than a single pair."""
    samples = RunSamples(tuple(map(str, range(50_000))))
    forecast = replace(ROOMY, memory_bytes=memory_needed(1 << 30), selection_bytes=memory_to_select(samples))
    assert forecast.refusal is None
    assert forecast.cautions == (
        "scoring fits, but selecting from these pairs takes about 27.9 GiB of memory and 3.0 GiB are free: "
        "select on a larger machine, or take a smaller pool",
    )
    assert ROOMY.cautions == ()


def test_a_model_that_shares_nothing_is_scored_as_whole_sequences_and_says_so(job: Job, tmp_path: Path) -> None:
    model = random_model(small_config("mamba"))
    assert model is not None
    cast(Any, model.model).save_pretrained(tmp_path / "mamba")
    byte_tokenizer().save_pretrained(tmp_path / "mamba")
    last = job.run(model=str(tmp_path / "mamba"))
    assert last.phase == "done" and last.done == PAIRS and last.facts.forecast is not None
    (caution,) = last.facts.forecast.cautions
    assert caution.startswith("this model keeps nothing of an example") and "whole sequence" in caution
    assert np.isfinite(job.matrices()).sum() == PAIRS
