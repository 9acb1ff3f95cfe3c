"""Where a run is scored: the devices of this machine, or a Ray cluster."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from delift_core.errors import ScoringError
from delift_core.models.devices import DeviceName, DtypeName, offloaded_bytes, weights_words
from delift_core.models.loading import ModelIdentity, load_on_every_device, read_outline

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from delift_core.scoring.scoring_run import Backend

BackendName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where blocks are scored. Results agree within rounding between processors and numbers of threads.

    Attributes:
        ray_address: of a running cluster; None starts one on this machine.
        ray_threads: cores of each worker; None takes as few as the cluster's memory allows.
    """

    backend: BackendName = "local"
    ray_address: str | None = None
    ray_threads: int | None = None


HERE = Placement()
RAY_MISSING = "scoring on Ray needs its package: run pip install -r requirements-ray.txt"


def ray_installed() -> bool:
    """Whether Ray is installed; the package is not imported, which takes a second."""
    return importlib.util.find_spec("ray") is not None


def ensure_placeable(placement: Placement) -> None:
    """Raises if a placement needs a package that is not installed.

    Raises:
        ScoringError: Ray is not installed.
    """
    if placement.backend == "ray" and not ray_installed():
        raise ScoringError(RAY_MISSING)


@dataclass(frozen=True, slots=True)
class ReadyBackend:
    """A backend with its model's tokenizer and identity.

    Attributes:
        device: for display, such as "2 × cuda".
        memory_here: bytes that scoring takes of this computer's memory.
        weights: what is used: the size, precision and devices of the weights, in a few words.
        is_spread: whether they lie on several devices.
        whole_sequences: whether the model keeps nothing of an example, which then runs again before every row.
    """

    backend: "Backend"
    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity
    device: str
    memory_here: int
    whole_sequences: bool = False
    weights: str = ""
    is_spread: bool = False


@contextmanager
def ready_backend(placement: Placement, model: str, *, device: DeviceName, dtype: DtypeName) -> Iterator[ReadyBackend]:
    """Loads the model in this process, or starts the workers of a cluster.

    Raises:
        ModelError: the model cannot be loaded.
        ScoringError: its architecture cannot be scored, or there is no cluster.
    """
    if placement.backend == "ray":
        with _on_ray(placement, model, device, dtype) as ready:
            yield ready
    else:
        yield _here(model, device, dtype)


def _here(model: str, device: DeviceName, dtype: DtypeName) -> ReadyBackend:
    from delift_core.scoring.forecast import memory_needed
    from delift_core.scoring.scorer import Scorer
    from delift_core.scoring.scoring_run import backend_on

    loaded = load_on_every_device(model, device=device, dtype=dtype)
    first = loaded[0]
    device_name = str(first.device) if len(loaded) == 1 else f"{len(loaded)} × {first.device.type}"
    scorers = [Scorer(model) for model in loaded]
    on_gpu = first.device.type == "cuda"
    memory = memory_needed(0) + offloaded_bytes(first.model) if on_gpu else memory_needed(first.identity.weight_bytes)
    return ReadyBackend(
        backend_on(scorers),
        first.tokenizer,
        first.identity,
        device_name,
        memory,
        scorers[0].sharing == "whole",
        weights_words(first.model, first.identity.dtype, len(loaded)),
        first.is_spread,
    )


@contextmanager
def _on_ray(placement: Placement, model: str, device: DeviceName, dtype: DtypeName) -> Iterator[ReadyBackend]:
    from delift_core.jobs.ray.backend import RayBackend
    from delift_core.jobs.ray.cluster import choose_device, connected, plan_workers
    from delift_core.scoring.forecast import memory_needed

    with connected(placement.ray_address) as nodes:
        kind = choose_device(device, nodes)
        precision = dtype if dtype != "auto" else "bfloat16" if kind == "cuda" else "float32"
        outline = read_outline(model, precision)
        pool = plan_workers(kind, nodes, outline.identity, placement.ray_threads)
        backend, needed = RayBackend(pool, outline.identity), memory_needed(0)
        yield ReadyBackend(backend, outline.tokenizer, outline.identity, str(pool), needed)
