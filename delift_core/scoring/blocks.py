"""Blocks, the units of work of a scoring run, and the code that scores them in this process, on devices, or on Ray.

A block is the rows of one chunk, all with the same example or all without; it is scored and written as a whole. Its
numbers depend on the model and the input alone, bit for bit: not on the worker, nor on the blocks before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
import torch

from delift_core.models.encoded import EncodedSample, Head, Tokens
from delift_core.models.prompts import WholePairs
from delift_core.scoring.batches import GroupBatches, Suffix
from delift_core.scoring.forecast import PairPlan
from delift_core.scoring.prefixes import EMPTY_PREFIX, Prefix
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.store import ZeroShot

ROWS_PER_BLOCK = {"cpu": 128, "cuda": 4096, "mps": 1024}  # seconds of work, which is what an interruption can lose


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """The input of scoring besides the model, to be sent to workers."""

    encoded: Mapping[str, EncodedSample]  # samples by content hash
    # For each group of helpers, the rows that they help, in chunks of one block each; group 0 has the rows to score
    # without an example.
    chunks: tuple[tuple[tuple[str, ...], ...], ...]
    work: int = 0  # total tokens to run, if known; long runs are worth compiling for
    whole: WholePairs | None = None  # for pairs that cannot be cut into prefix and suffix

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


def cut_chunks(
    plan: PairPlan, encoded: Mapping[str, EncodedSample], size: int
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """The chunks of a plan, as `ScoringInput` holds them; rows with equal heads stand together."""
    row_sets = [by_head(rows, encoded) for rows in (plan.zero_shot, *(group.rows for group in plan.groups))]
    ordered = [tuple(chain.from_iterable(rows_of.values())) for rows_of in row_sets]
    return tuple(tuple(rows[start : start + size] for start in range(0, len(rows), size)) for rows in ordered)


Name = TypeVar("Name")


def by_head(
    names: Iterable[Name], encoded: Mapping[Name, EncodedSample] | Sequence[EncodedSample]
) -> dict[Head, list[Name]]:
    """Names of samples by their heads, in order of first appearance."""
    found: dict[Head, list[Name]] = {}
    for name in names:
        found.setdefault(cast(Any, encoded)[name].head, []).append(name)
    return found


@dataclass(frozen=True, slots=True)
class ScoredAlone:
    """Rows that were scored without an example: positions (b,), statistics (b, 2), embeddings (b, d), and tokens."""

    rows: np.ndarray
    statistics: np.ndarray
    embeddings: np.ndarray
    tokens: int


def score_alone(scorer: Scorer, samples: Sequence[EncodedSample]) -> Iterator[ScoredAlone]:
    """Scores samples without examples, a batch at a time; embeddings are of the tokens after the head."""
    for head, rows in by_head(range(len(samples)), samples).items():
        prefix = scorer.prefill(head.alone)
        suffixes = [Suffix(samples[row].query_alone, samples[row].response) for row in rows]
        for batch in scorer.make_batches(suffixes, rows):
            statistics, embeddings = scorer.score_and_embed(prefix, batch)
            positions, numbers, vectors = (part.cpu().numpy() for part in (batch.rows, statistics, embeddings))
            yield ScoredAlone(positions, numbers, vectors, batch.real_tokens)


def plan_blocks(plan: PairPlan, material: ScoringInput) -> Iterator[Block]:
    """The blocks of a plan in order of execution: rows without an example, then helper by helper."""
    helpers: tuple[tuple[str | None, ...], ...] = ((None,), *(group.helpers for group in plan.groups))
    for group, (members, chunks) in enumerate(zip(helpers, material.chunks, strict=True)):
        for helper in members:
            for part in range(len(chunks)):
                yield Block(helper, group, part)


@dataclass(frozen=True, slots=True)
class _SharedHead:
    """Rows of a chunk with the same head, in batches."""

    head: Head
    rows: tuple[int, ...]  # positions in the chunk
    is_first: bool  # whether no earlier chunk has this head
    groups: list[GroupBatches]


@dataclass(frozen=True, slots=True)
class _ChunkParts:
    """The rows of a chunk: those that share a head, and positions of those that run as one sequence with each example.

    The latter share nothing: they have a head of their own, or cannot be cut off from an example.
    """

    shared: tuple[_SharedHead, ...]
    single: tuple[int, ...]
    counted: frozenset[int]  # those of `single` whose head an earlier chunk has


class BlockScorer:
    """Scores blocks with one model on one device, and caches the prefix and the batches for the next block.

    The next block is submitted to a GPU before the results of the last one are read, so that the GPU never idles:

        CPU    submit 1 | submit 2 | read 1 | submit 3 | read 2 | …
        GPU             | 1                 | 2                 | 3
    """

    def __init__(self, scorer: Scorer, material: ScoringInput) -> None:
        scorer.prepare(material.work)
        self._scorer, self._material = scorer, material
        self._prefix_of: tuple[str, Head, Tokens] | None = None  # helper, head and shared query prefix of `_prefix`
        self._prefix = EMPTY_PREFIX
        self._group = 0
        self._parts_of_chunk: dict[int, _ChunkParts] = {}
        self._pending: _PendingBlock | None = None

    def work(self, blocks: Iterable[Block]) -> Iterator[ScoringStep]:
        """Scores blocks; yields a step after every batch, and another with the result of each block, in order."""
        for block in blocks:
            yield from self._zero_shot(block) if block.helper is None else self._with_example(block, block.helper)
        yield from self._hand_over(None)

    def _zero_shot(self, block: Block) -> Iterator[ScoringStep]:
        samples = self._samples(block)
        statistics = np.empty((len(samples), 2), dtype=np.float32)
        vectors: list[np.ndarray] = [np.empty(0)] * len(samples)
        for scored in score_alone(self._scorer, samples):
            statistics[scored.rows] = scored.statistics
            for row, vector in zip(scored.rows, scored.embeddings, strict=True):
                vectors[row] = vector
            yield ScoringStep(scored.tokens, alone=len(scored.rows))
        yield ScoringStep(finished=ScoredBlock(block, ZeroShot(statistics, *_counts(samples), np.stack(vectors))))

    def _with_example(self, block: Block, helper: str) -> Iterator[ScoringStep]:
        parts, example = self._parts(block), self._material.encoded[helper]
        rows, single = len(self._material.rows(block)), list(parts.single)
        statistics = torch.empty(rows, 2, dtype=self._scorer.sums_dtype, device=self._scorer.loaded.device)
        for part in parts.shared:
            groups = part.groups
            if example.example(part.head) is None:
                single += part.rows
                continue
            shared = groups[0].shared if len(groups) == 1 else ()  # of all rows: run in one pass with the example
            prefix = self._prefilled(helper, part.head, shared)
            tokens = prefix.length - len(shared) if part.is_first else 0  # the forecast counts an example once
            for group in groups:
                after = prefix if len(groups) == 1 else self._scorer.prefill(group.shared, prefix)
                for batch in group.batches:
                    statistics[batch.rows] = self._scorer.score(after, batch)
                    yield ScoringStep(tokens + group.suffix_tokens(batch), len(batch.rows))
                    tokens = 0
        names, samples = self._material.rows(block), self._samples(block)
        for batch in self._scorer.make_batches([self._after(helper, names[at]) for at in single], single):
            statistics[batch.rows] = self._scorer.score(EMPTY_PREFIX, batch)
            again = parts.counted.intersection(batch.rows.tolist())  # their example was counted in an earlier chunk
            twice = sum(len(samples[at].before_query(example) or ()) for at in again)
            yield ScoringStep(batch.real_tokens - twice, len(batch.rows))
        yield from self._hand_over(_PendingBlock.submit(block, statistics))

    def _after(self, helper: str, row: str) -> Suffix:
        """A row after an example, as one sequence."""
        sample, whole = self._material.encoded[row], self._material.whole
        before = sample.before_query(self._material.encoded[helper])
        if before is not None:
            return Suffix(before + sample.query, sample.response)
        assert whole is not None
        return Suffix(whole.before_response(row, helper, len(sample.response)), sample.response)

    def _hand_over(self, submitted: "_PendingBlock | None") -> Iterator[ScoringStep]:
        """The result of the pending block, and that of the submitted one if it is on the CPU already."""
        pending, self._pending = self._pending, submitted
        if pending:
            yield ScoringStep(finished=pending.wait())
        if submitted and submitted.copied is None:
            self._pending = None
            yield ScoringStep(finished=submitted.wait())

    def _prefilled(self, helper: str, head: Head, shared: Tokens) -> Prefix:
        if self._prefix_of != (helper, head, shared):
            example = self._material.encoded[helper].example(head)
            assert example is not None
            self._prefix = self._scorer.prefill(head.tokens + example + shared)
            self._prefix_of = helper, head, shared
        return self._prefix

    def _parts(self, block: Block) -> "_ChunkParts":
        """The batches of a block's rows, the same for every helper of its group."""
        if block.group != self._group:
            self._parts_of_chunk.clear()
            self._group = block.group
        if block.part not in self._parts_of_chunk:
            self._parts_of_chunk[block.part] = self._new_parts(block)
        return self._parts_of_chunk[block.part]

    def _new_parts(self, block: Block) -> "_ChunkParts":
        samples, encoded = self._samples(block), self._material.encoded
        earlier = self._material.chunks[block.group][block.part - 1][-1:] if block.part else ()
        seen = {encoded[row].head for row in earlier}
        heads = by_head(range(len(samples)), samples)
        shared, single = [], []
        for head, rows in heads.items():
            if (len(rows) == 1 and len(heads) > 1) or not samples[rows[0]].is_separable:
                single += rows
                continue
            suffixes = [Suffix(samples[row].query, samples[row].response) for row in rows]
            groups = self._scorer.make_grouped_batches(suffixes, rows)
            shared.append(_SharedHead(head, tuple(rows), head not in seen, groups))
        return _ChunkParts(tuple(shared), tuple(single), frozenset(at for at in single if samples[at].head in seen))

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
    prompts = np.asarray([len(sample.alone) for sample in samples])
    return prompts, np.asarray([len(sample.response) for sample in samples])
