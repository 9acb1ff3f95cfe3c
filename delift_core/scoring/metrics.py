"""From sufficient statistics of pairs to utilities: pure arithmetic.

The statistics of a pair (row i is helped, column j helps) are two sums over the T_i response tokens of sample i:

    squared  = sum_t (1 - p_it)^2          log_probability = sum_t log p_it   (nats)

with p_it the model's probability of the t-th response token under teacher forcing. Every metric follows from them, so
one scoring run serves all (DELIFT, arXiv 2411.04425, section 3).
"""

from typing import TYPE_CHECKING

from delift_core.selection.types import Metric as Metric

if TYPE_CHECKING:
    import numpy as np

SQUARED, LOG_PROBABILITY = 0, 1  # last axis of an array of statistics

METRIC_UNITS: dict[Metric, str] = {"euclidean": "distance", "pmi": "nats", "pmi-per-token": "nats per token"}


def utility(alone: "np.ndarray", with_example: "np.ndarray", tokens: "np.ndarray", metric: Metric) -> "np.ndarray":
    """The utility of one example for n helped samples.

    Args:
        alone: (n, 2) statistics without an example.
        with_example: (n, 2) statistics with the example before the query; NaN where not scored.
        tokens: (n,) response tokens T_i, > 0.
        metric: "euclidean": d(alone) - d(with example), d = sqrt(squared / T), in [-1, 1];
            "pmi": log p(y|example, x) - log p(y|x) in nats, the conditional pointwise mutual information, which is the
            utility when the distance is the KL divergence; "pmi-per-token": the same divided by T.

    Returns:
        (n,) float32; positive where the example helps.
    """
    import numpy as np

    if metric == "euclidean":
        length = tokens.astype(np.float64)
        before = np.sqrt(alone[:, SQUARED].astype(np.float64) / length)
        after = np.sqrt(with_example[:, SQUARED].astype(np.float64) / length)
        return (before - after).astype(np.float32)
    gain = with_example[:, LOG_PROBABILITY].astype(np.float64) - alone[:, LOG_PROBABILITY].astype(np.float64)
    return (gain / tokens if metric == "pmi-per-token" else gain).astype(np.float32)


def distance(statistics: "np.ndarray", tokens: "np.ndarray") -> "np.ndarray":
    """Euclidean distance d = sqrt(sum_t (1 - p_t)^2 / T) in [0, 1]; (n, 2) statistics, (n,) tokens; (n,) float32."""
    import numpy as np

    squared: np.ndarray = statistics[:, SQUARED].astype(np.float64) / tokens
    root: np.ndarray = np.sqrt(squared).astype(np.float32)
    return root
