"""What the app and its worker tell each other through files."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from delift_core.errors import ScoringError
from delift_core.jobs import folder as folder_module
from delift_core.jobs.folder import JobFolder, job_folders
from delift_core.jobs.preparation import Refusal, ScoringRequest
from delift_core.jobs.progress import JobProgress, ScoringFacts
from delift_core.jobs.scoring_job import prepare_job, read_request
from delift_core.models.prompts import Rendering
from delift_core.samples import Conversation, Message, ToolCall
from delift_core.scoring.forecast import Forecast, RunSamples
from delift_core.system.callbacks import Phase

REQUEST = ScoringRequest(
    "forecast", "some/model", "auto", "bfloat16", "plain", "/somewhere/utility", RunSamples(("a", "b", "a"), (), ("e",))
)
TURNS = {
    "a": (
        Message("system", "Be brief."),
        Message("user", 'Say "雪"\n\nnow\u2028'),
        Message("assistant", "雪\\n\x00🎉"),
    ),
    "b": (Message("user", ""), Message("assistant", " ")),
    "e": (Message("user", "Hi"), Message("tool", "{}"), Message("assistant", "Hello")),
}
CONVERSATIONS = {name: Conversation(turns) for name, turns in TURNS.items()} | {
    "t": Conversation(
        (
            Message("user", "Rain?"),
            Message("assistant", "Let me see.", thoughts="Ask.", calls=(ToolCall("weather", "{}", "c1"),)),
            Message("tool", "no", call_id="c1", name="weather"),
            Message("assistant", "No."),
        ),
        tools='[{"name": "weather"}]',
        scored="answer",
    )
}


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    made = JobFolder(tmp_path / "r1")
    prepare_job(made, REQUEST, CONVERSATIONS)
    return made


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a worker, and sleeps."""
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as sleeper:
        yield sleeper
        sleeper.kill()


def test_a_request_arrives_as_it_was_sent(job: JobFolder) -> None:
    assert read_request(job) == (REQUEST, CONVERSATIONS)


def test_progress_arrives_as_it_was_written(job: JobFolder) -> None:
    forecast = Forecast(10, 4, None, 0.0, 1, 2, 3, 4)
    facts = ScoringFacts("key", "rev", "cpu", "float32", Rendering("chat", "prefix", {"tools-dropped": 2}))
    facts = replace(facts, refused=(Refusal("a", "too long"),), truncated=2, forecast=forecast)
    progress = JobProgress("scoring", 3, 10, "text — 雪", 1.5, 4.25, 17.125, facts)
    job.write_progress(progress)
    assert job.status().progress == progress


def test_before_its_worker_starts_a_job_is_not_active(job: JobFolder) -> None:
    assert (job.status().progress, job.status().alive) == (JobProgress("starting"), False)
    assert not job.status().active


def test_a_folder_without_files_has_not_begun(tmp_path: Path) -> None:
    status = JobFolder(tmp_path / "nothing").status()
    assert (status.progress.phase, status.alive, status.active) == ("starting", False, False)


@pytest.mark.parametrize("state", ["starting", "loading", "calibrating", "scoring"])
def test_a_living_worker_is_active_and_a_dead_one_interrupted(
    job: JobFolder, process: subprocess.Popen[bytes], state: Phase
) -> None:
    job.claim(process.pid)
    job.write_progress(JobProgress(state))
    assert (job.status().state, job.status().alive, job.status().active) == (state, True, True)
    process.kill()
    process.wait()
    assert (job.status().state, job.status().alive, job.status().active) == ("interrupted", False, False)


@pytest.mark.parametrize("state", ["forecast", "done", "cancelled", "failed"])
def test_a_last_word_stands_whether_the_worker_lives_or_not(
    job: JobFolder, process: subprocess.Popen[bytes], state: Phase
) -> None:
    job.claim(process.pid)
    job.write_progress(JobProgress(state))
    assert (job.status().state, job.status().active) == (state, False)
    process.kill()
    process.wait()
    assert (job.status().state, job.status().active) == (state, False)


def test_a_zombie_is_dead(job: JobFolder, process: subprocess.Popen[bytes]) -> None:
    job.claim(process.pid)
    process.send_signal(signal.SIGKILL)  # and nobody waits for it
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert job.status().state == "interrupted"


def claim_with_age(job: JobFolder, pid: int, shift: float) -> None:
    job.claim(pid)
    worker = json.loads((job.folder / "worker.json").read_text())
    worker["created"] += shift
    (job.folder / "worker.json").write_text(json.dumps(worker))


@pytest.mark.parametrize("shift", [-3600.0, -5.0, 5.0])
def test_a_process_that_took_over_the_number_is_not_the_worker(
    job: JobFolder, process: subprocess.Popen[bytes], shift: float
) -> None:
    claim_with_age(job, process.pid, shift)
    assert (job.status().state, job.status().alive) == ("interrupted", False)


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_setting_the_clock_does_not_kill_a_worker(
    job: JobFolder, process: subprocess.Popen[bytes], shift: float
) -> None:
    """A process's age is told from the time of booting, which moves when the clock is set."""
    claim_with_age(job, process.pid, shift)
    assert job.status().alive


def test_cancelling_leaves_a_note_that_the_next_request_removes(job: JobFolder) -> None:
    assert not job.cancel_requested()
    job.cancel()
    job.cancel()
    assert job.cancel_requested()
    prepare_job(job, REQUEST, CONVERSATIONS)
    assert not job.cancel_requested()


def test_a_job_with_a_worker_is_neither_replaced_nor_started_again(
    job: JobFolder, process: subprocess.Popen[bytes]
) -> None:
    job.claim(process.pid)
    job.write_progress(JobProgress("scoring", done=7))
    for again in (lambda: prepare_job(job, REQUEST, {}), job.start):
        with pytest.raises(ScoringError, match="is being scored already; wait for it, or cancel it first"):
            again()
    assert job.status().progress.done == 7
    assert read_request(job) == (REQUEST, CONVERSATIONS)


def test_a_worker_that_is_closing_down_does_not_hold_up_the_next(
    job: JobFolder, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its last word a worker needs a moment to end; a forecast is often followed by the run at once."""
    job.claim(process.pid)
    job.write_progress(JobProgress("forecast"))
    prepare_job(job, REQUEST, CONVERSATIONS)
    started: list[list[str]] = []

    def popen(command: list[str], **settings: object) -> subprocess.Popen[bytes]:
        started.append(command)
        return process

    monkeypatch.setattr(folder_module.subprocess, "Popen", popen)
    job.start()
    assert started == [[sys.executable, "-m", "delift_core.jobs.worker", "scoring", str(job.folder)]]
    assert job.status().active


def test_progress_can_be_read_while_it_is_rewritten(job: JobFolder) -> None:
    states: list[Phase] = ["loading", "scoring"]
    facts = ScoringFacts(refused=tuple(Refusal(f"{i:064}", "too long " * 9) for i in range(40)))
    written = [JobProgress(states[i % 2], i, message="x" * (i % 7) * 500, facts=facts) for i in range(200)]

    def write() -> None:
        for progress in written:
            job.write_progress(progress)

    seen = []
    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seen.append(job.status().progress)
    writer.join()
    seen.append(job.status().progress)
    assert len(seen) > 10
    assert all(progress in written or progress == JobProgress("starting") for progress in seen)
    counts = [progress.done for progress in seen]
    assert counts == sorted(counts) and counts[-1] == 199
    assert not [name for name in os.listdir(job.folder) if name.startswith(".")]


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_the_progress_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "jobs" / "r1")
    job.folder.mkdir(parents=True)
    old = {"state": "cancelled", "message": "", "pairs_done": 7, "pairs_total": 10, "pairs_per_second": 2.5}
    old |= {"seconds_left": 1.5, "context_key": "key", "revision": "rev", "truncated": 1, "updated_at": 17.0}
    job.write("progress.json", old | {"refused": [{"content_hash": "a", "reason": "too long"}], "forecast": None})
    facts = ScoringFacts("key", "rev", refused=(Refusal("a", "too long"),), truncated=1)
    found = job.status()
    assert found.state == "cancelled" and not found.active
    assert found.progress == JobProgress("cancelled", 7, 10, seconds_left=1.5, updated_at=17.0, facts=facts)
    assert [(one.folder, one.kind, one.owner) for one in job_folders(tmp_path)] == [(job.folder, "scoring", "r1")]


@pytest.mark.parametrize("left", [b"", b"{", b"{}", b"null", b"[1]", b"\xff"])
def test_damaged_notes_are_no_word_of_a_worker(tmp_path: Path, left: bytes) -> None:
    job = JobFolder(tmp_path)
    for name in ("worker.json", "progress.json"):
        (tmp_path / name).write_bytes(left)
    assert (job.status().state, job.status().active) == ("interrupted", False)
