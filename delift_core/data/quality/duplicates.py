"""Duplicates: exact and near copies within a data set, and rows that are also in another set.

MinHash signatures (datasketch) find candidates for near copies, which are then compared in full: the similarity is the
exact Jaccard index of shingles of five characters. Rows that differ in a number, or in their answer, are no copies.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from delift_core.samples import Sample, positions_by_record

if TYPE_CHECKING:
    from datasketch import MinHash

CopyKind = Literal["exact", "near", "semantic"]  # semantic: see `paraphrases`
MIN_SIMILARITY = 0.8
MIN_ANSWER_SIMILARITY = 0.5  # lower than for whole rows: answers may be worded more freely
SHINGLE = 5
PERMUTATIONS = 128
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Rows that are copies of one row."""

    kind: CopyKind  # "exact" if all copies are, ignoring case and whitespace
    kept: int  # position of the row to keep
    copies: tuple[int, ...]  # positions of the other rows, in order
    similarity: float  # the smallest similarity of a copy to the kept row
    reason: str  # why this row is kept


@dataclass(frozen=True, slots=True)
class Overlap:
    """A row whose prompt is also in another set: the position in each set, and the similarity of the prompts."""

    position: int
    other: int
    kind: CopyKind
    similarity: float


def copy_groups(samples: Sequence[Sample], near: float = MIN_SIMILARITY) -> tuple[CopyGroup, ...]:
    """Groups of copies in the order of the kept rows; a row is in one group at most.

    Every copy is similar to the kept row itself, so a chain of small changes does not join different rows. If each turn
    is a row, whole records are compared.

    Args:
        near: the smallest similarity of a near copy, above 0; 1 finds exact copies only.
    """
    rows_of = positions_by_record(samples)
    whole = [samples[rows[-1]] for rows in rows_of]
    groups = _group_records(whole, near)
    return groups_of_rows(groups, rows_of)


def groups_of_rows(groups: Iterable[CopyGroup], rows_of: Sequence[Sequence[int]]) -> tuple[CopyGroup, ...]:
    """Groups of records as groups of their rows, given the rows of each record; a record is kept by its last row."""
    return tuple(
        replace(
            group, kept=rows_of[group.kept][-1], copies=tuple(sorted(row for at in group.copies for row in rows_of[at]))
        )
        for group in groups
    )


def _group_records(samples: Sequence[Sample], near: float) -> tuple[CopyGroup, ...]:
    texts = [_normalize("\n".join(message.content for message in sample.messages)) for sample in samples]
    firsts: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        firsts.setdefault(text, []).append(position)
    # The row with the longest answer is kept, ties to the first.
    order = sorted((same[0] for same in firsts.values()), key=lambda at: (-len(samples[at].response), at))
    members: dict[int, list[tuple[int, float]]] = {}
    index = _Index(near)
    for position in order:
        query = index.query(texts[position])
        found = index.best(query, partial(_have_similar_answers, samples, position))
        if found is None:
            members[position] = []
            index.add(position, query)
        else:
            members[found[0]].append((position, found[1]))
    groups = (_copy_group(kept, near_copies, firsts, texts, samples) for kept, near_copies in members.items())
    return tuple(sorted((group for group in groups if group.copies), key=lambda group: group.kept))


def overlaps(pool: Sequence[Sample], others: Sequence[Sample], near: float = MIN_SIMILARITY) -> tuple[Overlap, ...]:
    """Pool rows whose prompt is also in another set, each with the most similar row of that set.

    Prompts are compared, not answers: a held-out question leaks with any answer.

    Args:
        near: see `copy_groups`.
    """
    exact: dict[str, int] = {}
    index = _Index(near)
    for position, sample in enumerate(others):
        text = _normalize(sample.prompt)
        if text and exact.setdefault(text, position) == position:
            index.add(position, index.query(text))
    found = []
    for position, sample in enumerate(pool):
        text = _normalize(sample.prompt)
        if text in exact:
            found.append(Overlap(position, exact[text], "exact", 1.0))
        elif (best := index.best(index.query(text))) is not None:
            found.append(Overlap(position, best[0], "near", best[1]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Query:
    """A text with its shingles and their MinHash signature."""

    text: str
    shingles: frozenset[int]
    signature: "MinHash"


class _Index:
    """An index of texts that finds the most similar one."""

    def __init__(self, near: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._near = near
        # Shingles are computed again for each comparison: those of a large pool would not fit in memory.
        self._texts: dict[int, str] = {}
        # Signatures estimate the similarity, so the threshold for candidates is lower than for results.
        self._lsh = MinHashLSH(threshold=max(0.1, near - 0.15), num_perm=PERMUTATIONS)
        self._blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=_identity)

    def query(self, text: str) -> _Query:
        """Prepares a text; copies a blank signature, since computing the permutations is slow."""
        if self._near >= 1:
            return _Query(text, frozenset(), self._blank)
        shingles, signature = _shingles(text), self._blank.copy()
        signature.update_batch(list(shingles))
        return _Query(text, shingles, signature)

    def add(self, position: int, query: _Query) -> None:
        """Adds a text under its position."""
        if self._near < 1:
            self._texts[position] = query.text
            self._lsh.insert(position, query.signature)

    def best(self, query: _Query, accept: Callable[[int], bool] = lambda at: True) -> tuple[int, float] | None:
        """Position and similarity of the most similar text, ties to the lowest position; None if none is near."""
        if not self._texts:
            return None
        candidates = self._lsh.query(query.signature)
        same_numbers = (at for at in candidates if _numbers(self._texts[at]) == _numbers(query.text))
        similar = ((at, _jaccard(query.shingles, _shingles(self._texts[at]))) for at in same_numbers)
        enough = [(at, share) for at, share in similar if share >= self._near and accept(at)]
        return max(enough, key=lambda one: (one[1], -one[0]), default=None)


def _copy_group(
    kept: int,
    near_copies: Iterable[tuple[int, float]],
    firsts: dict[str, list[int]],
    texts: Sequence[str],
    samples: Sequence[Sample],
) -> CopyGroup:
    found = list(near_copies)
    copies = [at for at in firsts[texts[kept]] if at != kept]
    copies += [same for at, _ in found for same in firsts[texts[at]]]
    reason = reason_kept(samples, kept, copies)
    if not found:
        return CopyGroup("exact", kept, tuple(sorted(copies)), 1.0, reason)
    return CopyGroup("near", kept, tuple(sorted(copies)), min(share for _, share in found), reason)


def reason_kept(samples: Sequence[Sample], kept: int, copies: Sequence[int]) -> str:
    """Why a row of a group is kept, as a noun phrase."""
    own, others = samples[kept].response, [samples[at].response for at in copies]
    if all(kept < at for at in copies) and all(_normalize(other) == _normalize(own) for other in others):
        return "first in the file"
    return "first of the longest answers" if len(own) in map(len, others) else "longest answer"


def _have_similar_answers(samples: Sequence[Sample], one: int, other: int) -> bool:
    answers = (_shingles(_normalize(samples[at].response)) for at in (one, other))
    return _jaccard(*answers) >= MIN_ANSWER_SIMILARITY


def _numbers(text: str) -> list[str]:
    return NUMBER.findall(text)


def _normalize(text: str) -> str:
    """Text with case, width of characters and whitespace normalized."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shingles(text: str) -> frozenset[int]:
    """Hashes of the shingles of a text; a text shorter than a shingle is one."""
    pieces = (text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1)))
    return frozenset(zlib.crc32(piece.encode("utf-8", "surrogatepass")) for piece in pieces)


def _identity(shingle: int) -> int:
    return shingle  # shingles are hashes already


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def copied_positions(groups: Iterable[CopyGroup]) -> tuple[int, ...]:
    """Positions of all copies in some groups, in order."""
    return tuple(sorted(at for group in groups for at in group.copies))
