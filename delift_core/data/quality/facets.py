"""Facets: one label per row to compare and filter by: source, category, length, language, issues, clusters and others.

Comparing the share of each label in a subset with its share in the pool shows a biased selection before training.
Labels are hints; no row is changed because of one. Quotas are over one facet, a column, whose labels are the groups, so
that every row belongs to exactly one group.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from delift_core.data.loading.raw_records import REPORT_ROWS, Watch, rows_progress
from delift_core.data.quality.checks import find_issues, texts_of
from delift_core.errors import SelectionError
from delift_core.models.vectors import unit_rows
from delift_core.samples import Sample
from delift_core.selection.quotas import quotas_over
from delift_core.selection.request import QuotaRequest
from delift_core.selection.types import Quotas
from delift_core.system.processes import garbage_collection_paused

_MOST_LABELS = 24
_LONGEST_LABEL = 40
_OTHER_LABEL = "(other)"
_NO_LABEL = "(none)"
_MIN_DIFFERENCE = 0.10


@dataclass(frozen=True, slots=True)
class Facet:
    """One label per row."""

    name: str  # what the labels are about
    labels: tuple[str, ...]  # m distinct labels, in the order to show
    codes: np.ndarray  # (n,) int64, the index into `labels` of each pool row

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
        record = msgspec.json.decode(sample.raw)  # several times as fast as the standard library
    except ValueError:
        try:
            record = json.loads(sample.raw)  # takes NaN and lone surrogates too
        except ValueError:
            return {}
    return record if isinstance(record, dict) else {}


def _lengths(tokens: np.ndarray) -> Facet:
    """Quartiles of the pool by response length; equal lengths stay together, so quartiles can differ in size."""
    return _quantile_facet("Response length", tokens, [0.25, 0.5, 0.75], lambda place, span: f"{span} tokens")


def quintile_facet(name: str, values: np.ndarray) -> Facet:
    """Quintiles of the pool by (n,) finite floats, lowest first; equal values stay together."""
    # The number makes labels of close values distinct.
    return _quantile_facet(name, values, [0.2, 0.4, 0.6, 0.8], lambda place, span: f"{place}: {span}")


def _quantile_facet(
    name: str, values: np.ndarray, quantiles: Sequence[float], label: Callable[[str, str], str]
) -> Facet:
    """The group of each value between the quantiles, labelled by "1 of 4" and the span of its values."""
    edges = np.unique(np.quantile(values, quantiles, method="lower")) if len(values) else np.empty(0)
    _, codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)  # from 0 without gaps
    whole, count = np.issubdtype(values.dtype, np.integer), int(codes.max(initial=-1)) + 1
    labels = []
    for code in range(count):
        group = values[codes == code]
        low, high = (str(end) if whole else f"{end:.3g}" for end in (group.min(), group.max()))
        joined = f"{low}–{high}" if whole else f"{low} to {high}"
        labels.append(label(f"{code + 1} of {count}", low if low == high else joined))
    return Facet(name, tuple(labels), codes.astype(np.int64))


def _answer_count(sample: Sample) -> str:
    answers = sum(message.role == "assistant" for message in sample.messages)
    return "1 answer" if answers == 1 else f"{answers} answers"


def _repeats(pool: Sequence[Sample]) -> list[str]:
    counts = Counter(sample.content_hash for sample in pool)
    return ["once" if counts[sample.content_hash] == 1 else "repeated" for sample in pool]


UNCLEAR = "unclear"
SECONDS_PER_ROW = 0.0005  # measured on one core of an AMD EPYC, rows of 1,000 characters
_LANGUAGE_SHARE = 0.7  # share of the time
_MIN_LETTERS = 40  # the language of a shorter text is often wrong
_READ_CHARACTERS = 600
_CHARACTER_STEPS = (100, 400, 1_600, 6_400)


def signal_facets(samples: Sequence[Sample], watch: Watch | None = None) -> tuple[Facet, ...]:
    """Language, length in characters, and a yes/no facet for each class of issues; only those with several labels.

    Args:
        watch: called with the `Progress`; an exception that it raises stops the work.
    """
    found_languages = languages(samples, watch and _partial_progress(watch, 0.0, _LANGUAGE_SHARE))
    found = [label_facet("Language", found_languages), _characters(samples)]
    for finding in find_issues(samples, watch=watch and _partial_progress(watch, _LANGUAGE_SHARE, 1.0)).findings:
        codes = np.zeros(len(samples), dtype=np.int64)
        codes[list(finding.positions)] = 1
        found.append(Facet(finding.issue_class.title, ("no", "yes"), codes))
    return tuple(facet for facet in found if len(np.unique(facet.codes)) > 1)


def languages(samples: Sequence[Sample], watch: Watch | None = None) -> list[str]:
    """The language of each row as an ISO 639-1 code, or "unclear" if there is too little text."""
    from py3langid import classify

    found = []
    for at, sample in enumerate(samples):
        text = _text_to_classify(sample)
        found.append(str(classify(text)[0]) if text else UNCLEAR)
        if watch and at % REPORT_ROWS == 0:
            watch(rows_progress("checking", at, len(samples)))
    return found


def _partial_progress(watch: Watch, start: float, end: float) -> Watch:
    """A watch for one part of the work, whose share runs from `start` to `end` of the whole."""
    return lambda part: watch(replace(part, done=round(part.total * (start + (end - start) * part.share))))


def _text_to_classify(sample: Sample) -> str:
    response = sample.response[:_READ_CHARACTERS]
    for text in (response, f"{response}\n{sample.prompt[:_READ_CHARACTERS]}"):
        if sum(map(str.isalpha, text)) >= _MIN_LETTERS:
            return text
    return ""


def _characters(samples: Sequence[Sample]) -> Facet:
    sizes = np.array([sum(map(len, texts_of(sample))) for sample in samples], dtype=np.int64)
    starts = (0, *_CHARACTER_STEPS)
    ends = (*(f"–{step - 1:,}" for step in _CHARACTER_STEPS), " and more")
    labels = tuple(f"{start:,}{end}" for start, end in zip(starts, ends, strict=True))
    return Facet("Characters", labels, np.searchsorted(_CHARACTER_STEPS, sizes, side="right").astype(np.int64))


_MIN_CLUSTERS, _MAX_CLUSTERS = 2, 9  # the number of colours that a map can distinguish
_FULL_KMEANS_ROWS = 10_000
_PROMPTS_PER_CLUSTER = 300
_LABEL_WORDS = 2
_WORD = re.compile(r"[^\W\d_]{4,20}")


def cluster_codes(embeddings: np.ndarray) -> np.ndarray:
    """Clusters samples into about sqrt(n / 2) groups, 2 to 9, by k-means (in mini-batches above 10,000 samples).

    Args:
        embeddings: (n, d) float32, finite.

    Returns:
        (n,) int64, the cluster of each sample; 0 is the largest cluster.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    count = len(embeddings)
    groups = min(max(_MIN_CLUSTERS, min(_MAX_CLUSTERS, round((count / 2) ** 0.5))), len(np.unique(embeddings, axis=0)))
    if groups < _MIN_CLUSTERS:
        return np.zeros(count, dtype=np.int64)
    kind = KMeans if count <= _FULL_KMEANS_ROWS else MiniBatchKMeans
    found = kind(n_clusters=groups, n_init=3, random_state=0).fit_predict(unit_rows(embeddings))
    sizes = np.bincount(found, minlength=groups)
    rank = np.empty(groups, dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(groups)
    codes: np.ndarray = rank[found]
    return codes


def cluster_facet(codes: np.ndarray, prompts: Sequence[str]) -> Facet:
    """The clusters as a facet; a label is the cluster's number with the most distinctive words of its prompts.

    Args:
        codes: (n,) int64, 0 to m - 1, each at least once.
        prompts: n texts, of which a sample of each cluster is read.
    """
    groups = int(codes.max(initial=-1)) + 1
    shares = []
    for group in range(groups):
        members = np.flatnonzero(codes == group)
        read = members[:: max(1, len(members) // _PROMPTS_PER_CLUSTER)]
        words = Counter(word for row in read for word in set(_WORD.findall(prompts[row].lower())))
        shares.append({word: count / len(read) for word, count in words.items()})
    labels = []
    for group, own in enumerate(shares):
        others = [other for at, other in enumerate(shares) if at != group]
        excess = {
            word: share - max((other.get(word, 0.0) for other in others), default=0.0) for word, share in own.items()
        }
        ranked = sorted(excess, key=lambda word: (-excess[word], word))[:_LABEL_WORDS]
        distinctive = [word for word in ranked if excess[word] > 0]
        labels.append(f"{group + 1}: {', '.join(distinctive)}" if distinctive else f"{group + 1}")
    return Facet("Cluster", tuple(labels), codes)


def columns(pool: Sequence[Sample], response_tokens: np.ndarray | None = None) -> tuple[Facet, ...]:
    """The columns of a pool with at least two groups; every source is a group.

    Args:
        pool: n samples.
        response_tokens: (n,) integers; None leaves out the column of response lengths.
    """
    tokens = np.zeros(len(pool), dtype=np.int64) if response_tokens is None else response_tokens
    return facets(pool, tokens, most_sources=None)


def quotas_from(asked: Sequence[QuotaRequest], found: Sequence[Facet]) -> Quotas | None:
    """Resolves the quotas of a request; None if there are none.

    Args:
        asked: quotas with the name of their column, in any case.
        found: the pool's columns.

    Raises:
        SelectionError: the quotas name several columns, an unknown column or group, or one group twice.
    """
    if not asked:
        return None
    names = list(dict.fromkeys(one.column for one in asked))
    wanted = {name.casefold() for name in names}
    if len(wanted) > 1:
        raise SelectionError(f"Quotas are over {' and '.join(map(repr, names))}: all quotas must be over one column.")
    by_name = {column_name(facet).casefold(): facet for facet in found}
    facet = by_name.get(names[0].casefold())
    if facet is None:
        known = ", ".join(column_name(facet) for facet in found) or "none"
        raise SelectionError(f"This pool has no column {names[0]!r} for quotas: the columns are {known}.")
    return quotas_over(column_name(facet), facet.labels, facet.codes, [one.quota for one in asked])


def column_name(facet: Facet) -> str:
    """The name of a column in a quota."""
    return facet.name.strip("“”")
