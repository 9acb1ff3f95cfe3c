"""Several devices of one machine, or the cores of one processor: a thread each, which take blocks from one queue.

Threads serve because a device computes while Python waits for it. Every GPU holds the whole model; cores share one.
A core that scores blocks of its own, with one thread in its matrix products, gets more done than cores that split each
product (benchmarks/README.md), and its numbers do not depend on how many other cores there are.
"""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress

import torch

from delift_core.scoring.batches import free_bytes
from delift_core.scoring.blocks import ROWS_PER_BLOCK, Block, BlockScorer, Material, Step
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.scoring_run import Backend, LocalBackend

_WAIT_SECONDS = 0.2
_STEPS_AHEAD = 64  # how far the devices may be ahead of the one that writes the blocks


class DevicesBackend:
    """One scorer on each device, or on each core."""

    def __init__(self, scorers: Sequence[Scorer], *, threads_each: int | None = None) -> None:
        """Args:
        scorers: at least one, of equal models: each on a device of its own, or one and the same for every core.
        threads_each: of the processor, in the matrix products of each scorer; None leaves them as they are.
        """
        self._scorers = tuple(scorers)
        self._threads_each = threads_each

    @property
    def rows_per_block(self) -> int:
        """As suits the devices."""
        return ROWS_PER_BLOCK.get(self._scorers[0].loaded.device.type, 128)

    def work(self, material: Material, blocks: Iterable[Block]) -> Generator[Step, None, None]:
        """Scores blocks on every device at once; steps come in the order in which they happen.

        Raises:
            Exception: what a device's thread raised; the others end within a batch.
        """
        crew = _Crew(iter(blocks))
        threads = [
            threading.Thread(target=crew.score, args=(BlockScorer(scorer, material),), daemon=True)
            for scorer in self._scorers
        ]
        before = torch.get_num_threads()
        if self._threads_each is not None:
            torch.set_num_threads(self._threads_each)  # new threads take it over
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or not crew.said.empty():
                yield crew.next_step()
        finally:
            crew.stopped.set()
            for thread in threads:
                thread.join()
            torch.set_num_threads(before)


def backend_on(scorers: Sequence[Scorer]) -> Backend:
    """The quickest way to score with these: every device at once, or every core of a processor.

    Args:
        scorers: at least one, each on a device of its own, of equal models.
    """
    first = scorers[0]
    if len(scorers) > 1:
        return DevicesBackend(scorers)
    if first.loaded.device.type == "cpu" and (cores := cores_at_work(first)) > 1:
        return DevicesBackend([first] * cores, threads_each=1)
    return LocalBackend(first)


def cores_at_work(scorer: Scorer) -> int:
    """How many cores can score blocks of their own with one model on the CPU: all that torch may use, unless their
    batches would fill half of the free memory, or the model changes its own state as it runs."""
    if scorer.changes_as_it_runs:
        return 1
    room = free_bytes(scorer.loaded.device) // 2
    return max(1, min(torch.get_num_threads(), room // scorer.bytes_in_flight))


class _Crew:
    """What the threads share: the blocks that nobody has taken yet, and what has happened."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self.said: queue.Queue[Step | BaseException] = queue.Queue(_STEPS_AHEAD)
        self.stopped = threading.Event()
        self._blocks = blocks
        self._taking = threading.Lock()

    def score(self, scorer: BlockScorer) -> None:
        """A thread's work: block after block until none is left or the run is stopped."""
        try:
            for step in scorer.work(iter(self._take, None)):
                if not self._say(step):
                    return
        except BaseException as error:
            self._say(error)

    def next_step(self) -> Step:
        """The next thing that happened, or a step of nothing after a moment, so that a stop is not kept waiting."""
        try:
            said = self.said.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            return Step()
        if isinstance(said, BaseException):
            raise said
        return said

    def _take(self) -> Block | None:
        with self._taking:
            return next(self._blocks, None)

    def _say(self, said: Step | BaseException) -> bool:
        """Hands something over; False once the run was stopped."""
        while not self.stopped.is_set():
            with suppress(queue.Full):
                self.said.put(said, timeout=_WAIT_SECONDS)
                return True
        return False
