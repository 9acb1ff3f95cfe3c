"""A scoring run: scores a plan of pairs block by block, and can stop and continue at any time."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from delift_core.models.prompts import EncodedSample, Template
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
from delift_core.system.callbacks import Stop, never


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """The progress of a run."""

    pairs_done: int
    pairs_total: int
    work_done: int  # in tokens of examples and suffixes, to which time is proportional
    work_total: int  # in tokens of examples and suffixes, to which time is proportional
    seconds: float
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
        template: Template,
        encoded: Mapping[str, EncodedSample],
        store: PairStore,
        plan: PairPlan,
        *,
        rows_per_block: int | None = None,
        keep_pairs: Callable[[str, Sequence[str], np.ndarray], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        encoded: every sample of the plan, by content hash.
        rows_per_block: instead of the backend's.
        keep_pairs: stores a finished block; by default `store.write_pairs`.
        """
        self._backend, self._store, self._plan = backend, store, plan
        self._keep_pairs = keep_pairs or store.write_pairs
        self.rows_per_block = rows_per_block or backend.rows_per_block
        chunks = cut_chunks(plan, self.rows_per_block)
        self._work_total = work_tokens(plan, encoded, len(template.head))
        self._material = ScoringInput(template.head, template.head_alone, encoded, chunks, self._work_total)
        self._clock = clock
        self._started = clock()
        self._pairs_done = self._pairs_kept = plan.pairs_total - plan.pairs_missing
        self._work_done = self._alone_done = 0

    @property
    def cost(self) -> RunCost:
        """The cost of the whole plan."""
        disk, encoded, head = disk_needed(self._plan, self.rows_per_block), self._material.encoded, self._material.head
        return RunCost(
            self._plan.pairs_total,
            self._plan.pairs_missing,
            disk,
            alone_tokens=work_tokens(replace(self._plan, groups=()), encoded, len(head)),
            budgeted_pair_tokens=budgeted_pair_tokens(encoded, len(head)),
        )

    @property
    def progress(self) -> ScoringProgress:
        """The current progress."""
        elapsed = self._clock() - self._started
        pairs, work = (self._pairs_done, self._plan.pairs_total), (self._work_done, self._work_total)
        return ScoringProgress(*pairs, *work, elapsed, self._alone_done, len(self._plan.zero_shot))

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
