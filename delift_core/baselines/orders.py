"""Whole orders of a pool from scores or embeddings: pure functions, (n,) int64 positions, the first to choose first.

Ties go to the smaller position, so that the same arrays always give the same order.
"""

import numpy as np

from delift_core.selection.greedy import greedy_order


def by_score(scores: np.ndarray) -> np.ndarray:
    """Highest score first; (n,) float64, NaN last."""
    order: np.ndarray = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable").astype(np.int64)
    return order


def discard_from(scores: np.ndarray, limit: float) -> np.ndarray:
    """Highest score first among those below the limit, then the others, least first."""
    above = scores >= limit
    return by_score(np.where(above, -1 - scores, scores - scores.min() if len(scores) else scores))


def nearest_to_median(values: np.ndarray) -> np.ndarray:
    """Nearest to the median rank first: the first k are the middle band of k values."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return by_score(-np.abs(ranks - (len(values) - 1) / 2))


def at_random(n: int, seed: int) -> np.ndarray:
    """By lot."""
    return np.random.default_rng(seed).permutation(n).astype(np.int64)


def farthest_first(embeddings: np.ndarray) -> np.ndarray:
    """k-center by farthest-first traversal (Gonzalez 1985), from the row nearest to the mean direction.

    Distances are Euclidean between unit vectors; every prefix of k rows is within twice the smallest radius at which
    k rows can cover the pool.

    Args:
        embeddings: (n, d).
    """
    points = unit(embeddings)
    first = int((points @ points.mean(axis=0)).argmax())
    order, distance = [first], np.full(len(points), np.inf)
    for _ in range(len(points) - 1):
        last = points[order[-1]]
        distance = np.minimum(distance, np.maximum(2 - 2 * (points @ last), 0))
        distance[order[-1]] = -1  # never again, whatever its copies are at
        order.append(int(distance.argmax()))
    return np.array(order, dtype=np.int64)


def clustered(embeddings: np.ndarray, *, clusters: int, easy_share: float, seed: int) -> np.ndarray:
    """DEFT-UCS (arXiv 2310.16776): k-means, then from each cluster the same share, part near its centre, part far.

    Every prefix of the order takes as large a share of each cluster as can be, and of what it takes from one,
    `easy_share` are the nearest to the centre by cosine distance and the others the farthest.

    Args:
        embeddings: (n, d).
        clusters: at most; no more than the square root of n are made.
        easy_share: in [0, 1].
        seed: of k-means.
    """
    from sklearn.cluster import KMeans

    points = unit(embeddings)
    k = max(1, min(clusters, int(np.sqrt(len(points))), len(np.unique(points, axis=0))))
    means = KMeans(k, n_init=4, random_state=seed).fit(points)
    distance = 1 - (points * unit(means.cluster_centers_)[means.labels_]).sum(axis=1)
    place = np.empty(len(points))
    for cluster in range(k):
        members = np.flatnonzero(means.labels_ == cluster)
        near = members[np.argsort(distance[members], kind="stable")]
        place[_easy_and_hard(near, easy_share)] = (np.arange(len(near)) + 0.5) / len(near)
    return by_score(-place)


def _easy_and_hard(near: np.ndarray, easy_share: float) -> np.ndarray:
    """Members, nearest first, taken from both ends so that every prefix has `easy_share` of near ones."""
    taken = np.arange(1, len(near) + 1)
    easy = np.floor(taken * easy_share + 0.5).astype(np.int64)
    is_easy = np.diff(easy, prepend=0) > 0
    order = np.empty(len(near), dtype=np.int64)
    order[is_easy] = near[: is_easy.sum()]
    order[~is_easy] = near[::-1][: (~is_easy).sum()]
    return order


def embedding_coverage(embeddings: np.ndarray) -> np.ndarray:
    """DELIFT (SE): greedy Facility Location on (1 + cosine) / 2, the diagonal included (arXiv 2411.04425)."""
    points = unit(embeddings)
    return greedy_order(np.clip((1 + points @ points.T) / 2, 0, 1).astype(np.float32)).order


def round_robin(embeddings: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
    """RDS+ (arXiv 2503.01807): queries take turns, each takes its nearest row by cosine that is still there.

    Args:
        embeddings: (n, d).
        queries: (t, d) of the target rows; None: the pool's rows themselves, none of which takes itself.
    """
    points = unit(embeddings)
    nearness = (points if queries is None else unit(queries)) @ points.T  # (t, n)
    if queries is None:
        np.fill_diagonal(nearness, -np.inf)
    ranked = np.argsort(-nearness, axis=1, kind="stable")
    taken, next_of = np.zeros(len(points), dtype=bool), np.zeros(len(ranked), dtype=np.int64)
    order: list[int] = []
    while len(order) < len(points):
        for query, preferred in enumerate(ranked):
            while next_of[query] < len(preferred) and taken[preferred[next_of[query]]]:
                next_of[query] += 1
            if next_of[query] < len(preferred):
                order.append(int(preferred[next_of[query]]))
                taken[order[-1]] = True
    return np.array(order, dtype=np.int64)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays."""
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    scaled: np.ndarray = wide / np.where(length > 0, length, 1)
    return scaled
