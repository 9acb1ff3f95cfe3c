"""Rows that say the same in other words: found by vectors of their meaning, and to be read before they are left out.

Of two such rows the whole texts and the answers are alike (cosine), and the numbers are the same, since an exercise
with another number is another exercise. Candidates are each row's nearest neighbours. Knows samples; nothing of files.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from delift_core.data.quality.duplicates import CopyGroup, Overlap, copies_of, why_kept
from delift_core.models.vectors import InnerProductSearch, WordVectors
from delift_core.samples import Sample, by_record

ROW = 0.74
ANSWER = 0.65
NEIGHBOURS = 32
_NUMBER = re.compile(r"\d+")
_QUERIES = 4096

Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows made ready for comparing: (n, d) vectors of whole rows and of answers, and their numbers."""

    whole: np.ndarray
    answers: np.ndarray
    numbers: tuple[frozenset[str], ...]

    def likeness(self, at: int, others: "_Rows", other: int) -> float | None:
        """How alike two rows are, if they say the same."""
        if self.numbers[at] != others.numbers[other] or float(self.answers[at] @ others.answers[other]) < ANSWER:
            return None
        alike = float(self.whole[at] @ others.whole[other])
        return min(alike, 1.0) if alike >= ROW else None


def semantic_groups(
    samples: Sequence[Sample], known: Sequence[CopyGroup] = (), *, embed: Embed | None = None
) -> tuple[CopyGroup, ...]:
    """Groups of rows that say the same in other words, in the order of the rows that are kept.

    Where each turn is a row, whole records are compared. A row is in one group at most.

    Args:
        known: groups of exact and near copies; their copies are not looked at again.
        embed: gives texts vectors of length 1; `WordVectors` if None.
    """
    copies = set(copies_of(known))
    records = [rows for rows in by_record(samples) if not copies.intersection(rows)]
    whole = [samples[rows[-1]] for rows in records]
    if len(whole) < 2:
        return ()
    found = _grouped(whole, _ready(whole, embed or WordVectors().embed))
    return tuple(
        replace(
            group,
            kept=records[group.kept][-1],
            copies=tuple(sorted(row for at in group.copies for row in records[at])),
        )
        for group in found
    )


def semantic_overlaps(
    pool: Sequence[Sample],
    others: Sequence[Sample],
    known: Collection[int] = (),
    *,
    embed: Embed | None = None,
) -> tuple[Overlap, ...]:
    """Pool rows that say the same as a row of another set in other words, each with the most alike one.

    Args:
        known: positions in the pool that are known to be in the other set; they are not looked at again.
        embed: see `semantic_groups`.
    """
    asked = [at for at in range(len(pool)) if at not in known]
    if not asked or not others:
        return ()
    embed = embed or WordVectors().embed
    rows, held = _ready([pool[at] for at in asked], embed), _ready(others, embed)
    found = []
    for at, near in _neighbours(rows.whole, held.whole):
        alike = [(share, other) for other in near if (share := rows.likeness(at, held, other)) is not None]
        if alike:
            share, other = max(alike, key=lambda one: (one[0], -one[1]))
            found.append(Overlap(asked[at], other, "semantic", share))
    return tuple(found)


def _ready(samples: Sequence[Sample], embed: Embed) -> _Rows:
    texts = ["\n".join(message.content for message in sample.messages) for sample in samples]
    answers = embed([sample.response for sample in samples])
    return _Rows(embed(texts), answers, tuple(frozenset(_NUMBER.findall(text)) for text in texts))


def _grouped(samples: Sequence[Sample], rows: _Rows) -> tuple[CopyGroup, ...]:
    near = dict(_neighbours(rows.whole, rows.whole))
    members: dict[int, list[tuple[int, float]]] = {}
    # The fullest answer is the best candidate to keep; of equals the first.
    for at in sorted(range(len(samples)), key=lambda at: (-len(samples[at].response), at)):
        kept = [other for other in near[at] if other in members]
        alike = [(share, other) for other in kept if (share := rows.likeness(at, rows, other)) is not None]
        if alike:
            share, other = max(alike, key=lambda one: (one[0], -one[1]))
            members[other].append((at, share))
        else:
            members[at] = []
    groups = []
    for best, alike_rows in members.items():
        if alike_rows:
            copies, least = tuple(sorted(at for at, _ in alike_rows)), min(share for _, share in alike_rows)
            groups.append(CopyGroup("semantic", best, copies, least, why_kept(samples, best, copies)))
    return tuple(sorted(groups, key=lambda group: group.kept))


def _neighbours(queries: np.ndarray, items: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """For each query the items nearest to it."""
    search = InnerProductSearch(items)
    for start in range(0, len(queries), _QUERIES):
        found = search.search(queries[start : start + _QUERIES], NEIGHBOURS)
        for at, near in enumerate(found.tolist(), start):
            yield at, [other for other in near if other >= 0]
