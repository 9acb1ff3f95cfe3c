"""A scoring run: scores a plan of pairs block by block, and can stop and continue at any time. And its backends.

Several devices of one machine, or several cores of a processor, have one thread each, with a common queue. Threads
suffice because Python releases its lock while a device computes. Every GPU holds the whole model; cores share one. A
core that scores its own blocks with single-threaded matrix products is faster than cores that split each product
(benchmarks/README.md), and its numbers do not depend on the number of cores.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from delift_core.models.devices import free_bytes
from delift_core.models.encoded import EncodedSample
from delift_core.models.prompts import WholePairs
from delift_core.scoring.blocks import (
    ROWS_PER_BLOCK,
    Block,
    BlockScorer,
    ScoredBlock,
    ScoringInput,
    ScoringStep,
    cut_chunks,
    plan_blocks,
)
from delift_core.scoring.forecast import PairPlan, RunCost, budgeted_pair_tokens, disk_needed, work_tokens
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.store import PairStore
from delift_core.system.callbacks import Progress, Stop, never


@dataclass(frozen=True, slots=True)
class ScoringProgress(Progress):
    """The progress of a run, in pairs."""

    work_done: int = 0  # in tokens of examples and suffixes, to which time is proportional
    work_total: int = 0  # in tokens of examples and suffixes, to which time is proportional
    seconds: float = 0.0
    alone_done: int = 0  # rows to score without an example, before all pairs
    alone_total: int = 0  # rows to score without an example, before all pairs

    @property
    def tokens_per_second(self) -> float:
        """The rate since the start of this run."""
        return self.work_done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """The remaining time at the rate so far."""
        rate = self.tokens_per_second
        return (self.work_total - self.work_done) / rate if rate > 0 else float("inf")


Report = Callable[[ScoringProgress], None]


class Backend(Protocol):
    """Scores the blocks of a run."""

    @property
    def rows_per_block(self) -> int:
        """The number of rows of a block."""

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        """Scores blocks in any order and yields steps until all are finished; closing the generator stops the work."""


class LocalBackend:
    """One model on one device, in this thread."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def rows_per_block(self) -> int:
        """The block size for this kind of device."""
        return ROWS_PER_BLOCK.get(self._scorer.loaded.device.type, 128)

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        """Scores blocks one after another."""
        yield from BlockScorer(self._scorer, material).work(blocks)


class NoBackend:
    """The backend of a run that is only opened to see what is left to score."""

    rows_per_block = 128

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        """Never called: such a run has no work."""
        raise AssertionError("a run without a backend was asked to score")


class ScoringRun:
    """A plan of pairs, the backend that scores them, and the progress."""

    def __init__(
        self,
        backend: Backend,
        encoded: Mapping[str, EncodedSample],
        store: PairStore,
        plan: PairPlan,
        *,
        whole: WholePairs | None = None,
        rows_per_block: int | None = None,
        keep_pairs: Callable[[str, Sequence[str], np.ndarray], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        encoded: every sample of the plan, by content hash.
        whole: for pairs that cannot be cut into prefix and suffix.
        rows_per_block: instead of the backend's.
        keep_pairs: stores a finished block; by default `store.write_pairs`.
        """
        self._backend, self._store, self._plan = backend, store, plan
        self._keep_pairs = keep_pairs or store.write_pairs
        self.rows_per_block = rows_per_block or backend.rows_per_block
        chunks = cut_chunks(plan, encoded, self.rows_per_block)
        self._work_total = work_tokens(plan, encoded)
        self._material = ScoringInput(encoded, chunks, self._work_total, whole)
        self._clock = clock
        self._started = clock()
        self._pairs_done = self._pairs_kept = plan.pairs_total - plan.pairs_missing
        self._work_done = self._alone_done = 0

    @property
    def cost(self) -> RunCost:
        """The cost of the whole plan."""
        disk, encoded = disk_needed(self._plan, self.rows_per_block), self._material.encoded
        return RunCost(
            self._plan.pairs_total,
            self._plan.pairs_missing,
            disk,
            alone_tokens=work_tokens(replace(self._plan, groups=()), encoded),
            budgeted_pair_tokens=budgeted_pair_tokens(encoded),
        )

    @property
    def progress(self) -> ScoringProgress:
        """The current progress."""
        elapsed = self._clock() - self._started
        work = (self._work_done, self._work_total, elapsed, self._alone_done, len(self._plan.zero_shot))
        return ScoringProgress("scoring", self._pairs_done, self._plan.pairs_total, "", *work)

    def work(self, report: Report = lambda progress: None, stop: Stop = never) -> bool:
        """Scores the missing pairs; each finished block is stored before the next step.

        Args:
            report: called after every batch.
            stop: called before every batch; True ends the run, and unfinished blocks are discarded.

        Returns:
            Whether the plan is finished.

        Raises:
            ScoringError: the backend failed; finished blocks are kept.
        """
        left = sum(1 for _ in plan_blocks(self._plan, self._material))
        with closing(self._backend.work(self._material, plan_blocks(self._plan, self._material))) as steps:
            while left:
                if stop():
                    self._pairs_done = self._pairs_kept
                    return False
                step = next(steps)
                if step.finished:
                    self._keep(step.finished)
                    left -= 1
                self._pairs_done += step.pairs
                self._work_done += step.tokens
                self._alone_done += step.alone
                report(self.progress)
        return True

    def _keep(self, finished: ScoredBlock) -> None:
        block, rows = finished.block, self._material.rows(finished.block)
        if isinstance(finished.numbers, np.ndarray):
            assert block.helper is not None
            self._keep_pairs(block.helper, rows, finished.numbers)
            self._pairs_kept += len(rows)
        else:
            self._store.write_zero_shot(rows, finished.numbers)


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
