"""Blocks as tasks on a Ray cluster: each worker is an actor that loads the model once and scores the blocks it gets.

The driver sends token ids and receives statistics, so the machines need no shared disk. The model must have the same
name on each, and its identity is checked there. The package is sent with the job: workers run the driver's code.

    driver   blocks -> worker, at most two queued each        steps <- worker, one per batch, the last with the results

If a worker dies, its queued blocks are scored by another one, and a new worker is started.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from delift_core.errors import DeliftError, ScoringError
from delift_core.jobs.ray.cluster import WorkerPlan, ray_library
from delift_core.models.loading import ModelIdentity, load_model
from delift_core.scoring.blocks import ROWS_PER_BLOCK, Block, BlockScorer, ScoringInput, ScoringStep


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """The model that a worker has to load, its device and number of threads."""

    identity: ModelIdentity
    device: Literal["cpu", "cuda"]
    threads: int


class RayWorker:
    """Scores blocks with a model of its own."""

    def __init__(self) -> None:
        self._scorer: BlockScorer | None = None

    def load(self, order: WorkerOrder, material: ScoringInput) -> None:
        """Loads the model.

        Raises:
            ModelError: it cannot be loaded here.
            ScoringError: this machine has another model of that name.
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

    def score(self, block: Block) -> Iterator[ScoringStep]:
        """Scores a block; a step after every batch."""
        assert self._scorer is not None, "load comes first"
        yield from self._scorer.work([block])


_QUEUED_BLOCKS = 2  # per worker: one to score, and one so that it need not wait for the driver's disk
_WAIT_SECONDS = 0.2
_MAX_DEATHS = 3  # per worker since the last finished block, before the run gives up


class RayBackend:
    """Scores blocks on the Ray cluster that this process is connected to."""

    def __init__(self, plan: WorkerPlan, identity: ModelIdentity) -> None:
        """Args:
        identity: of the model that every worker must load.
        """
        self._plan = plan
        self._order = WorkerOrder(identity, plan.device, plan.threads)

    @property
    def rows_per_block(self) -> int:
        """As for a run on such a device of this machine, so that both share their blocks."""
        return ROWS_PER_BLOCK[self._plan.device]

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        """Scores blocks on every worker; yields steps as they arrive, and empty ones while there is none.

        Raises:
            ScoringError: a worker cannot load the model, has another one, or cannot score; or too many workers died.
        """
        pool = _WorkerPool(self._plan, self._order, material, blocks)
        try:
            while pool.busy:
                yield pool.next_step()
        finally:
            pool.stop()


@dataclass(slots=True, eq=False)
class _Task:
    """A block that was given to a worker, and the counts of its steps so far."""

    block: Block
    steps: Any
    tokens: int = 0
    pairs: int = 0
    alone: int = 0


@dataclass(slots=True, eq=False)
class _Worker:
    """An actor (`loading` until its model is ready), and its queued blocks in the order in which it scores them."""

    actor: Any
    loading: Any
    queue: deque[_Task] = field(default_factory=deque)

    @property
    def pending(self) -> Any:
        """The result that it will produce next, if any."""
        return self.loading or (self.queue[0].steps if self.queue else None)


class _WorkerPool:
    """The workers of one run, and the blocks that still have to be assigned."""

    def __init__(self, plan: WorkerPlan, order: WorkerOrder, material: ScoringInput, blocks: Iterable[Block]) -> None:
        self._ray = ray_library()
        gpus = 1 if plan.device == "cuda" else 0
        self._actor = self._ray.remote(RayWorker).options(num_cpus=plan.threads, num_gpus=gpus, max_restarts=0)
        self._order, self._material = order, self._ray.put(material)
        self._blocks, self._returned = iter(blocks), deque[Block]()
        self._workers: list[_Worker] = []
        self._deaths, self._max_deaths = 0, _MAX_DEATHS * plan.workers
        for _ in range(plan.workers):
            self._start_worker()
        self.busy = True

    def next_step(self) -> ScoringStep:
        """Assigns blocks, and waits a moment for a step."""
        self._assign()
        pending = {worker.pending: worker for worker in self._workers if worker.pending is not None}
        self.busy = bool(pending)
        ready = self._ray.wait(list(pending), num_returns=1, timeout=_WAIT_SECONDS)[0] if pending else []
        return self._receive(pending[ready[0]]) if ready else ScoringStep()

    def stop(self) -> None:
        """Kills every worker."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _start_worker(self) -> None:
        actor = self._actor.remote()
        self._workers.append(_Worker(actor, actor.load.remote(self._order, self._material)))

    def _assign(self) -> None:
        for count in range(1, _QUEUED_BLOCKS + 1):  # one block for each worker before a second for any
            for worker in self._workers:
                if worker.loading is None and len(worker.queue) < count and (block := self._next_block()):
                    steps = worker.actor.score.options(num_returns="streaming").remote(block)
                    worker.queue.append(_Task(block, steps))

    def _next_block(self) -> Block | None:
        return self._returned.popleft() if self._returned else next(self._blocks, None)

    def _receive(self, worker: _Worker) -> ScoringStep:
        failures = self._ray.exceptions
        try:
            if worker.loading is not None:
                self._ray.get(worker.loading)
                worker.loading = None
                return ScoringStep()
            task = worker.queue[0]
            step: ScoringStep = self._ray.get(next(task.steps))
        except failures.RayTaskError as error:
            raise _as_scoring_error(error) from error
        except (failures.RayActorError, failures.ObjectLostError, StopIteration):
            return self._replace(worker)
        task.tokens += step.tokens
        task.pairs += step.pairs
        task.alone += step.alone
        if step.finished:
            worker.queue.popleft()
            self._deaths = 0
        return step

    def _replace(self, worker: _Worker) -> ScoringStep:
        """Takes back the blocks of a dead worker, and starts another one.

        Returns:
            A step with negative counts, for what will be scored again.
        """
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # alive, if only its result was lost
        self._deaths += 1
        if self._deaths > self._max_deaths:
            raise ScoringError(
                f"Ray workers died {self._deaths} times without finishing a block (out of memory, perhaps: give fewer "
                "workers more threads each with --ray-threads); what was finished is kept, so give the command again"
            )
        self._returned.extend(task.block for task in worker.queue)
        self._start_worker()
        tokens, pairs, alone = (
            -sum(getattr(task, name) for task in worker.queue) for name in ("tokens", "pairs", "alone")
        )
        return ScoringStep(tokens, pairs, alone=alone)


def _as_scoring_error(error: Any) -> ScoringError:
    """The error that an actor raised, as one line."""
    cause = error.cause
    if isinstance(cause, DeliftError):
        return ScoringError(f"a Ray worker could not go on: {cause}")
    reason = (str(cause).splitlines() or [""])[0]
    return ScoringError(f"a Ray worker failed ({type(cause).__name__}: {reason}); what was finished is kept")
