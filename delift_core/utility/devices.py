"""Several devices of one machine: a thread each, which take blocks from one queue.

Threads serve because a device computes while Python waits for it. Every device holds the whole model.
"""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress

from delift_core.utility.blocks import ROWS_PER_BLOCK, Block, BlockScorer, Material, Step
from delift_core.utility.scorer import Scorer

_WAIT_SECONDS = 0.2
_STEPS_AHEAD = 64  # how far the devices may be ahead of the one that writes the blocks


class DevicesBackend:
    """One scorer on each device."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Args:
        scorers: at least one, each on a device of its own, of equal models.
        """
        self._scorers = tuple(scorers)

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
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or not crew.said.empty():
                yield crew.next_step()
        finally:
            crew.stopped.set()
            for thread in threads:
                thread.join()


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
            while block := self._take():
                for step in scorer.steps(block):
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
