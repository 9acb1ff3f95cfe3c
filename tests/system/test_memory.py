"""Free memory counts the limits of containers and of the process, and what does not fit is refused in one line."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from delift_core.errors import ModelError
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.preparation import ScoringRequest
from delift_core.jobs.scoring_job import prepare_job
from delift_core.models import devices
from delift_core.models.loading import load_model
from delift_core.samples import Conversation, Message
from delift_core.scoring.forecast import RunSamples
from delift_core.system import memory
from delift_core.system.memory import available_memory, total_memory

ROOT = Path(__file__).parents[2]
UNLIMITED = {1: "9223372036854771712", 2: "max"}
MIB = 1 << 20
# Limits itself to what it has and 200 MiB: less than the libraries take.
WORKER_IN_LITTLE = """
import resource, sys
from pathlib import Path
import psutil
import delift_core.jobs.scoring_job  # what a worker has in memory before it needs a model
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.worker import main
kind = sys.argv[1]
own = psutil.Process().memory_info()
taken = own.vms if kind == "RLIMIT_AS" else own.data
resource.setrlimit(getattr(resource, kind), (taken + (200 << 20),) * 2)
sys.exit(main(JobFolder(Path(sys.argv[2]))))
"""


class Machine:
    """A made-up machine of 8192 bytes with control groups."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "proc/self").mkdir(parents=True)

    def member_of(self, *groups: str) -> None:
        (self._root / "proc/self/cgroup").write_text("".join(f"{group}\n" for group in groups))

    def group(self, path: str, version: int, limit: int | None, used: int = 296) -> None:
        """Of the used bytes, 200 are file pages."""
        folder = self._root / "sys/fs/cgroup" / ("memory" if version == 1 else "") / path
        folder.mkdir(parents=True, exist_ok=True)
        limit_file, used_file, prefix = memory._GROUP_FILES[version]
        (folder / limit_file).write_text(f"{UNLIMITED[version] if limit is None else limit}\n")
        (folder / used_file).write_text(f"{used}\n")
        stat = f"anon 96\n{prefix}inactive_file 150\n{prefix}active_file 50\nslab 7\n"
        (folder / "memory.stat").write_text(("inactive_file 1\nactive_file 1\n" if version == 1 else "") + stat)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8192, total=9000))
    monkeypatch.setattr(psutil.Process, "rlimit", lambda self, kind: (psutil.RLIM_INFINITY,) * 2)
    monkeypatch.setattr(memory, "_ROOT", tmp_path)
    return Machine(tmp_path)


def test_without_control_groups_the_machine_counts(machine: Machine) -> None:
    assert (available_memory(), total_memory()) == (8192, 9000)


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts(machine: Machine, version: int) -> None:
    machine.member_of("0::/" if version == 2 else "4:memory:/")
    machine.group("", version, None)
    assert (available_memory(), total_memory()) == (8192, 9000)
    machine.group("", version, 4096)
    assert available_memory() == 4000  # file pages are given back before anything is refused
    assert total_memory() == 4096
    machine.group("", version, 90)
    assert available_memory() == 0


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_of_nested_groups_counts(machine: Machine, version: int) -> None:
    machine.member_of("5:devices:/x", "0::/pod/box/step" if version == 2 else "3:cpu,memory:/pod/box/step")
    machine.group("pod/box/step", version, None)
    machine.group("pod/box", version, 4096, used=1200)
    machine.group("pod", version, 6000, used=1700)
    assert available_memory() == 3096
    machine.group("pod", version, 6000, used=5200)  # by its other containers
    assert available_memory() == 1000
    machine.group("pod/box/step", version, 700, used=250)
    assert available_memory() == 650


@pytest.mark.parametrize("group", ["0::/../../host", "0::/docker/0a1b", "4:memory:/docker/0a1b", "4:memory:/../.."])
def test_a_path_of_the_host_inside_a_container_means_the_group_at_the_mount(machine: Machine, group: str) -> None:
    machine.member_of("1:name=systemd:/x", group)
    machine.group("", 1 if "memory" in group else 2, 4096)
    assert available_memory() == 4000


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_the_process_count(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    own = psutil.Process().memory_info()
    limit = (own.vms if kind == "RLIMIT_AS" else own.data) + 100 * MIB
    unlimited = (psutil.RLIM_INFINITY,) * 2
    number = getattr(psutil, kind)
    monkeypatch.setattr(psutil.Process, "rlimit", lambda self, asked: (limit,) * 2 if asked == number else unlimited)
    assert 0 < available_memory() <= 101 * MIB and total_memory() <= limit


def test_weights_that_do_not_fit_are_refused_before_they_are_read(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_memory", lambda: memory.LEAST_MEMORY + 1000)
    with pytest.raises(ModelError, match="needs 200.4 MiB of free memory and there are 200.0 MiB; use a smaller model"):
        load_model(str(model_folder), device="cpu")


@pytest.fixture
def job(tmp_path: Path, model_folder: Path) -> JobFolder:
    names = [f"{number:064x}" for number in range(20)]
    conversations = {
        name: Conversation((Message("user", f"What is {name}?"), Message("assistant", "A name."))) for name in names
    }
    (tmp_path / "utility").mkdir()
    folder, samples = JobFolder(tmp_path / "job"), RunSamples(tuple(names))
    request = ScoringRequest("score", str(model_folder), "cpu", "float32", "auto", str(tmp_path / "utility"), samples)
    prepare_job(folder, request, conversations)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_scoring_in_too_little_memory_ends_in_one_line(job: JobFolder, kind: str) -> None:
    done = run(["-c", WORKER_IN_LITTLE, kind, str(job.folder)])
    assert (done.returncode, done.stderr) == (2, "")
    assert job.status().state == "failed"
    assert job.status().progress.message.startswith("running a model needs about 350.0 MiB of memory for its libraries")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "refusal"), [(300, "running a model needs about 350.0 MiB"), (700, "the run needs about 512")]
)
def test_scoring_in_a_small_container_refuses_and_is_not_killed(job: JobFolder, limit: int, refusal: str) -> None:
    """Where no control group can be made, the same worker runs under a limit of its data instead."""
    with control_group(limit * MIB) as enter:
        if enter is None:
            done, refusal = run(["-c", WORKER_IN_LITTLE, "RLIMIT_DATA", str(job.folder)]), "running a model needs"
        else:
            done = run(["-m", "delift_core.jobs.worker", "scoring", str(job.folder)], enter)
    assert (done.returncode, done.stderr) == (2, "")
    assert job.status().state == "failed" and job.status().progress.message.startswith(refusal)


@pytest.mark.slow
def test_scoring_in_a_container_that_is_large_enough_finishes(job: JobFolder) -> None:
    with control_group(2000 * MIB) as enter:
        done = run(["-m", "delift_core.jobs.worker", "scoring", str(job.folder)], enter)
    assert (done.returncode, job.status().state) == (0, "done")


def run(arguments: list[str], enter: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, preexec_fn=enter, check=False)


@contextmanager
def control_group(limit: int) -> Iterator[Callable[[], None] | None]:
    """Makes a control group with a memory limit in bytes, and yields what a child calls to enter it.

    Yields None where this machine allows none: without the right to make one, or without the memory controller.
    """
    mounts = {1: Path("/sys/fs/cgroup/memory"), 2: Path("/sys/fs/cgroup")}
    for version, mount in mounts.items():
        group = mount / f"delift-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
        if (group / memory._GROUP_FILES[version][0]).exists():
            break
        with suppress(OSError):
            group.rmdir()
    else:
        yield None
        return

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        (group / memory._GROUP_FILES[version][0]).write_text(str(limit))
        yield enter
    finally:
        group.rmdir()
