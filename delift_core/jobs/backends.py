"""From where a run is to be scored to a backend that is ready to score it."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from delift_core.errors import ScoringError
from delift_core.models.loading import DeviceName, DtypeName, ModelIdentity, load_on_every_device, read_outline

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from delift_core.scoring.scoring_run import Backend

BackendName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where blocks are scored. Numbers agree within rounding, whatever processors and threads score them.

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
    """Whether the optional package is there (it is not imported: that takes a second)."""
    return importlib.util.find_spec("ray") is not None


def ensure_placeable(placement: Placement) -> None:
    """Refuses a placement that this machine lacks the package for.

    Raises:
        ScoringError: Ray is not installed.
    """
    if placement.backend == "ray" and not ray_installed():
        raise ScoringError(RAY_MISSING)


@dataclass(frozen=True, slots=True)
class ReadyBackend:
    """A backend, and what is known of its model.

    Attributes:
        device: in words.
        weights_here: bytes of the weights that this process holds.
    """

    backend: "Backend"
    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity
    device: str
    weights_here: int


@contextmanager
def ready_backend(placement: Placement, model: str, *, device: DeviceName, dtype: DtypeName) -> Iterator[ReadyBackend]:
    """Loads the model, or joins those who will.

    Raises:
        ModelError: the model cannot be loaded.
        ScoringError: its family cannot be scored, or there is no cluster.
    """
    if placement.backend == "ray":
        with _on_ray(placement, model, device, dtype) as ready:
            yield ready
    else:
        yield _here(model, device, dtype)


def _here(model: str, device: DeviceName, dtype: DtypeName) -> ReadyBackend:
    from delift_core.scoring.devices import backend_on
    from delift_core.scoring.scorer import Scorer

    loaded = load_on_every_device(model, device=device, dtype=dtype)
    first = loaded[0]
    words = str(first.device) if len(loaded) == 1 else f"{len(loaded)} × {first.device.type}"
    return ReadyBackend(
        backend_on([Scorer(one) for one in loaded]), first.tokenizer, first.identity, words, first.identity.weight_bytes
    )


@contextmanager
def _on_ray(placement: Placement, model: str, device: DeviceName, dtype: DtypeName) -> Iterator[ReadyBackend]:
    from delift_core.jobs.ray.backend import RayBackend
    from delift_core.jobs.ray.cluster import choose_device, connected, form_team

    with connected(placement.ray_address) as nodes:
        kind = choose_device(device, nodes)
        precision = dtype if dtype != "auto" else "bfloat16" if kind == "cuda" else "float32"
        outline = read_outline(model, precision)
        team = form_team(kind, nodes, outline.identity, placement.ray_threads)
        yield ReadyBackend(RayBackend(team, outline.identity), outline.tokenizer, outline.identity, str(team), 0)
