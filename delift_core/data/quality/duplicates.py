"""Rows that say the same: exact copies, near copies, and pool rows that a target or held-out set holds as well.

Candidates for near copies come from MinHash signatures (datasketch); what is reported was compared in full, so that a
similarity is exact: the share of common pieces of five characters (Jaccard). Rows that differ in a number are another
exercise and not copies; nor are rows that ask alike and answer otherwise. Knows samples; knows nothing of files.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from delift_core.samples import Sample, by_record

if TYPE_CHECKING:
    from datasketch import MinHash

CopyKind = Literal["exact", "near", "semantic"]  # the last: see `semantic`
Side = Literal["row", "prompt"]
NEAR = 0.8
ALIKE_ANSWERS = 0.5  # a near copy's answer may be worded more freely than the row as a whole
PIECE = 5
PERMUTATIONS = 128
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Rows that are copies of one row.

    Attributes:
        kind: "exact" if all of them are, capitals and white space aside.
        kept: position of the row to keep.
        copies: positions of the others, in order.
        similarity: the least of a copy with the row that is kept.
        reason: why this row is the one to keep.
    """

    kind: CopyKind
    kept: int
    copies: tuple[int, ...]
    similarity: float
    reason: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """A row whose prompt another set holds as well: the position in each, and how alike the prompts are."""

    position: int
    other: int
    kind: CopyKind
    similarity: float


def copy_groups(samples: Sequence[Sample], near: float = NEAR) -> tuple[CopyGroup, ...]:
    """Groups of copies, each row in one group at most, in the order of the rows that are kept.

    A copy is alike to the row that is kept, not only to another copy, so that no chain of small changes is lost. Where
    each turn is a row, whole records are compared.

    Args:
        near: least similarity of a near copy, above 0; 1 finds exact copies only.
    """
    rows_of = by_record(samples)
    whole = [samples[rows[-1]] for rows in rows_of]
    groups = _whole_groups(whole, near)
    return tuple(
        replace(
            group, kept=rows_of[group.kept][-1], copies=tuple(sorted(row for at in group.copies for row in rows_of[at]))
        )
        for group in groups
    )


def _whole_groups(samples: Sequence[Sample], near: float) -> tuple[CopyGroup, ...]:
    texts = [_normal(_text(sample, "row")) for sample in samples]
    firsts: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        firsts.setdefault(text, []).append(position)
    # The fullest answer is the best candidate to keep; of equals the first.
    order = sorted((same[0] for same in firsts.values()), key=lambda at: (-len(samples[at].response), at))
    members: dict[int, list[tuple[int, float]]] = {}
    index = _Index(near)
    for position in order:
        probe = index.probe(texts[position])
        found = index.best(probe, partial(_answers_alike, samples, position))
        if found is None:
            members[position] = []
            index.add(position, probe)
        else:
            members[found[0]].append((position, found[1]))
    groups = (_group(kept, near_copies, firsts, texts, samples) for kept, near_copies in members.items())
    return tuple(sorted((group for group in groups if group.copies), key=lambda group: group.kept))


def overlaps(pool: Sequence[Sample], others: Sequence[Sample], near: float = NEAR) -> tuple[Overlap, ...]:
    """Pool rows whose prompt another set holds as well, with the most alike row of it.

    Prompts are compared, not answers: a question that is asked in the held-out set gives it away with any answer.

    Args:
        near: see `copy_groups`.
    """
    exact: dict[str, int] = {}
    index = _Index(near)
    for position, sample in enumerate(others):
        text = _normal(_text(sample, "prompt"))
        if text and exact.setdefault(text, position) == position:
            index.add(position, index.probe(text))
    found = []
    for position, sample in enumerate(pool):
        text = _normal(_text(sample, "prompt"))
        if text in exact:
            found.append(Overlap(position, exact[text], "exact", 1.0))
        elif (best := index.best(index.probe(text))) is not None:
            found.append(Overlap(position, best[0], "near", best[1]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Probe:
    """A text made ready for comparing."""

    text: str
    pieces: frozenset[int]
    signature: "MinHash"


class _Index:
    """Texts that can be asked for the one most like another."""

    def __init__(self, near: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._near = near
        # Pieces are made anew for each comparison: all of them at once would not fit for a large pool.
        self._texts: dict[int, str] = {}
        # A lower threshold for candidates than for results, since signatures only estimate.
        self._lsh = MinHashLSH(threshold=max(0.1, near - 0.15), num_perm=PERMUTATIONS)
        self._blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=_same)

    def probe(self, text: str) -> _Probe:
        """A text made ready; a blank signature is copied, since making its permutations takes longest."""
        if self._near >= 1:
            return _Probe(text, frozenset(), self._blank)
        pieces, signature = _pieces(text), self._blank.copy()
        signature.update_batch(list(pieces))
        return _Probe(text, pieces, signature)

    def add(self, position: int, probe: _Probe) -> None:
        """Adds a text under its position."""
        if self._near < 1:
            self._texts[position] = probe.text
            self._lsh.insert(position, probe.signature)

    def best(self, probe: _Probe, accept: Callable[[int], bool] = lambda at: True) -> tuple[int, float] | None:
        """The most alike text and how alike it is, the lowest position of equals, if any is near enough."""
        if not self._texts:
            return None
        candidates = self._lsh.query(probe.signature)
        same_numbers = (at for at in candidates if _numbers(self._texts[at]) == _numbers(probe.text))
        alike = ((at, _jaccard(probe.pieces, _pieces(self._texts[at]))) for at in same_numbers)
        enough = [(at, share) for at, share in alike if share >= self._near and accept(at)]
        return max(enough, key=lambda one: (one[1], -one[0]), default=None)


def _group(
    kept: int,
    near_copies: Iterable[tuple[int, float]],
    firsts: dict[str, list[int]],
    texts: Sequence[str],
    samples: Sequence[Sample],
) -> CopyGroup:
    found = list(near_copies)
    copies = [at for at in firsts[texts[kept]] if at != kept]
    copies += [same for at, _ in found for same in firsts[texts[at]]]
    reason = why_kept(samples, kept, copies)
    if not found:
        return CopyGroup("exact", kept, tuple(sorted(copies)), 1.0, reason)
    return CopyGroup("near", kept, tuple(sorted(copies)), min(share for _, share in found), reason)


def why_kept(samples: Sequence[Sample], kept: int, copies: Sequence[int]) -> str:
    """What makes this row of a group the one to keep: a noun phrase."""
    own, others = samples[kept].response, [samples[at].response for at in copies]
    if all(kept < at for at in copies) and all(_normal(other) == _normal(own) for other in others):
        return "first in the file"
    return "first of the longest answers" if len(own) in map(len, others) else "longest answer"


def _text(sample: Sample, side: Side) -> str:
    if side == "prompt":
        return sample.prompt
    return "\n".join(message.content for message in sample.messages)


def _answers_alike(samples: Sequence[Sample], one: int, other: int) -> bool:
    answers = (_pieces(_normal(samples[at].response)) for at in (one, other))
    return _jaccard(*answers) >= ALIKE_ANSWERS


def _numbers(text: str) -> list[str]:
    return NUMBER.findall(text)


def _normal(text: str) -> str:
    """Text without what does not tell rows apart: capitals, widths of characters, kinds of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _pieces(text: str) -> frozenset[int]:
    """Hashes of the pieces of a text; the whole text where it is shorter than one."""
    data = (text[at : at + PIECE] for at in range(max(1, len(text) - PIECE + 1)))
    return frozenset(zlib.crc32(piece.encode("utf-8", "surrogatepass")) for piece in data)


def _same(piece: int) -> int:
    return piece  # pieces are hashes already


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def copies_of(groups: Iterable[CopyGroup]) -> tuple[int, ...]:
    """Positions of all rows that are copies of one that is kept."""
    return tuple(sorted(at for group in groups for at in group.copies))
