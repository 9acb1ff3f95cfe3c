"""Paraphrases: rows with the same meaning in different words, by the cosine similarity of word vectors.

Whole texts and answers must both be similar, and the numbers the same: an exercise with another number is another
exercise. Candidates are each row's nearest neighbours.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.data.quality.duplicates import CopyGroup, Overlap, copied_positions, groups_of_rows, reason_kept
from delift_core.models.vectors import InnerProductSearch, WordVectors
from delift_core.samples import Sample, positions_by_record

MIN_ROW_SIMILARITY = 0.74
MIN_ANSWER_SIMILARITY = 0.65
NEIGHBOURS = 32
_NUMBER = re.compile(r"\d+")
_QUERIES = 4096


@dataclass(frozen=True, slots=True)
class _Rows:
    """n rows to compare: (n, d) float32 unit vectors of whole rows and of answers, and the numbers in each row."""

    whole: np.ndarray
    answers: np.ndarray
    numbers: tuple[frozenset[str], ...]

    def similarity(self, at: int, others: "_Rows", other: int) -> float | None:
        """The similarity of two rows if they are paraphrases, else None."""
        if self.numbers[at] != others.numbers[other]:
            return None
        whole = float(self.whole[at] @ others.whole[other])
        answer = float(self.answers[at] @ others.answers[other])
        return min(whole, 1.0) if whole >= MIN_ROW_SIMILARITY and answer >= MIN_ANSWER_SIMILARITY else None

    def most_similar(self, at: int, others: "_Rows", candidates: Iterable[int]) -> tuple[float, int] | None:
        """(similarity, position) of the most similar paraphrase among some rows, ties to the first position."""
        found = [(share, at_other) for at_other in candidates if (share := self.similarity(at, others, at_other))]
        return max(found, key=lambda one: (one[0], -one[1]), default=None)


def semantic_groups(samples: Sequence[Sample], known: Sequence[CopyGroup] = ()) -> tuple[CopyGroup, ...]:
    """Groups of paraphrases in the order of the kept rows; a row is in one group at most.

    If each turn is a row, whole records are compared.

    Args:
        known: groups of exact and near copies, whose copies are left out.
    """
    copies = set(copied_positions(known))
    records = [rows for rows in positions_by_record(samples) if not copies.intersection(rows)]
    whole = [samples[rows[-1]] for rows in records]
    if len(whole) < 2:
        return ()
    return groups_of_rows(_group_rows(whole, _embed_rows(whole, WordVectors())), records)


def semantic_overlaps(
    pool: Sequence[Sample],
    others: Sequence[Sample],
    known: Collection[int] = (),
) -> tuple[Overlap, ...]:
    """Pool rows that paraphrase a row of another set, each with the most similar row of that set.

    Args:
        known: positions in the pool that are already known to overlap, which are left out.
    """
    candidates = [at for at in range(len(pool)) if at not in known]
    if not candidates or not others:
        return ()
    vectors = WordVectors()
    rows, held = _embed_rows([pool[at] for at in candidates], vectors), _embed_rows(others, vectors)
    found = []
    for at, near in _neighbours(rows.whole, held.whole):
        if best := rows.most_similar(at, held, near):
            found.append(Overlap(candidates[at], best[1], "semantic", best[0]))
    return tuple(found)


def _embed_rows(samples: Sequence[Sample], vectors: WordVectors) -> _Rows:
    texts = ["\n".join(message.content for message in sample.messages) for sample in samples]
    answers = vectors.embed([sample.response for sample in samples])
    return _Rows(vectors.embed(texts), answers, tuple(frozenset(_NUMBER.findall(text)) for text in texts))


def _group_rows(samples: Sequence[Sample], rows: _Rows) -> tuple[CopyGroup, ...]:
    near = dict(_neighbours(rows.whole, rows.whole))
    members: dict[int, list[tuple[int, float]]] = {}
    # The row with the longest answer is kept, ties to the first.
    for at in sorted(range(len(samples)), key=lambda at: (-len(samples[at].response), at)):
        best = rows.most_similar(at, rows, (other for other in near[at] if other in members))
        if best is None:
            members[at] = []
        else:
            members[best[1]].append((at, best[0]))
    groups = []
    for kept, found in members.items():
        if found:
            copies, least = tuple(sorted(at for at, _ in found)), min(share for _, share in found)
            groups.append(CopyGroup("semantic", kept, copies, least, reason_kept(samples, kept, copies)))
    return tuple(sorted(groups, key=lambda group: group.kept))


def _neighbours(queries: np.ndarray, items: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """The positions of the items nearest to each query, for (q, d) queries and (n, d) items."""
    search = InnerProductSearch(items)
    for start in range(0, len(queries), _QUERIES):
        found = search.search(queries[start : start + _QUERIES], NEIGHBOURS)
        for at, near in enumerate(found.tolist(), start):
            yield at, [other for other in near if other >= 0]
