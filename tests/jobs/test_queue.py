"""The line of jobs: one at a time, in the order of asking, whatever dies meanwhile."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from delift_core.curation.scoring_runs import cancel, refresh, start
from delift_core.errors import ScoringError, Stopped
from delift_core.jobs import queue
from delift_core.jobs.folder import job_folders
from delift_core.jobs.queue import Ticket, wait_for_device
from delift_core.maintenance.status import jobs_under_way
from delift_core.workspace import Workspace
from tests.curation.test_scoring_runs import MANY, SHORT, spec_for, wait_until, worker_pid

# Takes a turn, says what it waits for and when it has it, and holds it until a file is there.
JOB = """
import sys, time
from pathlib import Path
from delift_core.jobs.queue import Ticket, wait_for_device
job, workspace, asked, device, folder = sys.argv[1:]
def say(words):
    with open(Path(folder) / "said", "a") as said:
        said.write(f"{job}: {words}\\n")
with wait_for_device(Ticket(job, workspace, int(asked)), device, on_wait=say):
    say("begins")
    while not (Path(folder) / f"end-{job}").exists():
        time.sleep(0.02)
    say("ends")
"""


class Line:
    """Processes that stand in line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, {}

    def join(self, job: str, asked: int, *, workspace: str = "/w", device: str = "cpu") -> None:
        command = [sys.executable, "-c", JOB, job, workspace, str(asked), device, str(self.folder)]
        self.processes[job] = subprocess.Popen(command)

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def await_words(self, words: str) -> None:
        wait_until(lambda: words in self.said(), seconds=60)

    def end(self, job: str) -> None:
        (self.folder / f"end-{job}").touch()
        assert self.processes[job].wait(timeout=60) == 0

    def kill(self, job: str) -> None:
        self.processes[job].kill()
        self.processes[job].wait()


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("DELIFT_QUEUE", str(tmp_path / "queue"))
    made = Line(tmp_path)
    yield made
    for process in made.processes.values():
        process.kill()
        process.wait()


def test_they_go_in_the_order_of_asking_and_the_dead_leave_their_place(line: Line) -> None:
    line.join("r1", 1)
    line.await_words("r1: begins")
    for job, asked in (("r4", 4), ("r2", 2), ("r3", 3)):
        line.join(job, asked)
        line.await_words(f"{job}: waiting for r1")
    line.kill("r3")
    line.kill("r1")  # at work: its turn is free at once
    line.await_words("r2: begins")
    line.await_words("r4: waiting for r2")
    line.end("r2")
    line.await_words("r4: begins")
    line.end("r4")
    order = [words for words in line.said() if words.endswith(("begins", "ends"))]
    assert order == ["r1: begins", "r2: begins", "r2: ends", "r4: begins", "r4: ends"]


def test_other_workspaces_wait_for_the_device_and_are_not_named(line: Line) -> None:
    line.join("r1", 1, workspace="/one")
    line.await_words("r1: begins")
    line.join("r9", 2, workspace="/two")
    words = r"r9: waiting for another job on this machine, running since \d\d:\d\d"
    wait_until(lambda: any(re.fullmatch(words, said) for said in line.said()), seconds=60)
    assert "/one" not in "".join(line.said())
    line.join("c1", 3, workspace="/three", device="cluster")  # no device of this machine
    line.await_words("c1: begins")
    line.join("c2", 4, workspace="/three", device="cluster")
    line.await_words("c2: waiting for c1")


def test_who_is_stopped_while_waiting_leaves_the_line(line: Line) -> None:
    line.join("r1", 1)
    line.await_words("r1: begins")
    said: list[str] = []
    waiting = wait_for_device(Ticket("r2", "/w", 2), "cpu", on_wait=said.append, stop=lambda: bool(said))
    with pytest.raises(Stopped, match="nothing was started"), waiting:
        pytest.fail("r1 has the device")
    assert said == ["waiting for r1"]
    left = [path.name for path in queue.queue_folder().iterdir() if path.name != "lock"]
    assert len(left) == 1 and left[0].startswith("0" * 19 + "1.")  # r1's
    line.end("r1")
    with wait_for_device(Ticket("r3", "/w", 3), "cpu", stop=lambda: pytest.fail("it waits")):
        assert len(list(queue.queue_folder().iterdir())) == 2


def test_a_line_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DELIFT_QUEUE", str(tmp_path / "file" / "queue"))
    with pytest.raises(ScoringError, match="DELIFT_QUEUE"), wait_for_device(Ticket("r1", "", 1), "cpu"):
        pass


def state(opened: Workspace, run_id: str) -> str:
    """What a run's worker said last."""
    return refresh(opened, run_id)[1].state


@pytest.mark.slow
@pytest.mark.usefixtures("slow_disk")
def test_runs_wait_for_each_other_are_cancelled_while_waiting_and_outlive_the_server(
    tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "workspace"
    with Workspace.open(folder) as server:
        first = start(server, spec_for(server, model_folder, MANY), mode="score")
        wait_until(lambda: state(server, first.id) not in ("starting", "waiting"))
        waiting = [start(server, spec_for(server, model_folder, SHORT[:count]), mode="score") for count in (4, 3)]
        for run in waiting:
            wait_until(lambda run=run: state(server, run.id) == "waiting")
        record, status = refresh(server, waiting[0].id)
        assert (record.status, status.progress.message) == ("running", f"waiting for {first.id}")
        assert {job.state for job in jobs_under_way(folder)} >= {"waiting"}
        cancel(server, waiting[0].id)
        wait_until(lambda: state(server, waiting[0].id) == "cancelled", seconds=10)
        assert refresh(server, first.id)[1].active
    with Workspace.open(folder) as restarted:
        assert state(restarted, waiting[1].id) == "waiting"
        os.kill(worker_pid(restarted, first.id), signal.SIGKILL)
        wait_until(lambda: state(restarted, waiting[1].id) == "done")
        assert state(restarted, first.id) == "interrupted"
        assert refresh(restarted, waiting[1].id)[0].status == "done"
        wait_until(lambda: not any(job.status().alive for job in job_folders(folder)))
