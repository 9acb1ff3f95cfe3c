"""Groups of alike samples: k-means over the embeddings, named by the words that set each group apart.

Embeddings are scaled to length 1, so that near means alike by cosine. Which sample a group holds says nothing of how
much it helps.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from delift_core.composition import Facet

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
