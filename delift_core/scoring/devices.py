"""Scoring on several devices of one machine, or several cores of a processor: one thread each, with a common queue.

Threads suffice because Python releases its lock while a device computes. Every GPU holds the whole model; cores share
one. A core that scores its own blocks with single-threaded matrix products is faster than cores that split each product
(benchmarks/README.md), and its numbers do not depend on the number of cores.
"""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress

import torch

from delift_core.scoring.batches import free_bytes
from delift_core.scoring.blocks import ROWS_PER_BLOCK, Block, BlockScorer, ScoringInput, ScoringStep
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.scoring_run import Backend, LocalBackend

_WAIT_SECONDS = 0.2
_STEPS_AHEAD = 64  # results that may wait to be written


class DevicesBackend:
    """One scorer for each device, or for each core."""

    def __init__(self, scorers: Sequence[Scorer], *, threads_each: int | None = None) -> None:
        """Args:
        scorers: at least one, of equal models; each on its own device, or the same one for every core.
        threads_each: processor threads in the matrix products of each scorer; None does not change them.
        """
        self._scorers = tuple(scorers)
        self._threads_each = threads_each

    @property
    def rows_per_block(self) -> int:
        """The block size for this kind of device."""
        return ROWS_PER_BLOCK.get(self._scorers[0].loaded.device.type, 128)

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        """Scores blocks on all devices in parallel; yields steps in the order in which they happen.

        Raises:
            Exception: any exception of a device's thread; the other threads end within a batch.
        """
        work = _WorkQueue(iter(blocks))
        threads = [
            threading.Thread(target=work.score, args=(BlockScorer(scorer, material),), daemon=True)
            for scorer in self._scorers
        ]
        before = torch.get_num_threads()
        if self._threads_each is not None:
            torch.set_num_threads(self._threads_each)  # new threads inherit it
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or not work.steps.empty():
                yield work.next_step()
        finally:
            work.stopped.set()
            for thread in threads:
                thread.join()
            torch.set_num_threads(before)


def backend_on(scorers: Sequence[Scorer]) -> Backend:
    """The fastest backend: all devices, or all cores of a processor, in parallel.

    Args:
        scorers: at least one, of equal models, each on its own device.
    """
    first = scorers[0]
    if len(scorers) > 1:
        return DevicesBackend(scorers)
    if first.loaded.device.type == "cpu" and (cores := cores_at_work(first)) > 1:
        return DevicesBackend([first] * cores, threads_each=1)
    return LocalBackend(first)


def cores_at_work(scorer: Scorer) -> int:
    """The number of cores that score their own blocks with one model on the CPU: as many as torch has threads, fewer if
    their batches would need over half of the free memory, and one if the model is stateful."""
    if scorer.is_stateful:
        return 1
    memory = free_bytes(scorer.loaded.device) // 2
    return max(1, min(torch.get_num_threads(), memory // scorer.batch_bytes))


class _WorkQueue:
    """Shared by the threads: the remaining blocks, and the steps that they report."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self.steps: queue.Queue[ScoringStep | BaseException] = queue.Queue(_STEPS_AHEAD)
        self.stopped = threading.Event()
        self._blocks = blocks
        self._lock = threading.Lock()

    def score(self, scorer: BlockScorer) -> None:
        """Run by each thread: scores block after block until none is left or the run is stopped."""
        try:
            for step in scorer.work(iter(self._next_block, None)):
                if not self._report(step):
                    return
        except BaseException as error:
            self._report(error)

    def next_step(self) -> ScoringStep:
        """The next step, or an empty one after a short wait, so that the caller can stop the run."""
        try:
            step = self.steps.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            return ScoringStep()
        if isinstance(step, BaseException):
            raise step
        return step

    def _next_block(self) -> Block | None:
        with self._lock:
            return next(self._blocks, None)

    def _report(self, step: ScoringStep | BaseException) -> bool:
        """Queues a step or an exception; False once the run is stopped."""
        while not self.stopped.is_set():
            with suppress(queue.Full):
                self.steps.put(step, timeout=_WAIT_SECONDS)
                return True
        return False
