"""Connects to a Ray cluster or starts one, and plans how many workers it has room for."""

import importlib
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import delift_core
from delift_core.errors import ScoringError
from delift_core.jobs.backends import RAY_MISSING
from delift_core.models.devices import DeviceName
from delift_core.models.loading import ModelIdentity
from delift_core.scoring.forecast import memory_needed
from delift_core.system.processes import LIBRARY_ENVIRONMENT

RayDevice = Literal["cpu", "cuda"]

_OBJECT_STORE = 512 << 20  # of a cluster that is started here; results are small
_CONNECT_SECONDS = 5.0
_LIBRARIES = 1 << 30  # bytes that a worker process takes besides the model


@dataclass(frozen=True, slots=True)
class Node:
    """The resources of one machine of the cluster; `memory` in bytes."""

    cores: int
    gpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The number of workers of a run, and the device and threads of each."""

    device: RayDevice
    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.device}, {self.workers} Ray workers"


def ray_library() -> Any:
    """The package ray.

    Raises:
        ScoringError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ScoringError(RAY_MISSING) from error


@contextmanager
def connected(
    address: str | None, *, cores: int | None = None, object_store: int = _OBJECT_STORE, folder: Path | None = None
) -> Iterator[tuple[Node, ...]]:
    """Connects to a cluster, or starts one on this machine for the length of the block; yields its machines.

    A connection that this process already has is used, and left open.

    Args:
        address: HOST:PORT, or "auto" for the cluster that this machine belongs to; None starts one.
        cores: of a cluster that is started; default: all.
        object_store: bytes of shared memory of a cluster that is started.
        folder: short path for the files of a cluster that is started.

    Raises:
        ScoringError: Ray is not installed, or no cluster answers.
    """
    ray = ray_library()
    if ray.is_initialized():
        yield _nodes(ray)
        return
    if address and address != "auto":
        _check_address(address)
    own: dict[str, Any] = {} if address else {"num_cpus": cores, "object_store_memory": object_store}
    if not address:  # a private cluster listens on this machine only
        own |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": folder and str(folder)}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with _own_signals():
        try:
            ray.init(address=address, runtime_env=_code(), log_to_driver=False, logging_level="ERROR", **own)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise ScoringError(_no_cluster(address, error)) from error
    try:
        yield _nodes(ray)
    finally:
        ray.shutdown()


def choose_device(device: DeviceName, nodes: Sequence[Node]) -> RayDevice:
    """The device of the workers: GPUs, if the cluster has any and the user does not ask for the CPU.

    Raises:
        ScoringError: the cluster has no such device.
    """
    gpus = sum(node.gpus for node in nodes)
    if device == "mps" or (device == "cuda" and not gpus):
        raise ScoringError(f"no machine of the Ray cluster offers the device {device!r}; use --device auto or cpu")
    return "cuda" if gpus and device != "cpu" else "cpu"


def plan_workers(device: RayDevice, nodes: Sequence[Node], identity: ModelIdentity, threads: int | None) -> WorkerPlan:
    """As many workers as the cluster has room for: one per GPU or, on CPUs, with as few cores as the memory allows.

    Args:
        threads: cores of each worker, if the user has set them; always 1 on GPUs.

    Raises:
        ScoringError: no machine has room for a worker.
    """
    if device == "cuda":
        return WorkerPlan("cuda", sum(min(node.gpus, node.cores) for node in nodes), 1)
    need = memory_needed(identity.weight_bytes) + _LIBRARIES
    if threads is None:
        threads = max((math.ceil(node.cores / max(1, node.memory // need)) for node in nodes if node.cores), default=1)
    workers = sum(node.cores // threads for node in nodes)
    if not workers:
        most = max((node.cores for node in nodes), default=0)
        raise ScoringError(f"no machine of the Ray cluster has {threads} cores (the largest has {most}); ask for fewer")
    return WorkerPlan("cpu", workers, threads)


def _nodes(ray: Any) -> tuple[Node, ...]:
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(
        Node(int(each.get("CPU", 0)), int(each.get("GPU", 0)), int(each.get("memory", 0))) for each in resources
    )


def _code() -> dict[str, Any]:
    """This package and its environment variables, so that the workers run the same code as the driver."""
    return {"py_modules": [str(Path(delift_core.__file__).parent)], "env_vars": dict(LIBRARY_ENVIRONMENT)}


def _check_address(address: str) -> None:
    """Tries to connect to a cluster, because Ray itself would keep trying for minutes."""
    found = re.fullmatch(r"([\w.-]+):(\d{1,5})", address)
    if not found:
        raise ScoringError(f"the address {address!r} of a Ray cluster is not understood; write HOST:PORT, or auto")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ScoringError(_no_cluster(address, error)) from error


def _no_cluster(address: str | None, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [type(error).__name__])[0]
    if address:
        return f"no Ray cluster answers at {address} ({reason}); start it with `ray start --head`"
    return f"Ray could not start here ({reason}); give the address of a running cluster, or score without Ray"


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restores the handler of SIGTERM, which Ray replaces by one that ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
