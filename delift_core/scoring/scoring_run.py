"""One scoring run: works through a pair plan, block by block, so that it can stop at any moment and go on later."""

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
    Finished,
    Material,
    Step,
    blocks_of,
    cut_chunks,
)
from delift_core.scoring.forecast import PairPlan, RunCost, budgeted_pair_tokens, disk_needed, work_tokens
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.store import PairStore


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """Where a run stands.

    Attributes:
        work_done, work_total: in tokens of examples and suffixes, the measure that time follows.
        alone_done, alone_total: rows to be scored without an example, which comes before all pairs.
    """

    pairs_done: int
    pairs_total: int
    work_done: int
    work_total: int
    seconds: float
    alone_done: int = 0
    alone_total: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Rate since the start of this run."""
        return self.work_done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """At the rate so far."""
        rate = self.tokens_per_second
        return (self.work_total - self.work_done) / rate if rate > 0 else float("inf")


Report = Callable[[ScoringProgress], None]
Stop = Callable[[], bool]


class Backend(Protocol):
    """Who scores the blocks of a run."""

    @property
    def rows_per_block(self) -> int:
        """Rows that are scored and written at a time."""

    def work(self, material: Material, blocks: Iterable[Block]) -> Generator[Step, None, None]:
        """Scores blocks, in any order, and yields steps until all are finished; closing it ends the work."""


class LocalBackend:
    """One model on one device, in this thread."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def rows_per_block(self) -> int:
        """As suits the device."""
        return ROWS_PER_BLOCK.get(self._scorer.loaded.device.type, 128)

    def work(self, material: Material, blocks: Iterable[Block]) -> Generator[Step, None, None]:
        """Scores block after block."""
        yield from BlockScorer(self._scorer, material).work(blocks)


class NoBackend:
    """The backend of a run that is opened to see what is left to score; it scores nothing."""

    rows_per_block = 128

    def work(self, material: Material, blocks: Iterable[Block]) -> Generator[Step, None, None]:
        """Is never called: such a run has no work."""
        raise AssertionError("a run without a backend was asked to score")


class ScoringRun:
    """A plan, who works it off, and how far it has come."""

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
        backend: who scores.
        encoded: every sample of the plan, by content hash.
        rows_per_block: another size of blocks than the backend's own.
        keep_pairs: keeps a finished block; `store.write_pairs` when None.
        """
        self._backend, self._store, self._plan = backend, store, plan
        self._keep_pairs = keep_pairs or store.write_pairs
        self.rows_per_block = rows_per_block or backend.rows_per_block
        chunks = cut_chunks(plan, self.rows_per_block)
        self._work_total = work_tokens(plan, encoded, len(template.head))
        self._material = Material(template.head, template.head_alone, encoded, chunks, self._work_total)
        self._clock = clock
        self._started = clock()
        self._pairs_done = self._pairs_kept = plan.pairs_total - plan.pairs_missing
        self._work_done = self._alone_done = 0

    @property
    def cost(self) -> RunCost:
        """What the run had to do when it was made."""
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
        """Where the run stands now."""
        elapsed = self._clock() - self._started
        pairs, work = (self._pairs_done, self._plan.pairs_total), (self._work_done, self._work_total)
        return ScoringProgress(*pairs, *work, elapsed, self._alone_done, len(self._plan.alone))

    def work(self, report: Report = lambda progress: None, stop: Stop = lambda: False) -> bool:
        """Scores what is missing; a finished block is on disk before anything else is looked at.

        Args:
            report: called after every batch.
            stop: asked before every batch; True ends the run, and blocks that were under way are not kept.

        Returns:
            Whether the plan was finished.

        Raises:
            ScoringError: the backend cannot go on; what was finished is kept.
        """
        left = sum(1 for _ in blocks_of(self._plan, self._material))
        with closing(self._backend.work(self._material, blocks_of(self._plan, self._material))) as steps:
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

    def _keep(self, finished: Finished) -> None:
        block, rows = finished.block, self._material.rows(finished.block)
        if isinstance(finished.numbers, np.ndarray):
            assert block.helper is not None
            self._keep_pairs(block.helper, rows, finished.numbers)
            self._pairs_kept += len(rows)
        else:
            self._store.write_alone(rows, finished.numbers)
