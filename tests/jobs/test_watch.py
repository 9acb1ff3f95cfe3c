"""A job stops in time when the machine runs out of something, and what ran out is said in one line."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from delift_core.errors import ScoringError
from delift_core.system import memory as watch
from delift_core.system.memory import ResourceWatch


def test_it_looks_now_and_then_and_stops_for_memory(tmp_path: Path) -> None:
    now, free, asked = [0.0], [8 << 30], []

    def memory() -> int:
        asked.append(now[0])
        return free[0]

    looking = ResourceWatch(tmp_path, clock=lambda: now[0], memory=memory)
    for now[0] in (0.0, 0.5, 1.0, 1.9):
        looking.check()
    assert asked == [0.0]
    free[0] = 100 << 20
    now[0] = 2.0
    with pytest.raises(ScoringError, match="100.0 MiB of memory left; everything finished is kept"):
        looking.check()


def test_it_stops_for_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LEAST_DISK", 1 << 60)
    with pytest.raises(ScoringError, match="left on the disk of .*everything finished is kept: make room"):
        ResourceWatch(tmp_path, memory=lambda: 8 << 30).check()


def limit_file_size() -> None:
    """In the child: files may grow to 20,000 bytes, which stops neither small blocks nor the progress."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.slow
def test_a_full_disk_fails_the_job_in_one_line_and_keeps_what_was_finished(tmp_path: Path, model_folder: Path) -> None:
    from delift_core.jobs.folder import JobFolder
    from delift_core.jobs.preparation import ScoringRequest
    from delift_core.jobs.scoring_job import prepare_job
    from delift_core.samples import Conversation, Message
    from delift_core.scoring.forecast import RunSamples

    names = [f"{number:064x}" for number in range(100)]
    conversations = {
        name: Conversation((Message("user", f"What is {number}?"), Message("assistant", f"{number}.")))
        for number, name in enumerate(names)
    }
    (tmp_path / "utility").mkdir()
    job = JobFolder(tmp_path / "job")
    request = ScoringRequest(
        "score", str(model_folder), "cpu", "float32", "auto", str(tmp_path / "utility"), RunSamples(tuple(names))
    )
    prepare_job(job, request, conversations)
    command = [sys.executable, "-m", "delift_core.jobs.worker", "scoring", str(job.folder)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size, timeout=120)
    status = job.status()
    assert (done.returncode, status.state) == (2, "failed")
    assert status.progress.message.endswith("make room on its disk or fix its permissions, then continue")
    assert "everything finished is kept" in status.progress.message and "\n" not in status.progress.message
    kept = list((tmp_path / "utility").glob("*/*/*.npy"))
    assert all(path.stat().st_size < 20_000 for path in kept)
    assert not list((tmp_path / "utility").glob("*/*/.*"))
