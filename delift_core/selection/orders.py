"""The arithmetic of `methods`: scores of rows by published formulas, and orders from scores or embeddings.

Pure functions. Rows with higher scores are chosen first. Orders are (n,) int64 positions, best first; ties go to the
smaller position, so equal arrays give equal orders.
"""

import numpy as np
from scipy.sparse import csr_array

from delift_core.models.vectors import unit_rows
from delift_core.selection.greedy import greedy_order


def by_score(scores: np.ndarray) -> np.ndarray:
    """Highest score first; (n,) float64, NaN last."""
    order: np.ndarray = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable").astype(np.int64)
    return order


def discard_above(scores: np.ndarray, limit: float) -> np.ndarray:
    """Scores below the limit, highest first; then those at or above it, lowest first."""
    above = scores >= limit
    return by_score(np.where(above, -1 - scores, scores - scores.min() if len(scores) else scores))


def nearest_to_median(values: np.ndarray) -> np.ndarray:
    """Nearest to the median rank first: the first k are the k middle values."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return by_score(-np.abs(ranks - (len(values) - 1) / 2))


def random_order(n: int, seed: int) -> np.ndarray:
    """A random order."""
    return np.random.default_rng(seed).permutation(n).astype(np.int64)


def farthest_first(embeddings: np.ndarray) -> np.ndarray:
    """k-center by farthest-first traversal (Gonzalez 1985), from the row nearest to the mean direction.

    Distances are Euclidean between unit vectors. The covering radius of every prefix of k rows is at most twice the
    smallest covering radius of any k rows.

    Args:
        embeddings: (n, d).
    """
    points = unit(embeddings)
    first = int((points @ points.mean(axis=0)).argmax())
    order, distance = [first], np.full(len(points), np.inf)
    for _ in range(len(points) - 1):
        last = points[order[-1]]
        distance = np.minimum(distance, np.maximum(2 - 2 * (points @ last), 0))
        distance[order[-1]] = -1  # below every other row, copies of this one included
        order.append(int(distance.argmax()))
    return np.array(order, dtype=np.int64)


def cluster_order(embeddings: np.ndarray, *, clusters: int = 10, easy_share: float = 0.5, seed: int) -> np.ndarray:
    """DEFT-UCS (arXiv 2310.16776): the same share of each k-means cluster, partly near its centre, partly far from it.

    Every prefix of the order takes about the same share of each cluster; `easy_share` of that are the rows nearest to
    the centre by cosine distance, the others the farthest.

    Args:
        embeddings: (n, d).
        clusters: maximum number of clusters; the square root of n is another.
        easy_share: in [0, 1].
        seed: of k-means.
    """
    from sklearn.cluster import KMeans

    points = unit(embeddings)
    k = max(1, min(clusters, int(np.sqrt(len(points))), len(np.unique(points, axis=0))))
    means = KMeans(k, n_init=4, random_state=seed).fit(points)
    distance = 1 - (points * unit(means.cluster_centers_)[means.labels_]).sum(axis=1)
    depth = np.empty(len(points))  # in its cluster's order, from 0 to 1
    for cluster in range(k):
        members = np.flatnonzero(means.labels_ == cluster)
        nearest = members[np.argsort(distance[members], kind="stable")]
        depth[_from_both_ends(nearest, easy_share)] = (np.arange(len(nearest)) + 0.5) / len(nearest)
    return by_score(-depth)


def _from_both_ends(members: np.ndarray, easy_share: float) -> np.ndarray:
    """Reorders (m,) members, nearest first, so that in every prefix `easy_share` are from the near end."""
    taken = np.arange(1, len(members) + 1)
    easy = np.floor(taken * easy_share + 0.5).astype(np.int64)
    is_easy = np.diff(easy, prepend=0) > 0
    order = np.empty(len(members), dtype=np.int64)
    order[is_easy] = members[: is_easy.sum()]
    order[~is_easy] = members[::-1][: (~is_easy).sum()]
    return order


def embedding_coverage(embeddings: np.ndarray) -> np.ndarray:
    """DELIFT (SE): greedy Facility Location on (1 + cosine) / 2, with the diagonal (arXiv 2411.04425)."""
    points = unit(embeddings)
    return greedy_order(np.clip((1 + points @ points.T) / 2, 0, 1).astype(np.float32)).order


def round_robin(embeddings: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
    """RDS+ (arXiv 2503.01807): queries in turn, each of which takes its nearest free row by cosine.

    Args:
        embeddings: (n, d).
        queries: (t, d) of the target rows; None for the pool's own rows, none of which takes itself.
    """
    points = unit(embeddings)
    similarity = (points if queries is None else unit(queries)) @ points.T  # (t, n)
    if queries is None:
        np.fill_diagonal(similarity, -np.inf)
    ranked = np.argsort(-similarity, axis=1, kind="stable")
    taken, cursor = np.zeros(len(points), dtype=bool), np.zeros(len(ranked), dtype=np.int64)
    order: list[int] = []
    while len(order) < len(points):
        for query, preferred in enumerate(ranked):
            while cursor[query] < len(preferred) and taken[preferred[cursor[query]]]:
                cursor[query] += 1
            if cursor[query] < len(preferred):
                order.append(int(preferred[cursor[query]]))
                taken[order[-1]] = True
    return np.array(order, dtype=np.int64)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays 0."""
    return unit_rows(vectors.astype(np.float64))


def instruction_following_difficulty(loss_with_prompt: np.ndarray, loss_alone: np.ndarray) -> np.ndarray:
    """IFD = perplexity of the response given its prompt / perplexity of the response alone.

    Superfiltering (arXiv 2402.00530, equation 3). At 1 and above the prompt does not help, and the row is discarded.

    Args:
        loss_with_prompt, loss_alone: (n,) nats per response token.

    Returns:
        (n,) float64 > 0.
    """
    ratio: np.ndarray = np.exp(loss_with_prompt - loss_alone)
    return ratio


def selectit(ratings: np.ndarray, certainty: float = 0.2) -> np.ndarray:
    """SelectIT's sentence-level score (arXiv 2402.16705, equations 2 to 4).

    For one prompt, with the probabilities of the five rating tokens normalised: the most likely rating times its mean
    margin over the other four. Over prompts: mean / (1 + certainty * standard deviation).

    Args:
        ratings: (n, k, 5) probabilities of the tokens "1" to "5" under k prompts, >= 0, not all 0.
        certainty: alpha, >= 0, the weight of disagreement between prompts.

    Returns:
        (n,) float64 in [0, 5].
    """
    share = ratings / ratings.sum(axis=2, keepdims=True)
    top = share.max(axis=2, keepdims=True)
    margin = (top - share).sum(axis=2) / (share.shape[2] - 1)
    token_level = (share.argmax(axis=2) + 1) * margin  # (n, k)
    score: np.ndarray = token_level.mean(axis=1) / (1 + certainty * token_level.std(axis=1))
    return score


def column_means(utilities: np.ndarray | csr_array) -> np.ndarray:
    """Mean utility of each sample as an example, over its scored pairs with other samples.

    Args:
        utilities: (n, n), row i is helped, column j helps; NaN, or absent if sparse, where not scored.

    Returns:
        (n,) float64; -inf for a sample never scored as an example.
    """
    if isinstance(utilities, csr_array):
        entries = utilities.tocoo()
        rows, columns, values = entries.row, entries.col, entries.data.astype(np.float64)
    else:
        rows, columns = np.nonzero(~np.isnan(utilities))
        values = utilities[rows, columns].astype(np.float64)
    off = rows != columns
    n = utilities.shape[1]
    sums = np.bincount(columns[off], weights=values[off], minlength=n)
    counts = np.bincount(columns[off], minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
