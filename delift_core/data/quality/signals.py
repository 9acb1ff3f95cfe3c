"""Signals of each row as facets to filter by: language, length, issues, and clusters of embeddings.

py3langid detects the language of the response or, if that is too short, of prompt and response together. Signals are
hints; no row is changed because of one.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from delift_core.data.loading.raw_records import REPORT_ROWS, Progress, Watch
from delift_core.data.quality.checks import find_issues
from delift_core.data.quality.facets import Facet, label_facet
from delift_core.samples import Sample

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
            watch(Progress("checking", at, at / len(samples)))
    return found


def _partial_progress(watch: Watch, start: float, end: float) -> Watch:
    """A watch for one part of the work, whose share runs from `start` to `end` of the whole."""
    return lambda part: watch(Progress("checking", part.rows, start + (end - start) * (part.share or 0.0)))


def _text_to_classify(sample: Sample) -> str:
    response = sample.response[:_READ_CHARACTERS]
    for text in (response, f"{response}\n{sample.prompt[:_READ_CHARACTERS]}"):
        if sum(map(str.isalpha, text)) >= _MIN_LETTERS:
            return text
    return ""


def _characters(samples: Sequence[Sample]) -> Facet:
    sizes = np.array([sum(len(turn.content) for turn in sample.messages) for sample in samples], dtype=np.int64)
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
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    points = embeddings / np.where(lengths > 0, lengths, 1)
    kind = KMeans if count <= _FULL_KMEANS_ROWS else MiniBatchKMeans
    found = kind(n_clusters=groups, n_init=3, random_state=0).fit_predict(points)
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
