"""Simple signals of each row as facets to filter by: its language, its length, and what the health report looks for.

The language is that of the response where it is long enough to tell, else of prompt and response together; py3langid
reads it from the text alone, with a model that comes with it. Signals are hints, and no row is changed because of one.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from delift_core.data.loading.raw_records import REPORT_ROWS, Progress, Watch
from delift_core.data.quality.checks import health
from delift_core.data.quality.facets import Facet, by_label
from delift_core.samples import Sample

UNCLEAR = "unclear"
SECONDS_PER_ROW = 0.0005  # measured on one core of an AMD EPYC, rows of 1,000 characters
_LANGUAGE_SHARE = 0.7  # of the time
_LEAST_LETTERS = 40  # shorter texts are often given the wrong language
_READ_CHARACTERS = 600
_CHARACTER_STEPS = (100, 400, 1_600, 6_400)


def signal_facets(samples: Sequence[Sample], watch: Watch | None = None) -> tuple[Facet, ...]:
    """Language, length in characters, and one facet ("yes" or "no") for each class that the health report found.

    A facet that gives every row the same label is left out.

    Args:
        watch: is told how far it is; an exception that it raises ends the work.
    """
    told = languages(samples, watch and _part(watch, 0.0, _LANGUAGE_SHARE))
    found = [by_label("Language", told), _characters(samples)]
    for finding in health(samples, watch=watch and _part(watch, _LANGUAGE_SHARE, 1.0)).findings:
        codes = np.zeros(len(samples), dtype=np.int64)
        codes[list(finding.positions)] = 1
        found.append(Facet(finding.words.title, ("no", "yes"), codes))
    return tuple(facet for facet in found if len(np.unique(facet.codes)) > 1)


def languages(samples: Sequence[Sample], watch: Watch | None = None) -> list[str]:
    """The language of each row as an ISO 639-1 code, or "unclear" where there is too little text to tell."""
    from py3langid import classify

    found = []
    for at, sample in enumerate(samples):
        text = _telling(sample)
        found.append(str(classify(text)[0]) if text else UNCLEAR)
        if watch and at % REPORT_ROWS == 0:
            watch(Progress("checking", at, at / len(samples)))
    return found


def _part(watch: Watch, start: float, end: float) -> Watch:
    """Reports of one part of the work as reports of all of it."""
    return lambda told: watch(Progress("checking", told.rows, start + (end - start) * (told.share or 0.0)))


def _telling(sample: Sample) -> str:
    response = sample.response[:_READ_CHARACTERS]
    for text in (response, f"{response}\n{sample.prompt[:_READ_CHARACTERS]}"):
        if sum(map(str.isalpha, text)) >= _LEAST_LETTERS:
            return text
    return ""


def _characters(samples: Sequence[Sample]) -> Facet:
    sizes = np.array([sum(len(turn.content) for turn in sample.messages) for sample in samples], dtype=np.int64)
    starts = (0, *_CHARACTER_STEPS)
    ends = (*(f"–{step - 1:,}" for step in _CHARACTER_STEPS), " and more")
    labels = tuple(f"{start:,}{end}" for start, end in zip(starts, ends, strict=True))
    return Facet("Characters", labels, np.searchsorted(_CHARACTER_STEPS, sizes, side="right").astype(np.int64))


_FEWEST, _MOST = 2, 9  # as many as a map can tell apart
_WHOLE = 10_000
_READ_PROMPTS = 300
_TOLD_WORDS = 2
_WORD = re.compile(r"[^\W\d_]{4,20}")


def cluster_codes(embeddings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Puts samples into about sqrt(n / 2) groups, 2 to 9 (k-means; in mini-batches above 10,000 samples).

    Args:
        embeddings: (n, d) float32, finite.
        seed: equal seeds and inputs give equal groups on one machine.

    Returns:
        (n,) int64, 0 for the samples of the largest group, and so on.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    count = len(embeddings)
    groups = min(max(_FEWEST, min(_MOST, round((count / 2) ** 0.5))), len(np.unique(embeddings, axis=0)))
    if groups < _FEWEST:
        return np.zeros(count, dtype=np.int64)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    points = embeddings / np.where(lengths > 0, lengths, 1)
    kind = KMeans if count <= _WHOLE else MiniBatchKMeans
    found = kind(n_clusters=groups, n_init=3, random_state=seed).fit_predict(points)
    sizes = np.bincount(found, minlength=groups)
    place = np.empty(groups, dtype=np.int64)
    place[np.argsort(-sizes, kind="stable")] = np.arange(groups)
    codes: np.ndarray = place[found]
    return codes


def cluster_facet(codes: np.ndarray, prompts: Sequence[str]) -> Facet:
    """The groups as a facet; a label is the group's number with the words that its prompts have more than others.

    Args:
        codes: (n,) int64, 0 to m - 1, each at least once.
        prompts: n texts; some of each group are read.
    """
    groups = int(codes.max(initial=-1)) + 1
    shares = []
    for group in range(groups):
        members = np.flatnonzero(codes == group)
        read = members[:: max(1, len(members) // _READ_PROMPTS)]
        words = Counter(word for row in read for word in set(_WORD.findall(prompts[row].lower())))
        shares.append({word: count / len(read) for word, count in words.items()})
    labels = []
    for group, own in enumerate(shares):
        others = [other for place, other in enumerate(shares) if place != group]
        apart = {
            word: share - max((other.get(word, 0.0) for other in others), default=0.0) for word, share in own.items()
        }
        told = [word for word in sorted(apart, key=lambda word: (-apart[word], word))[:_TOLD_WORDS] if apart[word] > 0]
        labels.append(f"{group + 1}: {', '.join(told)}" if told else f"{group + 1}")
    return Facet("Cluster", tuple(labels), codes)
