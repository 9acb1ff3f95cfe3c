"""A scoring run: what it does and keeps, on one device and on several."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from delift_core.models.encoded import EncodedSample
from delift_core.models.prompts import TemplateChoice, make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring.batches import Batch
from delift_core.scoring.forecast import RunSamples, plan_pairs
from delift_core.scoring.scorer import Prefix, Scorer
from delift_core.scoring.scoring_run import (
    Backend,
    DevicesBackend,
    LocalBackend,
    ScoringProgress,
    ScoringRun,
    backend_on,
    cores_at_work,
)
from delift_core.scoring.store import PairStore
from tests.rounding import UTILITY, assert_same_numbers
from tests.tiny_models import loaded

POOL = ("p0", "p1", "p2", "p3", "p4")
SAMPLES = RunSamples(POOL, target=("t0", "t1"), existing=("e0",))
PAIRS = 5 * (5 + 2) + 1 * 5
MODEL = loaded()
SCORER = Scorer(MODEL, tokens_per_batch=130)  # one or two rows, so that a block takes several batches


def make_run(
    folder: Path,
    *,
    samples: RunSamples = SAMPLES,
    choice: TemplateChoice = "chat",
    rows_per_block: int = 128,
    clock: Callable[[], float] = lambda: 0.0,
) -> ScoringRun:
    """A run over short rows of different lengths, on whatever blocks lie in the folder."""
    template = make_template(MODEL.tokenizer, choice)
    encoded: dict[str, EncodedSample] = {}
    for i, name in enumerate(SAMPLES.all):
        row = Message("user", f"{name}: what is {i} + {i}?" + "?" * i), Message("assistant", f"It is {2 * i}.")
        encoded[name] = template.encode(Conversation(row))
    store = PairStore(folder)
    plan = plan_pairs(store, samples)
    backend = LocalBackend(SCORER)
    return ScoringRun(backend, encoded, store, plan, rows_per_block=rows_per_block, clock=clock)


def matrices(folder: Path) -> np.ndarray:
    """(8, 6) utilities: whatever was scored of all rows and helpers."""
    return PairStore(folder).utility_matrix(SAMPLES.all, (*POOL, "e0"), "euclidean")


def scored(folder: Path) -> int:
    """Number of pairs on disk."""
    return int((~np.isnan(matrices(folder))).sum())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The matrices of a run in one piece."""
    folder = tmp_path_factory.mktemp("whole")
    assert make_run(folder).work()
    return matrices(folder)


def test_a_run_scores_exactly_the_pairs_that_are_asked_for(whole: np.ndarray) -> None:
    known = ~np.isnan(whole)
    assert known[:7, :5].all()  # pool samples help pool and target rows
    assert known[:5, 5].all()  # existing samples help pool rows
    assert known.sum() == PAIRS


@pytest.mark.parametrize("rows_per_block", [1, 2, 3])
def test_small_blocks_give_the_same_matrix(whole: np.ndarray, rows_per_block: int, tmp_path: Path) -> None:
    assert make_run(tmp_path, rows_per_block=rows_per_block).work()
    np.testing.assert_allclose(matrices(tmp_path), whole, rtol=0, atol=UTILITY)
    files = list((tmp_path / "pairs").glob("*.npy"))
    assert len(files) == 5 * -(-7 // rows_per_block) + -(-5 // rows_per_block)


@pytest.mark.parametrize("choice", ["chat", "paper"])
@pytest.mark.parametrize("rows_per_block", [2, 128])
def test_the_work_done_is_the_work_foreseen(choice: TemplateChoice, rows_per_block: int, tmp_path: Path) -> None:
    seen: list[ScoringProgress] = []
    run = make_run(tmp_path, choice=choice, rows_per_block=rows_per_block)
    before = run.progress
    assert (before.work_done, before.done, before.total) == (0, 0, PAIRS)
    assert run.work(seen.append)
    assert run.progress.work_done == run.progress.work_total == before.work_total > 0
    assert run.progress.done == PAIRS
    counts = [(progress.work_done, progress.done) for progress in seen]
    assert counts == sorted(counts) and len(counts) > 6


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    make_run(tmp_path).work()
    again = make_run(tmp_path)
    assert (again.progress.work_total, again.progress.done) == (0, PAIRS)
    assert again.work(stop=lambda: True)  # nobody is asked, since nothing is done


@pytest.mark.parametrize("batches", [0, 3, 9, 11, 16, 20])
def test_stopped_anywhere_it_keeps_finished_blocks_and_ends_in_the_same_bits(batches: int, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make_run(whole, rows_per_block=4).work()
    run = make_run(stopped, rows_per_block=4)
    done: list[ScoringProgress] = []
    assert not run.work(done.append, lambda: len(done) == batches)
    assert len(done) == batches
    assert run.progress.done == scored(stopped)  # a block that was under way does not count
    continued = make_run(stopped, rows_per_block=4)
    assert continued.progress.done == run.progress.done
    assert continued.work()
    assert continued.progress.work_done == continued.progress.work_total
    assert matrices(stopped).tobytes() == matrices(whole).tobytes()


def test_a_grown_pool_costs_its_new_rows_and_columns_only(tmp_path: Path) -> None:
    make_run(tmp_path, samples=RunSamples(POOL[:4])).work()
    grown = make_run(tmp_path, samples=RunSamples(POOL))
    assert (grown.progress.done, grown.progress.total) == (16, 25)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pairs").glob("*.npy")}
    assert grown.work()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert grown.progress.done == 25


def test_rate_and_time_left_follow_the_clock(tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    run = make_run(tmp_path, clock=lambda: float(next(ticks)))  # a second passes at each look
    seen: list[ScoringProgress] = []
    run.work(seen.append)
    for step, progress in enumerate(seen, start=1):
        assert progress.seconds == step
        assert progress.tokens_per_second == progress.work_done / step
        left = progress.work_total - progress.work_done
        assert progress.seconds_left == pytest.approx(left * step / progress.work_done)
    assert seen[-1].seconds_left == 0
    assert ScoringProgress("scoring", 0, 9, work_total=100).seconds_left == float("inf")


NAMES = tuple(f"p{i}" for i in range(9))


@pytest.fixture
def scorers() -> list[Scorer]:
    return [Scorer(loaded(), tokens_per_batch=130) for _ in range(2)]


def run_on(backend: Backend, folder: Path) -> ScoringRun:
    template = make_template(loaded().tokenizer)
    encoded = {
        name: template.encode(Conversation((Message("user", name + "?" * i), Message("assistant", f"It is {2 * i}."))))
        for i, name in enumerate(NAMES)
    }
    store = PairStore(folder)
    return ScoringRun(backend, encoded, store, plan_pairs(store, RunSamples(NAMES)), rows_per_block=4)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.npy")}


def test_two_devices_write_the_same_files_as_one(scorers: list[Scorer], tmp_path: Path) -> None:
    assert run_on(LocalBackend(scorers[0]), tmp_path / "one").work()
    run = run_on(DevicesBackend(scorers), tmp_path / "two")
    assert run.work()
    assert_same_numbers(files(tmp_path / "two"), files(tmp_path / "one"))
    assert len(files(tmp_path / "two")) == 3 + 9 * 3
    assert (run.progress.done, run.progress.work_done) == (81, run.progress.work_total)


def test_cores_share_a_model_and_write_what_one_writes(
    scorers: list[Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_on(LocalBackend(scorers[0]), tmp_path / "one").work()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    backend = backend_on(scorers[:1])
    assert isinstance(backend, DevicesBackend)
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    assert run_on(backend, tmp_path / "cores").work()
    assert_same_numbers(files(tmp_path / "cores"), files(tmp_path / "one"))
    assert set_to == [1, 3]  # one thread in each product, and as before when all is done


def test_cores_take_turns_where_memory_is_short_or_the_model_changes_itself(
    scorers: list[Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert cores_at_work(scorers[0]) == 8
    monkeypatch.setattr(Scorer, "batch_bytes", 1 << 60)
    assert cores_at_work(scorers[0]) == 1
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(scorers[0].loaded.model.config, "rope_parameters", {"rope_type": "dynamic"})
    assert isinstance(backend_on(scorers[:1]), LocalBackend)


def test_both_devices_work_and_a_stop_ends_both(
    scorers: list[Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scorer] = []
    monkeypatch.setattr(Scorer, "score", slowly(Scorer.score, seen))
    run = run_on(DevicesBackend(scorers), tmp_path)
    assert not run.work(stop=lambda: len(seen) > 12)
    assert set(map(id, seen)) == set(map(id, scorers))
    at_the_end = len(seen)
    time.sleep(0.1)
    assert len(seen) == at_the_end
    kept = sum(len(np.load(path)) for path in (tmp_path / "pairs").glob("*.npy"))
    assert run.progress.done == kept
    monkeypatch.undo()
    assert run_on(LocalBackend(scorers[0]), tmp_path).work()


Score = Callable[[Scorer, Prefix, Batch], torch.Tensor]


def slowly(score: Score, seen: list[Scorer]) -> Score:
    def slow(self: Scorer, prefix: Prefix, batch: Batch) -> torch.Tensor:
        seen.append(self)
        time.sleep(0.01)
        return score(self, prefix, batch)

    return slow


def test_a_device_that_fails_ends_the_run(
    scorers: list[Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, score = scorers[1], Scorer.score

    def fail(self: Scorer, prefix: Prefix, batch: Batch) -> torch.Tensor:
        if self is broken:
            raise RuntimeError("device lost")
        time.sleep(0.01)
        return score(self, prefix, batch)

    monkeypatch.setattr(Scorer, "score", fail)
    with pytest.raises(RuntimeError, match="device lost"):
        run_on(DevicesBackend(scorers), tmp_path).work()
