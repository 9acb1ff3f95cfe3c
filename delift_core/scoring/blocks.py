"""A run cut into blocks, and the scoring of one block: the same code in this process, on several devices, or on Ray.

A block is what is scored and written as a whole: the rows of one chunk, all with the same example (or all without one).
Its numbers follow from the model and the material alone; which worker scores it, and after which block, changes no bit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from delift_core.models.prompts import EncodedSample, Tokens
from delift_core.scoring.batches import LedBatches, Suffix
from delift_core.scoring.forecast import PairPlan
from delift_core.scoring.scorer import EMPTY_PREFIX, Prefix, Scorer
from delift_core.scoring.store import Alone

ROWS_PER_BLOCK = {"cpu": 128, "cuda": 4096, "mps": 1024}  # a block takes seconds; less is lost than a cup of tea


@dataclass(frozen=True, slots=True)
class Material:
    """All that blocks are scored from, besides the model: what a worker elsewhere has to be sent.

    Attributes:
        head: ids before an example.
        head_alone: ids before a query that has no example.
        encoded: samples by content hash.
        chunks: for each group of helpers the rows that they help, in chunks of a block each; group 0 holds the rows
            that are scored without an example.
        work: tokens that are to be run for all of it, as far as known: a long job may be prepared for.
    """

    head: Tokens
    head_alone: Tokens
    encoded: Mapping[str, EncodedSample]
    chunks: tuple[tuple[tuple[str, ...], ...], ...]
    work: int = 0

    def rows(self, block: "Block") -> tuple[str, ...]:
        """Content hashes of a block's rows, in order."""
        return self.chunks[block.group][block.part]


@dataclass(frozen=True, slots=True)
class Block:
    """One chunk of rows with one helper as their example; without a helper, the rows alone."""

    helper: str | None
    group: int
    part: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A scored block: `Alone` numbers without a helper, else (m, 2) float64 statistics in the order of its rows."""

    block: Block
    numbers: Alone | np.ndarray


@dataclass(frozen=True, slots=True)
class Step:
    """What has happened since the last one: tokens, pairs and rows without an example worked off (less than none when
    a worker was lost)."""

    tokens: int = 0
    pairs: int = 0
    finished: Finished | None = None
    alone: int = 0


def cut_chunks(plan: PairPlan, size: int) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """The chunks of a plan, as `Material` holds them."""
    row_sets = (plan.alone, *(group.rows for group in plan.groups))
    return tuple(tuple(rows[start : start + size] for start in range(0, len(rows), size)) for rows in row_sets)


def blocks_of(plan: PairPlan, material: Material) -> Iterator[Block]:
    """The blocks of a plan in the order of the work: rows alone, then helper by helper."""
    helpers: tuple[tuple[str | None, ...], ...] = ((None,), *(group.helpers for group in plan.groups))
    for group, (members, chunks) in enumerate(zip(helpers, material.chunks, strict=True)):
        for helper in members:
            for part in range(len(chunks)):
                yield Block(helper, group, part)


class BlockScorer:
    """Scores blocks with one model on one device; keeps what the next block is likely to need again.

    A GPU is given the next block before the numbers of the last one are waited for, so that it never stands still:

        here    ask for 1 | ask for 2 | wait for 1 | ask for 3 | wait for 2 | …
        GPU               | 1                      | 2                      | 3
    """

    def __init__(self, scorer: Scorer, material: Material) -> None:
        scorer.prepare(material.work)
        self._scorer, self._material = scorer, material
        self._opened: tuple[str, Tokens] | None = None  # of which helper and lead the prefix is
        self._prefix = EMPTY_PREFIX
        self._group = 0
        self._packed: dict[int, list[LedBatches]] = {}
        self._late: _Asked | None = None

    def work(self, blocks: Iterable[Block]) -> Iterator[Step]:
        """Scores blocks; a step after every batch. The numbers of each come with a step of their own, in order."""
        for block in blocks:
            yield from self._alone(block) if block.helper is None else self._with_example(block, block.helper)
        yield from self._hand_over(None)

    def _alone(self, block: Block) -> Iterator[Step]:
        samples = self._samples(block)
        head = self._scorer.prefill(self._material.head_alone)
        statistics = np.empty((len(samples), 2), dtype=np.float32)
        vectors: list[np.ndarray] = [np.empty(0)] * len(samples)
        batches = self._scorer.pack([Suffix(sample.query_alone, sample.response) for sample in samples])
        for batch in batches:
            numbers, embedded = self._scorer.score_and_embed(head, batch)
            where = batch.rows.cpu().numpy()
            statistics[where] = numbers.cpu().numpy()
            for row, vector in zip(where, embedded.cpu().numpy(), strict=True):
                vectors[row] = vector
            yield Step(batch.real_tokens, alone=len(where))
        yield Step(finished=Finished(block, Alone(statistics, *_counts(samples), np.stack(vectors))))

    def _with_example(self, block: Block, helper: str) -> Iterator[Step]:
        packed = self._batches(block)
        lead = packed[0].lead if len(packed) == 1 else ()  # what all begin with is run with the example, in one pass
        prefix = self._prefilled(helper, lead)
        tokens = prefix.length - len(lead) if block.part == 0 else 0  # the example is counted once, as foreseen
        rows = len(self._material.rows(block))
        statistics = torch.empty(rows, 2, dtype=self._scorer.sums_dtype, device=self._scorer.loaded.device)
        for led in packed:
            after = prefix if len(packed) == 1 else self._scorer.prefill(led.lead, prefix)
            for batch in led.batches:
                statistics[batch.rows] = self._scorer.score(after, batch)
                yield Step(tokens + led.suffix_tokens(batch), len(batch.rows))
                tokens = 0
        yield from self._hand_over(_Asked.of(block, statistics))

    def _hand_over(self, asked: "_Asked | None") -> Iterator[Step]:
        """The numbers that were asked for before, and those asked for now where they are here already."""
        late, self._late = self._late, asked
        if late:
            yield Step(finished=late.wait())
        if asked and asked.arrives is None:
            self._late = None
            yield Step(finished=asked.wait())

    def _prefilled(self, helper: str, lead: Tokens) -> Prefix:
        if self._opened != (helper, lead):
            example = self._material.head + self._material.encoded[helper].example
            self._prefix = self._scorer.prefill(example + lead)
            self._opened = helper, lead
        return self._prefix

    def _batches(self, block: Block) -> list[LedBatches]:
        """The packed rows of a block, the same for every helper of its group."""
        if block.group != self._group:
            self._packed.clear()
            self._group = block.group
        if block.part not in self._packed:
            suffixes = [Suffix(sample.query, sample.response) for sample in self._samples(block)]
            self._packed[block.part] = self._scorer.pack_led(suffixes)
        return self._packed[block.part]

    def _samples(self, block: Block) -> list[EncodedSample]:
        return [self._material.encoded[row] for row in self._material.rows(block)]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Statistics on their way from a device; `arrives` is the event that says so, None where they are here."""

    block: Block
    statistics: torch.Tensor
    arrives: Any

    @classmethod
    def of(cls, block: Block, statistics: torch.Tensor) -> "_Asked":
        """Sends for them."""
        if statistics.device.type != "cuda":
            return cls(block, statistics.cpu(), None)
        here = torch.empty(statistics.shape, dtype=statistics.dtype, pin_memory=True)
        here.copy_(statistics, non_blocking=True)
        arrives = cast(Any, torch.cuda.Event)()
        arrives.record(torch.cuda.current_stream(statistics.device))
        return cls(block, here, arrives)

    def wait(self) -> Finished:
        """Returns when they are here."""
        if self.arrives is not None:
            self.arrives.synchronize()
        return Finished(self.block, self.statistics.double().numpy())


def _counts(samples: Sequence[EncodedSample]) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and response tokens of samples without an example, (n,) each."""
    prompts = np.asarray([len(sample.query_alone) for sample in samples])
    return prompts, np.asarray([len(sample.response) for sample in samples])
