"""Blocks, the units of work of a scoring run, and the code that scores them in this process, on devices, or on Ray.

A block is the rows of one chunk, all with the same example or all without; it is scored and written as a whole. Its
numbers depend on the model and the input alone, bit for bit: not on the worker, nor on the blocks before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from delift_core.models.prompts import EncodedSample, Tokens
from delift_core.scoring.batches import GroupBatches, Suffix
from delift_core.scoring.forecast import PairPlan
from delift_core.scoring.prefixes import EMPTY_PREFIX, Prefix
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.store import ZeroShot

ROWS_PER_BLOCK = {"cpu": 128, "cuda": 4096, "mps": 1024}  # seconds of work, which is what an interruption can lose


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """The input of scoring besides the model, to be sent to workers."""

    head: Tokens  # ids before an example
    head_alone: Tokens  # ids before a query without an example
    encoded: Mapping[str, EncodedSample]  # samples by content hash
    # For each group of helpers, the rows that they help, in chunks of one block each; group 0 has the rows to score
    # without an example.
    chunks: tuple[tuple[tuple[str, ...], ...], ...]
    work: int = 0  # total tokens to run, if known; long runs are worth compiling for

    def rows(self, block: "Block") -> tuple[str, ...]:
        """The content hashes of a block's rows, in order."""
        return self.chunks[block.group][block.part]


@dataclass(frozen=True, slots=True)
class Block:
    """One chunk (`part`) of a group's rows with a helper as their example, or without an example."""

    helper: str | None
    group: int
    part: int


@dataclass(frozen=True, slots=True)
class ScoredBlock:
    """The result of a block: `ZeroShot` without a helper, else (m, 2) float64 statistics in the order of its rows."""

    block: Block
    numbers: ZeroShot | np.ndarray


@dataclass(frozen=True, slots=True)
class ScoringStep:
    """Progress since the last step: tokens, pairs and zero-shot rows done (negative if a worker was lost)."""

    tokens: int = 0
    pairs: int = 0
    finished: ScoredBlock | None = None
    alone: int = 0


def cut_chunks(plan: PairPlan, size: int) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """The chunks of a plan, as `ScoringInput` holds them."""
    row_sets = (plan.zero_shot, *(group.rows for group in plan.groups))
    return tuple(tuple(rows[start : start + size] for start in range(0, len(rows), size)) for rows in row_sets)


def plan_blocks(plan: PairPlan, material: ScoringInput) -> Iterator[Block]:
    """The blocks of a plan in order of execution: rows without an example, then helper by helper."""
    helpers: tuple[tuple[str | None, ...], ...] = ((None,), *(group.helpers for group in plan.groups))
    for group, (members, chunks) in enumerate(zip(helpers, material.chunks, strict=True)):
        for helper in members:
            for part in range(len(chunks)):
                yield Block(helper, group, part)


class BlockScorer:
    """Scores blocks with one model on one device, and caches the prefix and the batches for the next block.

    The next block is submitted to a GPU before the results of the last one are read, so that the GPU never idles:

        CPU    submit 1 | submit 2 | read 1 | submit 3 | read 2 | …
        GPU             | 1                 | 2                 | 3
    """

    def __init__(self, scorer: Scorer, material: ScoringInput) -> None:
        scorer.prepare(material.work)
        self._scorer, self._material = scorer, material
        self._prefix_of: tuple[str, Tokens] | None = None  # helper and shared query prefix of `_prefix`
        self._prefix = EMPTY_PREFIX
        self._group = 0
        self._batches_of_part: dict[int, list[GroupBatches]] = {}
        self._pending: _PendingBlock | None = None

    def work(self, blocks: Iterable[Block]) -> Iterator[ScoringStep]:
        """Scores blocks; yields a step after every batch, and another with the result of each block, in order."""
        for block in blocks:
            yield from self._zero_shot(block) if block.helper is None else self._with_example(block, block.helper)
        yield from self._hand_over(None)

    def _zero_shot(self, block: Block) -> Iterator[ScoringStep]:
        samples = self._samples(block)
        head = self._scorer.prefill(self._material.head_alone)
        statistics = np.empty((len(samples), 2), dtype=np.float32)
        vectors: list[np.ndarray] = [np.empty(0)] * len(samples)
        batches = self._scorer.make_batches([Suffix(sample.query_alone, sample.response) for sample in samples])
        for batch in batches:
            numbers, embedded = self._scorer.score_and_embed(head, batch)
            rows = batch.rows.cpu().numpy()
            statistics[rows] = numbers.cpu().numpy()
            for row, vector in zip(rows, embedded.cpu().numpy(), strict=True):
                vectors[row] = vector
            yield ScoringStep(batch.real_tokens, alone=len(rows))
        yield ScoringStep(finished=ScoredBlock(block, ZeroShot(statistics, *_counts(samples), np.stack(vectors))))

    def _with_example(self, block: Block, helper: str) -> Iterator[ScoringStep]:
        groups = self._batches(block)
        shared = groups[0].shared if len(groups) == 1 else ()  # of all rows: run in one pass with the example
        prefix = self._prefilled(helper, shared)
        tokens = prefix.length - len(shared) if block.part == 0 else 0  # the forecast counts an example once
        rows = len(self._material.rows(block))
        statistics = torch.empty(rows, 2, dtype=self._scorer.sums_dtype, device=self._scorer.loaded.device)
        for group in groups:
            after = prefix if len(groups) == 1 else self._scorer.prefill(group.shared, prefix)
            for batch in group.batches:
                statistics[batch.rows] = self._scorer.score(after, batch)
                yield ScoringStep(tokens + group.suffix_tokens(batch), len(batch.rows))
                tokens = 0
        yield from self._hand_over(_PendingBlock.submit(block, statistics))

    def _hand_over(self, submitted: "_PendingBlock | None") -> Iterator[ScoringStep]:
        """The result of the pending block, and that of the submitted one if it is on the CPU already."""
        pending, self._pending = self._pending, submitted
        if pending:
            yield ScoringStep(finished=pending.wait())
        if submitted and submitted.copied is None:
            self._pending = None
            yield ScoringStep(finished=submitted.wait())

    def _prefilled(self, helper: str, shared: Tokens) -> Prefix:
        if self._prefix_of != (helper, shared):
            example = self._material.head + self._material.encoded[helper].example
            self._prefix = self._scorer.prefill(example + shared)
            self._prefix_of = helper, shared
        return self._prefix

    def _batches(self, block: Block) -> list[GroupBatches]:
        """The batches of a block's rows, the same for every helper of its group."""
        if block.group != self._group:
            self._batches_of_part.clear()
            self._group = block.group
        if block.part not in self._batches_of_part:
            suffixes = [Suffix(sample.query, sample.response) for sample in self._samples(block)]
            self._batches_of_part[block.part] = self._scorer.make_grouped_batches(suffixes)
        return self._batches_of_part[block.part]

    def _samples(self, block: Block) -> list[EncodedSample]:
        return [self._material.encoded[row] for row in self._material.rows(block)]


@dataclass(frozen=True, slots=True)
class _PendingBlock:
    """Statistics that are being copied to the CPU; `copied` is the event of their arrival, None if they are there."""

    block: Block
    statistics: torch.Tensor
    copied: Any

    @classmethod
    def submit(cls, block: Block, statistics: torch.Tensor) -> "_PendingBlock":
        """Starts the copy from a device."""
        if statistics.device.type != "cuda":
            return cls(block, statistics.cpu(), None)
        target = torch.empty(statistics.shape, dtype=statistics.dtype, pin_memory=True)
        target.copy_(statistics, non_blocking=True)
        copied = cast(Any, torch.cuda.Event)()
        copied.record(torch.cuda.current_stream(statistics.device))
        return cls(block, target, copied)

    def wait(self) -> ScoredBlock:
        """Waits for the copy."""
        if self.copied is not None:
            self.copied.synchronize()
        return ScoredBlock(self.block, self.statistics.double().numpy())


def _counts(samples: Sequence[EncodedSample]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of prompt and response tokens of samples without an example, (n,) each."""
    prompts = np.asarray([len(sample.query_alone) for sample in samples])
    return prompts, np.asarray([len(sample.response) for sample in samples])
