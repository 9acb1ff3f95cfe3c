"""Several devices at once, here the CPU under two names, against one."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from delift_core.models.prompts import make_template
from delift_core.samples import Message
from delift_core.scoring.batches import Batch
from delift_core.scoring.devices import DevicesBackend, backend_on, cores_at_work
from delift_core.scoring.forecast import RunSamples, plan_pairs
from delift_core.scoring.scorer import Prefix, Scorer
from delift_core.scoring.scoring_run import Backend, LocalBackend, ScoringRun
from delift_core.scoring.store import PairStore
from tests.rounding import assert_same_numbers
from tests.tiny_models import loaded

NAMES = tuple(f"p{i}" for i in range(9))


@pytest.fixture
def scorers() -> list[Scorer]:
    return [Scorer(loaded(), tokens_per_batch=130) for _ in range(2)]


def make_run(backend: Backend, folder: Path) -> ScoringRun:
    template = make_template(loaded().tokenizer)
    encoded = {
        name: template.encode((Message("user", name + "?" * i), Message("assistant", f"It is {2 * i}.")))
        for i, name in enumerate(NAMES)
    }
    store = PairStore(folder)
    return ScoringRun(backend, template, encoded, store, plan_pairs(store, RunSamples(NAMES)), rows_per_block=4)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.npy")}


def test_two_devices_write_the_same_files_as_one(scorers: list[Scorer], tmp_path: Path) -> None:
    assert make_run(LocalBackend(scorers[0]), tmp_path / "one").work()
    run = make_run(DevicesBackend(scorers), tmp_path / "two")
    assert run.work()
    assert_same_numbers(files(tmp_path / "two"), files(tmp_path / "one"))
    assert len(files(tmp_path / "two")) == 3 + 9 * 3
    assert (run.progress.pairs_done, run.progress.work_done) == (81, run.progress.work_total)


def test_cores_share_a_model_and_write_what_one_writes(
    scorers: list[Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_run(LocalBackend(scorers[0]), tmp_path / "one").work()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    backend = backend_on(scorers[:1])
    assert isinstance(backend, DevicesBackend)
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    assert make_run(backend, tmp_path / "cores").work()
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
    run = make_run(DevicesBackend(scorers), tmp_path)
    assert not run.work(stop=lambda: len(seen) > 12)
    assert set(map(id, seen)) == set(map(id, scorers))
    at_the_end = len(seen)
    time.sleep(0.1)
    assert len(seen) == at_the_end
    kept = sum(len(np.load(path)) for path in (tmp_path / "pairs").glob("*.npy"))
    assert run.progress.pairs_done == kept
    monkeypatch.undo()
    assert make_run(LocalBackend(scorers[0]), tmp_path).work()


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
        make_run(DevicesBackend(scorers), tmp_path).work()
