"""Duplicates: exact and near copies and paraphrases within a data set, and rows that are also in another set.

MinHash signatures (datasketch) find candidates for near copies, which are then compared in full: the similarity is the
exact Jaccard index of shingles of five characters. Rows that differ in a number, or in their answer, are no copies.

Paraphrases have the same meaning in different words, by the cosine similarity of word vectors; candidates are each
row's nearest neighbours. Whole texts and answers must both be similar, and the numbers the same: an exercise with
another number is another exercise.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from delift_core.samples import Sample, positions_by_record

if TYPE_CHECKING:
    import numpy as np
    from datasketch import MinHash

    from delift_core.models.vectors import WordVectors


CopyKind = Literal["exact", "near", "semantic"]  # semantic: a paraphrase
MIN_SIMILARITY = 0.8
MIN_ANSWER_SIMILARITY = 0.5  # lower than for whole rows: answers may be worded more freely
SHINGLE = 5
PERMUTATIONS = 128
MIN_VECTOR_SIMILARITY, MIN_ANSWER_VECTOR_SIMILARITY = 0.74, 0.65  # of paraphrases
NEIGHBOURS = 32
_QUERIES = 4096
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
    return _groups_of_rows(_group_records([samples[rows[-1]] for rows in rows_of], near), rows_of)


def _groups_of_rows(groups: Iterable[CopyGroup], rows_of: Sequence[Sequence[int]]) -> tuple[CopyGroup, ...]:
    """Groups of records as groups of their rows, given the rows of each record; a record is kept by its last row."""
    found = []
    for group in sorted(groups, key=lambda group: group.kept):
        copies = sorted(row for at in group.copies for row in rows_of[at])
        found.append(replace(group, kept=rows_of[group.kept][-1], copies=tuple(copies)))
    return tuple(found)


def _group_records(samples: Sequence[Sample], near: float) -> Iterator[CopyGroup]:
    texts = [_normalize(_whole_text(sample)) for sample in samples]
    firsts: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        firsts.setdefault(text, []).append(position)
    index = _Index(near)

    def most_similar(at: int, kept: Collection[int]) -> tuple[int, float] | None:
        query = index.query(texts[at])
        found = index.best(query, partial(_have_similar_answers, samples, at))
        if found is None:  # this row is kept
            index.add(at, query)
        return found

    for kept, found in _copies_of_kept(samples, (same[0] for same in firsts.values()), most_similar).items():
        copies = [at for at in firsts[texts[kept]] if at != kept]
        copies += [same for at, _ in found for same in firsts[texts[at]]]
        if copies:
            yield _copy_group("near" if found else "exact", samples, kept, copies, [share for _, share in found])


def _copies_of_kept(
    samples: Sequence[Sample],
    rows: Iterable[int],
    most_similar: Callable[[int, Collection[int]], tuple[int, float] | None],
) -> dict[int, list[tuple[int, float]]]:
    """For each row that is kept, its copies with their similarity; of similar rows, the longest answer is kept."""
    copies: dict[int, list[tuple[int, float]]] = {}
    for at in sorted(rows, key=lambda at: (-len(samples[at].response), at)):  # ties to the first
        best = most_similar(at, copies)
        if best is None:
            copies[at] = []
        else:
            copies[best[0]].append((at, best[1]))
    return copies


def _copy_group(
    kind: CopyKind, samples: Sequence[Sample], kept: int, copies: Sequence[int], shares: Iterable[float]
) -> CopyGroup:
    own, others = samples[kept].response, [samples[at].response for at in copies]
    if all(kept < at for at in copies) and all(_normalize(other) == _normalize(own) for other in others):
        reason = "first in the file"
    else:
        reason = "first of the longest answers" if len(own) in map(len, others) else "longest answer"
    return CopyGroup(kind, kept, tuple(sorted(copies)), min(shares, default=1.0), reason)


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
        self._blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=lambda shingle: shingle)  # hashes already

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
        same_numbers = (at for at in candidates if NUMBER.findall(self._texts[at]) == NUMBER.findall(query.text))
        similar = ((at, _jaccard(query.shingles, _shingles(self._texts[at]))) for at in same_numbers)
        enough = [(at, share) for at, share in similar if share >= self._near and accept(at)]
        return max(enough, key=_by_similarity, default=None)


def _whole_text(sample: Sample) -> str:
    """All texts of a conversation, thoughts and tool calls among them.

    Tools are a number at the end, as texts with different numbers are no copies: their definitions, which are long and
    shared by many rows, would make different questions similar.
    """
    number = [str(zlib.crc32(sample.tools.encode("utf-8", "surrogatepass")))] if sample.tools else []
    return "\n".join([text for message in sample.messages for text in message.texts] + number)


def _by_similarity(found: tuple[int, float]) -> tuple[float, int]:
    return found[1], -found[0]


def _have_similar_answers(samples: Sequence[Sample], one: int, other: int) -> bool:
    answers = (_shingles(_normalize(samples[at].response)) for at in (one, other))
    return _jaccard(*answers) >= MIN_ANSWER_SIMILARITY


def _normalize(text: str) -> str:
    """Text with case, width of characters and whitespace normalized."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shingles(text: str) -> frozenset[int]:
    """Hashes of the shingles of a text; a text shorter than a shingle is one."""
    pieces = (text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1)))
    return frozenset(zlib.crc32(piece.encode("utf-8", "surrogatepass")) for piece in pieces)


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def copied_positions(groups: Iterable[CopyGroup]) -> tuple[int, ...]:
    """Positions of all copies in some groups, in order."""
    return tuple(sorted(at for group in groups for at in group.copies))


@dataclass(frozen=True, slots=True)
class _Rows:
    """n rows to compare: (n, d) float32 unit vectors of whole rows and of answers, and the numbers in each row."""

    whole: "np.ndarray"
    answers: "np.ndarray"
    numbers: tuple[frozenset[str], ...]

    def similarity(self, at: int, others: "_Rows", other: int) -> float | None:
        """The similarity of two rows if they are paraphrases, else None."""
        if self.numbers[at] != others.numbers[other]:
            return None
        whole = float(self.whole[at] @ others.whole[other])
        answer = float(self.answers[at] @ others.answers[other])
        return min(whole, 1.0) if whole >= MIN_VECTOR_SIMILARITY and answer >= MIN_ANSWER_VECTOR_SIMILARITY else None

    def most_similar(self, at: int, others: "_Rows", candidates: Iterable[int]) -> tuple[int, float] | None:
        """Position and similarity of the most similar paraphrase among some rows, ties to the lowest position."""
        found = [(other, share) for other in candidates if (share := self.similarity(at, others, other))]
        return max(found, key=_by_similarity, default=None)


def semantic_groups(samples: Sequence[Sample], known: Sequence[CopyGroup] = ()) -> tuple[CopyGroup, ...]:
    """Groups of paraphrases in the order of the kept rows; a row is in one group at most.

    If each turn is a row, whole records are compared.

    Args:
        known: groups of exact and near copies, whose copies are left out.
    """
    from delift_core.models.vectors import WordVectors

    copies = set(copied_positions(known))
    records = [rows for rows in positions_by_record(samples) if not copies.intersection(rows)]
    whole = [samples[rows[-1]] for rows in records]
    if len(whole) < 2:
        return ()
    return _groups_of_rows(_group_rows(whole, _embed_rows(whole, WordVectors())), records)


def semantic_overlaps(
    pool: Sequence[Sample], others: Sequence[Sample], known: Collection[int] = ()
) -> tuple[Overlap, ...]:
    """Pool rows that paraphrase a row of another set, each with the most similar row of that set.

    Args:
        known: positions in the pool that are already known to overlap, which are left out.
    """
    from delift_core.models.vectors import WordVectors

    candidates = [at for at in range(len(pool)) if at not in known]
    if not candidates or not others:
        return ()
    vectors = WordVectors()
    rows, held = _embed_rows([pool[at] for at in candidates], vectors), _embed_rows(others, vectors)
    found = []
    for at, near in _neighbours(rows.whole, held.whole):
        if best := rows.most_similar(at, held, near):
            found.append(Overlap(candidates[at], best[0], "semantic", best[1]))
    return tuple(found)


def _embed_rows(samples: Sequence[Sample], vectors: "WordVectors") -> _Rows:
    texts = list(map(_whole_text, samples))
    answers = vectors.embed([sample.response for sample in samples])
    return _Rows(vectors.embed(texts), answers, tuple(frozenset(NUMBER.findall(text)) for text in texts))


def _group_rows(samples: Sequence[Sample], rows: _Rows) -> Iterator[CopyGroup]:
    near = dict(_neighbours(rows.whole, rows.whole))

    def most_similar(at: int, kept: Collection[int]) -> tuple[int, float] | None:
        return rows.most_similar(at, rows, (other for other in near[at] if other in kept))

    for kept, copies in _copies_of_kept(samples, range(len(samples)), most_similar).items():
        if copies:
            yield _copy_group("semantic", samples, kept, [at for at, _ in copies], [share for _, share in copies])


def _neighbours(queries: "np.ndarray", items: "np.ndarray") -> Iterator[tuple[int, list[int]]]:
    """The positions of the items nearest to each query, for (q, d) queries and (n, d) items."""
    from delift_core.models.vectors import InnerProductSearch

    search = InnerProductSearch(items)
    for start in range(0, len(queries), _QUERIES):
        found = search.search(queries[start : start + _QUERIES], NEIGHBOURS)
        for at, near in enumerate(found.tolist(), start):
            yield at, [other for other in near if other >= 0]
