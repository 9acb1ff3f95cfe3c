"""One scoring run: works through a pair plan, block by block, so that it can stop at any moment and go on later."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from delift_core.prompts import EncodedSample, Template
from delift_core.utility.plan import PairPlan, work_tokens
from delift_core.utility.scorer import LedBatches, Scorer, Suffix
from delift_core.utility.store import Alone, PairStore

ROWS_PER_BLOCK = {"cpu": 128, "cuda": 4096, "mps": 1024}  # a block takes seconds; less is lost than a cup of tea


@dataclass(frozen=True, slots=True)
class ScoringProgress:
    """Where a run stands; `work` is in tokens of examples and suffixes, the measure that time follows."""

    pairs_done: int
    pairs_total: int
    work_done: int
    work_total: int
    seconds: float

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


class _Stopped(Exception):
    """Raised inside a block when the run was asked to stop."""


class ScoringRun:
    """A plan, what is needed to work it off, and how far it has come."""

    def __init__(
        self,
        scorer: Scorer,
        template: Template,
        encoded: Mapping[str, EncodedSample],
        store: PairStore,
        plan: PairPlan,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer, self._template, self._encoded, self._store, self._plan = scorer, template, encoded, store, plan
        self._clock = clock
        self._started = clock()
        self._pairs_done = self._pairs_kept = plan.pairs_total - plan.pairs_missing
        self._work_done = 0
        self._work_total = work_tokens(plan, encoded, len(template.head))
        self.rows_per_block = ROWS_PER_BLOCK.get(scorer.loaded.device.type, 128)

    @property
    def progress(self) -> ScoringProgress:
        """Where the run stands now."""
        elapsed = self._clock() - self._started
        return ScoringProgress(self._pairs_done, self._plan.pairs_total, self._work_done, self._work_total, elapsed)

    def work(self, report: Report = lambda progress: None, stop: Stop = lambda: False) -> bool:
        """Scores what is missing; every finished block is on disk before the next one starts.

        Args:
            report: called after every batch.
            stop: asked before every batch; True ends the run, and the block that was under way is not kept.

        Returns:
            Whether the plan was finished.
        """
        try:
            for rows in _chunks(self._plan.alone, self.rows_per_block):
                self._score_alone(rows, report, stop)
            for group in self._plan.groups:
                blocks = [(rows, self._pack(rows)) for rows in _chunks(group.rows, self.rows_per_block)]
                for helper in group.helpers:
                    self._score_helper(helper, blocks, report, stop)
        except _Stopped:
            self._pairs_done = self._pairs_kept
            return False
        return True

    def _score_alone(self, rows: Sequence[str], report: Report, stop: Stop) -> None:
        samples = [self._encoded[row] for row in rows]
        head = self._scorer.prefill(self._template.head_alone)
        batches = self._scorer.pack([Suffix(sample.query_alone, sample.response) for sample in samples])
        statistics = np.empty((len(rows), 2), dtype=np.float32)
        vectors: np.ndarray | None = None
        for batch in batches:
            _check(stop)
            numbers, embedded = self._scorer.score_and_embed(head, batch)
            where = batch.rows.cpu().numpy()
            statistics[where] = numbers.cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(rows), embedded.shape[1]), dtype=np.float32)
            vectors[where] = embedded.cpu().numpy()
            self._advance(batch.real_tokens, 0, report)
        assert vectors is not None
        prompt_tokens, tokens = (
            np.asarray([len(part) for part in parts])
            for parts in zip(*((sample.query_alone, sample.response) for sample in samples), strict=True)
        )
        self._store.write_alone(rows, Alone(statistics, prompt_tokens, tokens, vectors))

    def _score_helper(
        self, helper: str, blocks: Sequence[tuple[Sequence[str], list[LedBatches]]], report: Report, stop: Stop
    ) -> None:
        _check(stop)
        tokens = self._template.head + self._encoded[helper].example
        prefix = self._scorer.prefill(tokens)
        self._work_done += len(tokens)
        for rows, packed in blocks:
            statistics = torch.empty(len(rows), 2, dtype=torch.float64, device=self._scorer.loaded.device)
            for led in packed:
                after = self._scorer.prefill(led.lead, prefix)
                for batch in led.batches:
                    _check(stop)
                    statistics[batch.rows] = self._scorer.score(after, batch)
                    self._advance(led.suffix_tokens(batch), len(batch.rows), report)
            self._store.write_pairs(helper, rows, statistics.cpu().numpy())
            self._pairs_kept = self._pairs_done

    def _pack(self, rows: Sequence[str]) -> list[LedBatches]:
        samples = [self._encoded[row] for row in rows]
        return self._scorer.pack_led([Suffix(sample.query, sample.response) for sample in samples])

    def _advance(self, tokens: int, pairs: int, report: Report) -> None:
        self._pairs_done += pairs
        self._work_done += tokens
        report(self.progress)


def _check(stop: Stop) -> None:
    if stop():
        raise _Stopped


def _chunks(rows: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
