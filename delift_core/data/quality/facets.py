"""What a set of rows is made of, next to its pool: by source, by category, by length, by turns, by repeats.

A facet gives each pool row one label. How a subset's share of each label differs from the pool's shows a selection that
leans to one side ("all long ones") before anyone trains on it. Pure: it knows nothing of selections or files' formats
beyond that a raw record may be a JSON object.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.samples import Sample
from delift_core.system.processes import garbage_collection_paused

_MOST_LABELS = 24
_LONGEST_LABEL = 40
_REST = "(other)"
_LACKING = "(none)"
_NOTED_POINTS = 0.10


@dataclass(frozen=True, slots=True)
class Facet:
    """One label a row.

    Attributes:
        name: what the labels are about.
        labels: m different ones, in the order to show.
        codes: (n,) int64, the place in `labels` of each pool row's own.
    """

    name: str
    labels: tuple[str, ...]
    codes: np.ndarray

    def shares(self, positions: np.ndarray | None = None) -> np.ndarray:
        """(m,) float64, the share of each label among the rows at some positions (all of the pool when None)."""
        codes = self.codes if positions is None else self.codes[positions]
        counts = np.bincount(codes, minlength=len(self.labels)).astype(np.float64)
        return counts / max(1, len(codes))


@dataclass(frozen=True, slots=True)
class Lean:
    """A label that a subset has much more, or much less, of than its pool; shares in [0, 1]."""

    facet: str
    label: str
    pool: float
    subset: float


def facets(
    pool: Sequence[Sample], response_tokens: np.ndarray, *, most_sources: int | None = _MOST_LABELS
) -> tuple[Facet, ...]:
    """The facets that tell the rows of a pool apart; one that gives every row the same label is left out.

    Args:
        pool: n samples.
        response_tokens: (n,) whole numbers.
        most_sources: labels of "Source", beyond which the rarest share one; None is no limit.
    """
    found = [
        by_label("Source", [sample.source for sample in pool], most_sources),
        *_categories(pool),
        _lengths(response_tokens),
        by_label("Turns", [_turns_in_words(sample) for sample in pool]),
        by_label("Repeats", _repeats(pool)),
    ]
    return tuple(facet for facet in found if len(facet.labels) > 1)


def leans(found: Sequence[Facet], positions: np.ndarray) -> tuple[Lean, ...]:
    """The labels whose share differs by ten points or more between a subset and the pool, largest difference first."""
    noted = [
        Lean(facet.name, label, float(before), float(after))
        for facet in found
        for label, before, after in zip(facet.labels, facet.shares(), facet.shares(positions), strict=True)
        if abs(after - before) >= _NOTED_POINTS
    ]
    return tuple(sorted(noted, key=lambda lean: -round(abs(lean.subset - lean.pool), 9)))


def by_label(name: str, values: Sequence[str], most: int | None = _MOST_LABELS) -> Facet:
    """A facet of one label a row: the most frequent first; those beyond `most` share one."""
    counts = Counter(values)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    shown = ranked if most is None or len(ranked) <= most else [*ranked[: most - 1], _REST]
    place = {label: code for code, label in enumerate(shown)}
    codes = np.array([place.get(value, len(shown) - 1) for value in values], dtype=np.int64)
    return Facet(name, tuple(shown), codes)


def _categories(pool: Sequence[Sample]) -> list[Facet]:
    """Keys of the raw records whose values are few and short: "topic", "category", "task"…"""
    most = min(_MOST_LABELS, max(2, len(pool) // 3))
    with garbage_collection_paused():
        records = [_record(sample) for sample in pool]
    keys = Counter(key for record in records for key, value in record.items() if isinstance(value, str))
    few = [key for key in sorted(keys, key=lambda key: (-keys[key], key)) if _has_few_labels(records, key, most)]
    return [by_label(f"“{key}”", [_label(record, key) for record in records]) for key in few]


def _label(record: dict[str, object], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) and value else _LACKING


def _has_few_labels(records: Sequence[dict[str, object]], key: str, most: int) -> bool:
    """Whether there are 2 to `most` short labels; most keys are texts, which a few rows tell."""
    distinct: set[str] = set()
    for record in records:
        distinct.add(_label(record, key))
        if len(distinct) > most:
            return False
    return len(distinct) > 1 and max(map(len, distinct)) <= _LONGEST_LABEL


def _record(sample: Sample) -> dict[str, object]:
    try:
        record = json.loads(sample.raw)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _lengths(tokens: np.ndarray) -> Facet:
    """Quarters of the pool by response length; equal lengths stay together, so quarters can differ in size."""
    edges = np.unique(np.quantile(tokens, [0.25, 0.5, 0.75], method="lower")) if len(tokens) else np.empty(0)
    codes = np.searchsorted(edges, tokens, side="left")
    labels = []
    for code in range(len(edges) + 1):
        inside = tokens[codes == code]
        if len(inside):
            low, high = int(inside.min()), int(inside.max())
            labels.append(f"{low} tokens" if low == high else f"{low}–{high} tokens")
    _, dense = np.unique(codes, return_inverse=True)
    return Facet("Response length", tuple(labels), dense.astype(np.int64))


def by_fifths(name: str, values: np.ndarray) -> Facet:
    """Fifths of the pool by a number, lowest first; equal numbers stay together, so fifths can differ in size.

    Args:
        name: what the numbers are.
        values: (n,) float, finite.
    """
    edges = np.unique(np.quantile(values, [0.2, 0.4, 0.6, 0.8], method="lower")) if len(values) else np.empty(0)
    found, codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
    labels = []
    for code in range(len(found)):
        low, high = float(values[codes == code].min()), float(values[codes == code].max())
        span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        labels.append(f"{code + 1} of {len(found)}: {span}")  # the number keeps labels of close numbers apart
    return Facet(name, tuple(labels), codes.astype(np.int64))


def _turns_in_words(sample: Sample) -> str:
    answers = sum(message.role == "assistant" for message in sample.messages)
    return "1 answer" if answers == 1 else f"{answers} answers"


def _repeats(pool: Sequence[Sample]) -> list[str]:
    counts = Counter(sample.content_hash for sample in pool)
    return ["once" if counts[sample.content_hash] == 1 else "repeated" for sample in pool]
