"""What runs on a Ray worker: one model, loaded once, and the blocks that the driver sends.

It needs no Ray itself; the driver turns the class into an actor. Errors reach the driver by name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from delift_core.errors import ScoringError
from delift_core.models import ModelIdentity, load_model
from delift_core.utility.blocks import Block, BlockScorer, Material, Step


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """Which model a worker has to load, on what, with how many threads."""

    identity: ModelIdentity
    device: Literal["cpu", "cuda"]
    threads: int


class RayWorker:
    """Scores blocks with a model of its own."""

    def __init__(self) -> None:
        self._scorer: BlockScorer | None = None

    def load(self, order: WorkerOrder, material: Material) -> None:
        """Loads the model.

        Raises:
            ModelError: it cannot be loaded here.
            ScoringError: what is found here under its name is another model.
        """
        import torch

        from delift_core.utility.scorer import Scorer

        torch.set_num_threads(order.threads)
        expected = order.identity
        loaded = load_model(expected.name, device=order.device, dtype=expected.dtype)
        if loaded.identity != expected:
            raise ScoringError(
                f"{expected.name!r} is revision {loaded.identity.revision[:12]} ({loaded.identity.dtype}) there and "
                f"{expected.revision[:12]} ({expected.dtype}) here; put the same model on every machine"
            )
        self._scorer = BlockScorer(Scorer(loaded), material)

    def score(self, block: Block) -> Iterator[Step]:
        """Scores a block; a step after every batch."""
        assert self._scorer is not None, "load comes first"
        yield from self._scorer.work([block])
