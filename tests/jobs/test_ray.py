"""Scoring on a real Ray cluster of two workers on this machine, beside the same run in this process."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import psutil
import pytest
import ray
import torch

from delift_core.errors import ModelError, ScoringError
from delift_core.jobs.backends import HERE, Placement
from delift_core.jobs.preparation import ScoringRequest
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.ray.backend import RayWorker, WorkerOrder, _as_scoring_error
from delift_core.jobs.ray.cluster import Node, WorkerPlan, _check_address, choose_device, connected, plan_workers
from delift_core.jobs.scoring_job import Callbacks, run_scoring_job
from delift_core.models.devices import DtypeName
from delift_core.models.loading import ModelIdentity, read_outline
from delift_core.models.prompts import Rendering
from delift_core.samples import Conversation, Message, hash_conversation
from delift_core.scoring import blocks as blocks_module
from delift_core.scoring.blocks import ScoringInput
from delift_core.scoring.forecast import RunSamples
from tests.rounding import assert_same_numbers

pytestmark = pytest.mark.ray

Thing, Result = TypeVar("Thing"), TypeVar("Result")
ON_RAY = Placement("ray", ray_threads=1)
TEXTS = [(f"Add {i} to {i + 1}." + "?" * (i % 5), f"{i} + {i + 1} = {2 * i + 1}") for i in range(24)]
ROWS = {
    hash_conversation(row): row
    for row in (Conversation((Message("user", prompt), Message("assistant", text))) for prompt, text in TEXTS)
}
HASHES = tuple(ROWS)
SAMPLES = RunSamples(HASHES[:20], target=HASHES[20:23], existing=HASHES[23:])
PAIRS = 20 * 23 + 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores; what it needs on disk lies under a short path, for the sake of its sockets."""
    with (
        TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
        connected(None, cores=2, object_store=100 << 20, folder=Path(folder)) as nodes,
    ):
        assert [node.cores for node in nodes] == [2]
        yield


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(blocks_module.ROWS_PER_BLOCK, "cpu", 8)
    monkeypatch.setattr("delift_core.jobs.progress._REPORT_SECONDS", 0.0)


class Job:
    """A job of one request, with all that it said and wrote."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder = folder
        self.request = ScoringRequest("score", str(model), "cpu", "float32", "auto", str(folder), SAMPLES)
        self.said: list[JobProgress] = []

    def run(
        self,
        placement: Placement = ON_RAY,
        *,
        stop: Callable[[], bool] = lambda: False,
        after: Callable[[], None] = lambda: None,
    ) -> JobProgress:
        def publish(progress: JobProgress) -> None:
            self.said.append(progress)
            after()

        return run_scoring_job(replace(self.request, placement=placement), ROWS, Callbacks(publish, stop))

    def files(self) -> dict[str, bytes]:
        """Everything that the job wrote."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def pairs(self) -> int:
        return sum(len(np.load(io.BytesIO(data))) for name, data in self.files().items() if "/pairs/" in name)


@pytest.fixture
def job(model_folder: Path, tmp_path: Path) -> Job:
    return Job(model_folder, tmp_path / "utility")


@pytest.fixture(scope="module")
def local(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the same run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks_module.ROWS_PER_BLOCK, "cpu", 8)
        job = Job(model_folder, tmp_path_factory.mktemp("local"))
        assert job.run(HERE).phase == "done"
    return job.files()


def scoring_workers() -> list[psutil.Process]:
    """Processes of this cluster that score or load a model."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [child] if "ray::RayWorker" in child.name() else []
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.usefixtures("cluster")
def test_two_workers_write_the_same_files_as_this_process(job: Job, local: dict[str, bytes]) -> None:
    counted: list[int] = []
    last = job.run(after=lambda: counted.append(len(scoring_workers())))
    assert_same_numbers(job.files(), local)
    assert max(counted) == 2
    assert (last.phase, last.done, last.total, last.seconds_left) == ("done", PAIRS, PAIRS, 0)
    assert (last.facts.device, last.facts.dtype) == ("cpu, 2 Ray workers", "float32")
    assert last.facts.rendering == Rendering("chat", "prefix")
    counts = [progress.done for progress in job.said]
    assert counts == sorted(counts) and len(set(counts)) > 20
    wait_until(lambda: not scoring_workers())
    assert job.run(after=lambda: counted.append(-len(scoring_workers()))).done == PAIRS
    assert min(counted) == 0  # nothing was left to score, and nobody was started for it


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
def test_in_every_precision_the_files_are_those_of_this_process(job: Job, dtype: DtypeName, tmp_path: Path) -> None:
    here = Job(Path(job.request.model), tmp_path / "here")
    job.request = replace(job.request, dtype=dtype, samples=RunSamples(HASHES[:10]))
    here.request = replace(job.request, utility_folder=str(here.folder))
    assert here.run(HERE).facts.dtype == job.run().facts.dtype == dtype
    assert_same_numbers(job.files(), here.files(), rtol=0.05)  # roundings to bfloat16, 2**-8 each, may fall elsewhere


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_changes_nothing_but_the_time(job: Job, local: dict[str, bytes]) -> None:
    killed: list[int] = []

    def kill() -> None:
        if not killed and job.said[-1].done > 30:
            victim = scoring_workers()[0]
            killed.append(victim.pid)
            victim.send_signal(signal.SIGKILL)

    last = job.run(after=kill)
    assert killed and (last.phase, last.done) == ("done", PAIRS)
    assert last.seconds_left == 0  # what was scored twice was counted once
    assert_same_numbers(job.files(), local)


@pytest.mark.usefixtures("cluster")
def test_cancelled_it_keeps_finished_blocks_and_goes_on_anywhere(job: Job, local: dict[str, bytes]) -> None:
    last = job.run(stop=lambda: job.said[-1].done > 100)
    wait_until(lambda: not scoring_workers())
    kept = job.files()
    assert last.phase == "cancelled"
    assert 100 - 16 * 2 <= last.done == job.pairs() < PAIRS
    assert kept.keys() < local.keys()
    assert_same_numbers(kept, {name: local[name] for name in kept})
    assert job.run(HERE).phase == "done"
    assert_same_numbers(job.files(), local)


@pytest.mark.usefixtures("cluster")
def test_the_command_joins_a_running_cluster(job: Job, model_folder: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text("\n".join(json.dumps({"prompt": prompt, "response": text}) for prompt, text in TEXTS[:6]))
    address = ray.get_runtime_context().gcs_address
    command = [
        sys.executable,
        "-m",
        "delift_core",
        "score",
        str(pool),
        "--json",
        "--workspace",
        str(tmp_path / "other"),
    ]
    command += ["--model", str(model_folder), "--device", "cpu", "--dtype", "float32"]
    command += ["--backend", "ray", "--ray-address", address, "--ray-threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 36
    job.request = replace(job.request, samples=RunSamples(HASHES[:6]))
    job.run(HERE)
    written = {path.name: path.read_bytes() for path in (tmp_path / "other" / "utility").rglob("*.npy")}
    here = {Path(name).name: data for name, data in job.files().items() if name.endswith(".npy")}
    assert_same_numbers(written, here)


def test_a_worker_that_finds_another_model_refuses_it(model_folder: Path) -> None:
    identity = replace(read_outline(str(model_folder), "float32").identity, revision="f" * 40)
    order = WorkerOrder(identity, "cpu", torch.get_num_threads())
    with pytest.raises(ScoringError, match="there and ffffffffffff \\(float32\\) here; put the same model on every"):
        RayWorker().load(order, ScoringInput({}, ()))


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (ModelError("no such model; name another"), "a Ray worker could not go on: no such model; name another"),
        (KeyError("x"), "a Ray worker failed (KeyError: 'x'); what was finished is kept"),
    ],
)
def test_what_a_worker_raises_is_said_in_one_line(cause: Exception, expected: str) -> None:
    assert str(_as_scoring_error(SimpleNamespace(cause=cause))) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 (Connection refused); start it with `ray start --head`"),
        ("127.0.0.1", "the address '127.0.0.1' of a Ray cluster is not understood; write HOST:PORT, or auto"),
        (
            "ray://127.0.0.1:10001",
            "the address 'ray://127.0.0.1:10001' of a Ray cluster is not understood; write HOST:PORT, or auto",
        ),
    ],
)
def test_an_address_at_which_nothing_answers_is_said_at_once(address: str, expected: str) -> None:
    with pytest.raises(ScoringError) as caught:
        _check_address(address)
    assert str(caught.value).startswith(expected)


def test_without_ray_the_message_says_how_to_install_it(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ScoringError, match="^scoring on Ray needs its package: run pip install -r requirements-ray.txt$"
    ):
        job.run()


IDENTITY = ModelIdentity("m", "r", "float32", 512, 1 << 30)  # 4 GiB of weights, so 9 GiB a worker


@pytest.mark.parametrize(
    ("nodes", "threads", "expected"),
    [
        ([Node(2, 0, 20 << 30)], None, WorkerPlan("cpu", 2, 1)),
        ([Node(8, 0, 20 << 30)], None, WorkerPlan("cpu", 2, 4)),
        ([Node(8, 0, 1 << 30)], None, WorkerPlan("cpu", 1, 8)),
        ([Node(8, 0, 20 << 30), Node(4, 0, 40 << 30)], None, WorkerPlan("cpu", 3, 4)),
        ([Node(8, 0, 20 << 30), Node(4, 0, 40 << 30)], 3, WorkerPlan("cpu", 3, 3)),
    ],
)
def test_workers_take_as_few_cores_as_the_memory_allows(
    nodes: list[Node], threads: int | None, expected: WorkerPlan
) -> None:
    assert plan_workers("cpu", nodes, IDENTITY, threads) == expected


def test_gpus_are_taken_where_there_are_some() -> None:
    nodes = [Node(8, 2, 1), Node(8, 0, 1), Node(1, 4, 1)]
    assert plan_workers(choose_device("auto", nodes), nodes, IDENTITY, None) == WorkerPlan("cuda", 3, 1)
    assert (choose_device("cpu", nodes), choose_device("auto", nodes[1:2])) == ("cpu", "cpu")
    with pytest.raises(ScoringError, match="offers the device 'cuda'; use --device auto or cpu"):
        choose_device("cuda", nodes[1:2])
    with pytest.raises(ScoringError, match="has 16 cores \\(the largest has 8\\); ask for fewer"):
        plan_workers("cpu", nodes, IDENTITY, 16)
