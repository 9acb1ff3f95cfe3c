"""Runs of a workspace, in real worker processes: followed, cancelled, killed, and continued."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from delift_core.curation.scoring_runs import cancel, open_run, refresh, run_here, start
from delift_core.data.loading import Dataset
from delift_core.errors import ModelError, ScoringError, Stopped
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress, ScoringFacts
from delift_core.jobs.scoring_job import Callbacks
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring.metrics import utility
from delift_core.scoring.store import PairStore
from delift_core.workspace import RunSpec, Workspace
from tests.rounding import UTILITY

SHORT = [(f"What is {i} + {i}?", f"It is {2 * i}.") for i in range(4)]
MANY = [(f"Add {i} to {i + 1}.", f"{i} + {i + 1} = {2 * i + 1}") for i in range(30)]
FAR_TOO_LONG = ("Recite everything.", "la " * 400)


def add(workspace: Workspace, rows: Sequence[tuple[str, str]], role: str = "pool") -> str:
    records = [
        ParsedRecord((Message("user", prompt), Message("assistant", response)), "{}", f"{role}.jsonl", line)
        for line, (prompt, response) in enumerate(rows, start=1)
    ]
    return workspace.datasets.add(Dataset(role, "alpaca", None, with_ids(records)), role=role).id


def spec_for(workspace: Workspace, model: Path | str, rows: Sequence[tuple[str, str]] = SHORT) -> RunSpec:
    return RunSpec(add(workspace, rows), None, None, str(model), "auto", "cpu", "float32")


def score(workspace: Workspace, spec: RunSpec) -> str:
    """Scores in this process, to the end; the run's id."""
    record = run_here(workspace, spec)
    assert record.status == "done"
    return record.id


def blocks(workspace: Workspace) -> dict[str, int]:
    """Finished blocks and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in workspace.utility_folder.glob("*/pairs/*.npy")}


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def worker_pid(workspace: Workspace, run_id: str) -> int:
    """Process id of a run's worker."""
    return int(json.loads((workspace.jobs_folder / run_id / "worker.json").read_text())["pid"])


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace; a worker that a failed test left behind is ended with it."""
    with Workspace.open(tmp_path / "workspace") as opened:
        yield opened
        for folder in opened.jobs_folder.iterdir():
            if JobFolder(folder).status().alive:
                os.kill(worker_pid(opened, folder.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> np.ndarray:
    """The matrix of the pool of many, scored in one go."""
    with Workspace.open(tmp_path_factory.mktemp("uninterrupted")) as whole:
        run_id = score(whole, spec_for(whole, model_folder, MANY))
        return open_run(whole, run_id).utilities("euclidean").pool


@pytest.mark.slow
@pytest.mark.usefixtures("slow_disk")
def test_a_killed_worker_loses_nothing_that_was_finished(
    workspace: Workspace, model_folder: Path, uninterrupted: np.ndarray
) -> None:
    spec = spec_for(workspace, model_folder, MANY)
    run = start(workspace, spec, mode="score")
    wait_until(lambda: len(blocks(workspace)) >= 5)
    os.kill(worker_pid(workspace, run.id), signal.SIGKILL)
    wait_until(lambda: not refresh(workspace, run.id)[1].alive)
    record, status = refresh(workspace, run.id)
    assert (record.status, status.state) == ("interrupted", "interrupted")
    kept = blocks(workspace)
    assert 5 <= len(kept) < len(MANY)
    with pytest.raises(ScoringError, match=f"run {run.id} is interrupted, not done; start or continue it"):
        open_run(workspace, run.id)

    again = start(workspace, spec, mode="score")
    assert again.id == run.id and [record.id for record in workspace.runs.records()] == [run.id]
    wait_until(lambda: len(blocks(workspace)) > len(kept))
    workspace.close()  # the app is restarted while the worker goes on
    with Workspace.open(workspace.folder) as reopened:
        record, status = refresh(reopened, run.id)
        assert (record.status, status.active) == ("running", True)
        first = status.progress
        assert first.facts.forecast is not None and first.facts.forecast.pairs_missing == (30 - len(kept)) * 30
        wait_until(lambda: not refresh(reopened, run.id)[1].active)
        record, status = refresh(reopened, run.id)
        assert (record.status, record.n_pairs, record.message) == ("done", 30 * 30, "")
        assert record.context_key == status.progress.facts.context_key and record.model_revision
        assert record.finished_at is not None
        after = blocks(reopened)
        assert len(after) == len(MANY)
        assert {name: after[name] for name in kept} == kept
        matrix = open_run(reopened, run.id).utilities("euclidean").pool
        np.testing.assert_allclose(matrix, uninterrupted, rtol=0, atol=UTILITY)  # other processes scored it


@pytest.mark.slow
@pytest.mark.usefixtures("slow_disk")
def test_cancelling_ends_a_run_in_seconds_and_the_same_run_cannot_be_started_twice(
    workspace: Workspace, model_folder: Path
) -> None:
    spec = spec_for(workspace, model_folder, MANY)
    run = start(workspace, spec, mode="score")
    assert run.status == "running"
    with pytest.raises(ScoringError, match="run r1 is being scored already; wait for it, or cancel it first"):
        start(workspace, spec, mode="forecast")
    assert [record.id for record in workspace.runs.records()] == [run.id]
    wait_until(lambda: len(blocks(workspace)) >= 3)
    pid = worker_pid(workspace, run.id)
    assert psutil.Process(pid).nice() > 0  # the pages come first
    session = Path(f"/proc/{pid}/autogroup")  # where Linux has it
    assert not session.exists() or int(session.read_text().split()[-1]) > 0
    cancel(workspace, run.id)
    asked = time.monotonic()
    wait_until(lambda: not refresh(workspace, run.id)[1].active, seconds=10)
    assert time.monotonic() - asked < 10
    record, status = refresh(workspace, run.id)
    assert (record.status, status.progress.phase) == ("cancelled", "cancelled")
    assert record.n_pairs == status.progress.done == len(blocks(workspace)) * len(MANY)
    assert 3 <= len(blocks(workspace)) < len(MANY)
    wait_until(lambda: not refresh(workspace, run.id)[1].alive)


def test_a_failed_run_says_why_in_one_line(workspace: Workspace) -> None:
    run = start(workspace, spec_for(workspace, "nobody/nothing"), mode="score")
    wait_until(lambda: not refresh(workspace, run.id)[1].active)
    record, status = refresh(workspace, run.id)
    assert (record.status, status.state) == ("failed", "failed")
    assert record.message.startswith("the hub cannot be reached for model 'nobody/nothing'")
    assert "\n" not in record.message and "Traceback" not in record.message
    assert "Traceback" not in (workspace.jobs_folder / run.id / "worker.log").read_text()
    assert record.finished_at is not None
    with pytest.raises(ScoringError, match=f"run {run.id} is failed, not done"):
        open_run(workspace, run.id)


def test_a_run_that_was_measured_only_is_queued(workspace: Workspace, model_folder: Path) -> None:
    run = workspace.runs.add(spec_for(workspace, model_folder))
    workspace.runs.set_status(run.id, "running")
    job = JobFolder(workspace.jobs_folder / run.id)
    job.folder.mkdir()
    job.write_progress(JobProgress("forecast", 3, 16, facts=ScoringFacts("key", truncated=2)))
    record, status = refresh(workspace, run.id)
    assert (record.status, status.state) == ("queued", "forecast")
    assert (record.n_pairs, record.context_key, record.truncated, record.finished_at) == (3, "key", 2, None)


def test_the_command_line_scores_in_its_own_process_and_scores_nothing_twice(
    workspace: Workspace, model_folder: Path
) -> None:
    spec = spec_for(workspace, model_folder)
    said: list[JobProgress] = []
    run = run_here(workspace, spec, Callbacks(said.append))
    assert (run.status, run.n_pairs, said[0].phase, said[-1].phase) == ("done", 16, "starting", "done")
    before = blocks(workspace)
    assert run_here(workspace, spec, Callbacks(said.append)).id == run.id
    assert blocks(workspace) == before


def test_a_run_stopped_on_the_command_line_is_cancelled(workspace: Workspace, model_folder: Path) -> None:
    spec = spec_for(workspace, model_folder)
    with pytest.raises(Stopped, match="score again to go on from there"):
        run_here(workspace, spec, Callbacks(stop=lambda: True))
    assert workspace.runs.record("r1").status == "cancelled"


def test_a_failure_on_the_command_line_is_kept_with_the_run(workspace: Workspace) -> None:
    with pytest.raises(ModelError) as caught:
        run_here(workspace, spec_for(workspace, "nobody/nothing"))
    record = workspace.runs.record("r1")
    assert (record.status, record.message) == ("failed", str(caught.value))


def test_a_finished_run_gives_its_samples_and_their_numbers(workspace: Workspace, model_folder: Path) -> None:
    pool = [SHORT[0], FAR_TOO_LONG, SHORT[1], SHORT[0]]
    spec = replace(
        spec_for(workspace, model_folder, pool),
        target_id=add(workspace, SHORT[2:3], "target"),
        existing_id=add(workspace, [SHORT[3], FAR_TOO_LONG], "existing"),
    )
    run = open_run(workspace, score(workspace, spec))
    assert [sample.prompt for sample in run.pool] == [SHORT[0][0], SHORT[1][0], SHORT[0][0]]
    assert [sample.prompt for sample in run.target + run.existing] == [SHORT[2][0], SHORT[3][0]]
    assert [sample.prompt for sample in run.left_out] == [FAR_TOO_LONG[0]] * 2
    assert run.record.n_pairs == 2 * 3 + 2 * 1

    hashes = [sample.content_hash for sample in (*run.pool, *run.target)]
    alone = run.store.zero_shot(hashes)
    found = run.utilities("pmi")
    assert found.target is not None and found.existing is not None
    assert (found.pool.shape, found.target.shape, found.existing.shape) == ((3, 3), (1, 3), (3, 1))
    assert np.isnan(found.pool.diagonal()).all() and np.isnan(found.pool).sum() == 3
    for j, helper in enumerate(hashes[:3]):  # row i is helped, column j helps
        column = utility(alone.statistics, run.store.pair_statistics(hashes, helper), alone.tokens, "pmi")
        for i in range(3):
            assert column[i] == (found.diagonal[i] if i == j else found.pool[i, j])
        assert column[3] == found.target[0, j]
    existing = run.store.pair_statistics(hashes[:3], run.existing[0].content_hash)
    expected = utility(alone.statistics[:3], existing, alone.tokens[:3], "pmi")
    assert np.array_equal(found.existing[:, 0], expected)

    read = (f"<s>system\nBe brief.</s>\n<s>user\n{sample.prompt}</s>\n<s>assistant\n" for sample in run.pool)
    bytes_read = [len(text.encode()) - 3 * len("<s>") - 2 * len("</s>") + 5 for text in read]
    responses = [len(sample.response.encode()) for sample in run.pool]
    assert run.token_counts().tolist() == [a + b for a, b in zip(bytes_read, responses, strict=True)]
    assert run.embeddings().shape == (5, 64)
    assert np.array_equal(run.embeddings()[0], run.embeddings()[2])
    assert np.isfinite(run.embeddings()).all()


def test_without_target_and_existing_there_are_no_such_matrices(workspace: Workspace, model_folder: Path) -> None:
    found = open_run(workspace, score(workspace, spec_for(workspace, model_folder))).utilities("euclidean")
    assert found.target is None and found.existing is None
    assert np.abs(found.diagonal).max() <= 1 and np.nanmax(np.abs(found.pool)) <= 1


def test_a_damaged_block_is_told_and_scoring_again_mends_it(workspace: Workspace, model_folder: Path) -> None:
    spec = spec_for(workspace, model_folder)
    run_id = score(workspace, spec)
    whole = open_run(workspace, run_id).utilities("euclidean").pool
    block = next(workspace.utility_folder.glob("*/pairs/*.npy"))
    block.write_bytes(block.read_bytes()[:-4])
    with pytest.raises(ScoringError, match=r"run r1: 4 pairs are missing or damaged on disk; continue the run"):
        open_run(workspace, run_id).utilities("euclidean")
    score(workspace, spec)
    assert open_run(workspace, run_id).utilities("euclidean").pool.tobytes() == whole.tobytes()


def test_a_run_whose_numbers_were_deleted_says_so(workspace: Workspace, model_folder: Path) -> None:
    run_id = score(workspace, spec_for(workspace, model_folder))
    (context,) = workspace.utility_folder.iterdir()
    context.rename(workspace.folder / "elsewhere")
    with pytest.raises(ScoringError, match="the scored pairs of run r1 are gone from .*; score the pool again"):
        open_run(workspace, run_id)


def test_a_finished_run_stays_finished_without_its_job_folder(workspace: Workspace, model_folder: Path) -> None:
    run_id = score(workspace, spec_for(workspace, model_folder))
    (workspace.jobs_folder / run_id).rename(workspace.folder / "elsewhere")
    assert refresh(workspace, run_id)[0].status == "done"
    assert len(open_run(workspace, run_id).pool) == 4


def test_runs_of_one_model_share_their_pairs(workspace: Workspace, model_folder: Path) -> None:
    score(workspace, spec_for(workspace, model_folder, SHORT[:3]))
    before = blocks(workspace)
    second = score(workspace, spec_for(workspace, model_folder, SHORT))
    assert second == "r2"
    after = blocks(workspace)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 4
    (context,) = workspace.utility_folder.iterdir()
    hashes = [sample.content_hash for sample in open_run(workspace, second).pool]
    assert not np.isnan(PairStore(context).utility_matrix(hashes, hashes, "pmi")).any()


def test_a_run_counts_as_running_before_its_worker_starts_and_not_if_none_starts(
    workspace: Workspace, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends at once would else be marked as running for good."""
    spec, seen = spec_for(workspace, model_folder, SHORT), []
    monkeypatch.setattr(JobFolder, "start", lambda job: seen.append(workspace.runs.records()[0].status))
    run = start(workspace, spec, mode="score")
    assert (seen, run.status) == (["running"], "running")
    workspace.runs.set_status(run.id, "cancelled")

    def fail(job: JobFolder) -> None:
        raise ScoringError("no worker")

    monkeypatch.setattr(JobFolder, "start", fail)
    with pytest.raises(ScoringError, match="no worker"):
        start(workspace, spec, mode="score")
    assert workspace.runs.record(run.id).status == "cancelled"
