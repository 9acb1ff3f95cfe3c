"""Blocks as tasks on a Ray cluster: one actor per worker loads the model once and scores what the driver deals out.

The driver sends token ids and takes back statistics, so that the machines need no disk in common; the model has to be
found by the same name on each, and is checked there. This package travels with the job: workers run the driver's code.

    driver   blocks -> worker, at most two in hand each        steps <- worker, one a batch, the last with the numbers

A worker that dies takes with it only what it had in hand: another scores it, and a new worker is started.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from delift_core.errors import DeliftError, ScoringError
from delift_core.jobs.ray.cluster import Team, ray_library
from delift_core.models.loading import ModelIdentity, load_model
from delift_core.scoring.blocks import ROWS_PER_BLOCK, Block, BlockScorer, Material, Step


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

        from delift_core.scoring.scorer import Scorer

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


_IN_HAND = 2  # blocks per worker: one under way, and one so that it need not wait for the driver's disk
_WAIT_SECONDS = 0.2
_PATIENCE = 3  # deaths per worker since the last finished block, before the run gives up


class RayBackend:
    """The workers of a Ray cluster that this process is connected to."""

    def __init__(self, team: Team, identity: ModelIdentity) -> None:
        """Args:
        identity: what every worker has to find when it loads the model.
        """
        self._team = team
        self._order = WorkerOrder(identity, team.device, team.threads)

    @property
    def rows_per_block(self) -> int:
        """As suits the workers' devices: the blocks are those of a run on such a device here."""
        return ROWS_PER_BLOCK[self._team.device]

    def work(self, material: Material, blocks: Iterable[Block]) -> Generator[Step, None, None]:
        """Scores blocks on every worker; steps come as they arrive, and empty ones while nothing does.

        Raises:
            ScoringError: a worker cannot load the model, finds another one, or cannot score; or too many died.
        """
        shift = _Shift(self._team, self._order, material, blocks)
        try:
            while shift.open:
                yield shift.next_step()
        finally:
            shift.dismiss()


@dataclass(slots=True, eq=False)
class _Task:
    """A block in a worker's hand, and what it has told of it so far."""

    block: Block
    steps: Any
    tokens: int = 0
    pairs: int = 0
    alone: int = 0


@dataclass(slots=True, eq=False)
class _Worker:
    """An actor, `loading` until it is ready, and its blocks in the order in which it scores them."""

    actor: Any
    loading: Any
    hand: deque[_Task] = field(default_factory=deque)

    @property
    def watched(self) -> Any:
        """What it will say something through next, if anything."""
        return self.loading or (self.hand[0].steps if self.hand else None)


class _Shift:
    """The workers of one run, and what is still to be dealt out."""

    def __init__(self, team: Team, order: WorkerOrder, material: Material, blocks: Iterable[Block]) -> None:
        self._ray = ray_library()
        gpus = 1 if team.device == "cuda" else 0
        self._actor = self._ray.remote(RayWorker).options(num_cpus=team.threads, num_gpus=gpus, max_restarts=0)
        self._order, self._material = order, self._ray.put(material)
        self._blocks, self._returned = iter(blocks), deque[Block]()
        self._workers: list[_Worker] = []
        self._deaths, self._patience = 0, _PATIENCE * team.workers
        for _ in range(team.workers):
            self._hire()
        self.open = True

    def next_step(self) -> Step:
        """Deals out blocks, and waits a moment for a worker to say something."""
        self._deal()
        watched = {worker.watched: worker for worker in self._workers if worker.watched is not None}
        self.open = bool(watched)
        ready = self._ray.wait(list(watched), num_returns=1, timeout=_WAIT_SECONDS)[0] if watched else []
        return self._hear(watched[ready[0]]) if ready else Step()

    def dismiss(self) -> None:
        """Ends every worker at once."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _hire(self) -> None:
        actor = self._actor.remote()
        self._workers.append(_Worker(actor, actor.load.remote(self._order, self._material)))

    def _deal(self) -> None:
        for count in range(1, _IN_HAND + 1):  # one for each before a second for any
            for worker in self._workers:
                if worker.loading is None and len(worker.hand) < count and (block := self._next_block()):
                    steps = worker.actor.score.options(num_returns="streaming").remote(block)
                    worker.hand.append(_Task(block, steps))

    def _next_block(self) -> Block | None:
        return self._returned.popleft() if self._returned else next(self._blocks, None)

    def _hear(self, worker: _Worker) -> Step:
        failures = self._ray.exceptions
        try:
            if worker.loading is not None:
                self._ray.get(worker.loading)
                worker.loading = None
                return Step()
            task = worker.hand[0]
            step: Step = self._ray.get(next(task.steps))
        except failures.RayTaskError as error:
            raise _in_words(error) from error
        except (failures.RayActorError, failures.ObjectLostError, StopIteration):
            return self._replace(worker)
        task.tokens += step.tokens
        task.pairs += step.pairs
        task.alone += step.alone
        if step.finished:
            worker.hand.popleft()
            self._deaths = 0
        return step

    def _replace(self, worker: _Worker) -> Step:
        """Takes back what a dead worker had in hand, and starts another one.

        Returns:
            A step back by what it had told of blocks that will have to be scored again.
        """
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # where only its answer was lost, it still lives
        self._deaths += 1
        if self._deaths > self._patience:
            raise ScoringError(
                f"Ray workers died {self._deaths} times without finishing a block (out of memory, perhaps: give fewer "
                "workers more threads each with --ray-threads); what was finished is kept, so give the command again"
            )
        self._returned.extend(task.block for task in worker.hand)
        self._hire()
        tokens, pairs, alone = (
            -sum(getattr(task, name) for task in worker.hand) for name in ("tokens", "pairs", "alone")
        )
        return Step(tokens, pairs, alone=alone)


def _in_words(error: Any) -> ScoringError:
    """What an actor raised, as one line."""
    cause = error.cause
    if isinstance(cause, DeliftError):
        return ScoringError(f"a Ray worker could not go on: {cause}")
    reason = (str(cause).splitlines() or [""])[0]
    return ScoringError(f"a Ray worker failed ({type(cause).__name__}: {reason}); what was finished is kept")
