"""Facets: one label per pool row, by source, category, length, turns or repeats.

Comparing the share of each label in a subset with its share in the pool shows a biased selection before training.
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
_OTHER_LABEL = "(other)"
_NO_LABEL = "(none)"
_MIN_DIFFERENCE = 0.10


@dataclass(frozen=True, slots=True)
class Facet:
    """One label per row.

    Attributes:
        name: what the labels are about.
        labels: m distinct labels, in the order to show.
        codes: (n,) int64, the index into `labels` of each pool row.
    """

    name: str
    labels: tuple[str, ...]
    codes: np.ndarray

    def shares(self, positions: np.ndarray | None = None) -> np.ndarray:
        """(m,) float64, the share of each label among the rows at some positions, or in the pool if None."""
        codes = self.codes if positions is None else self.codes[positions]
        counts = np.bincount(codes, minlength=len(self.labels)).astype(np.float64)
        return counts / max(1, len(codes))


@dataclass(frozen=True, slots=True)
class ShareDifference:
    """A label whose share in a subset differs from that in its pool; shares in [0, 1]."""

    facet: str
    label: str
    pool: float
    subset: float


def facets(
    pool: Sequence[Sample], response_tokens: np.ndarray, *, most_sources: int | None = _MOST_LABELS
) -> tuple[Facet, ...]:
    """The facets of a pool that have at least two labels.

    Args:
        pool: n samples.
        response_tokens: (n,) integers.
        most_sources: the maximum number of labels of "Source", the rarest sharing one; None for no limit.
    """
    found = [
        label_facet("Source", [sample.source for sample in pool], most_sources),
        *_categories(pool),
        _lengths(response_tokens),
        label_facet("Turns", [_answer_count(sample) for sample in pool]),
        label_facet("Repeats", _repeats(pool)),
    ]
    return tuple(facet for facet in found if len(facet.labels) > 1)


def share_differences(found: Sequence[Facet], positions: np.ndarray) -> tuple[ShareDifference, ...]:
    """The labels whose share differs by ten points or more between subset and pool, largest difference first."""
    noted = [
        ShareDifference(facet.name, label, float(before), float(after))
        for facet in found
        for label, before, after in zip(facet.labels, facet.shares(), facet.shares(positions), strict=True)
        if abs(after - before) >= _MIN_DIFFERENCE
    ]
    return tuple(sorted(noted, key=lambda one: -round(abs(one.subset - one.pool), 9)))


def label_facet(name: str, values: Sequence[str], most: int | None = _MOST_LABELS) -> Facet:
    """A facet with the most frequent labels first; labels beyond `most` share one."""
    counts = Counter(values)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    shown = ranked if most is None or len(ranked) <= most else [*ranked[: most - 1], _OTHER_LABEL]
    place = {label: code for code, label in enumerate(shown)}
    codes = np.array([place.get(value, len(shown) - 1) for value in values], dtype=np.int64)
    return Facet(name, tuple(shown), codes)


def _categories(pool: Sequence[Sample]) -> list[Facet]:
    """A facet for each key of the raw records with few short values, such as "topic" or "category"."""
    most = min(_MOST_LABELS, max(2, len(pool) // 3))
    with garbage_collection_paused():
        records = [_record(sample) for sample in pool]
    keys = Counter(key for record in records for key, value in record.items() if isinstance(value, str))
    few = [key for key in sorted(keys, key=lambda key: (-keys[key], key)) if _has_few_labels(records, key, most)]
    return [label_facet(f"“{key}”", [_label(record, key) for record in records]) for key in few]


def _label(record: dict[str, object], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) and value else _NO_LABEL


def _has_few_labels(records: Sequence[dict[str, object]], key: str, most: int) -> bool:
    """Whether a key has 2 to `most` short labels; stops early, since most keys hold distinct texts."""
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
    """Quartiles of the pool by response length; equal lengths stay together, so quartiles can differ in size."""
    codes = _quantile_codes(tokens, [0.25, 0.5, 0.75])
    labels = []
    for code in range(int(codes.max(initial=-1)) + 1):
        low, high = int(tokens[codes == code].min()), int(tokens[codes == code].max())
        labels.append(f"{low} tokens" if low == high else f"{low}–{high} tokens")
    return Facet("Response length", tuple(labels), codes)


def quintile_facet(name: str, values: np.ndarray) -> Facet:
    """Quintiles of the pool by (n,) finite floats, lowest first; equal values stay together."""
    codes = _quantile_codes(values, [0.2, 0.4, 0.6, 0.8])
    count = int(codes.max(initial=-1)) + 1
    labels = []
    for code in range(count):
        low, high = float(values[codes == code].min()), float(values[codes == code].max())
        span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        labels.append(f"{code + 1} of {count}: {span}")  # the number makes labels of close values distinct
    return Facet(name, tuple(labels), codes)


def _quantile_codes(values: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """(n,) int64, the group of each value between the quantiles, from 0 without gaps."""
    edges = np.unique(np.quantile(values, quantiles, method="lower")) if len(values) else np.empty(0)
    _, codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
    return codes.astype(np.int64)


def _answer_count(sample: Sample) -> str:
    answers = sum(message.role == "assistant" for message in sample.messages)
    return "1 answer" if answers == 1 else f"{answers} answers"


def _repeats(pool: Sequence[Sample]) -> list[str]:
    counts = Counter(sample.content_hash for sample in pool)
    return ["once" if counts[sample.content_hash] == 1 else "repeated" for sample in pool]
