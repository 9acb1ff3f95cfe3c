"""Scores of rows by published formulas: pure arithmetic. Rows with higher scores are chosen first."""

import numpy as np
from scipy.sparse import csr_array

from delift_core.models.vectors import unit_rows


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


def selectit(ratings: np.ndarray, certainty: float) -> np.ndarray:
    """SelectIT's sentence-level score (arXiv 2402.16705, equations 2 to 4).

    For one prompt, with the probabilities of the five rating tokens normalised: the most likely rating times its mean
    margin over the other four. Over prompts: mean / (1 + certainty * standard deviation).

    Args:
        ratings: (n, k, 5) probabilities of the tokens "1" to "5" under k prompts, >= 0, not all 0.
        certainty: alpha, >= 0.

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


def influence(train: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """LESS's score of each row for one target: over checkpoints, the weighted mean cosine to the target's gradients.

    Args:
        train: (c, n, d) projected Adam directions at c checkpoints, not all 0.
        target: (c, t, d) projected gradients.
        weights: (c,) mean learning rate of each checkpoint's epoch.

    Returns:
        (n,) float64.
    """
    towards = unit_rows(target.astype(np.float64)).mean(axis=1)  # (c, d)
    score: np.ndarray = np.einsum("c,cnd,cd->n", weights / weights.sum(), unit_rows(train.astype(np.float64)), towards)
    return score
