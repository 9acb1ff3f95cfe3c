"""The knee of a gain curve: where more rows begin to add less than rows do on average."""

import numpy as np


def knee(gains: np.ndarray) -> int:
    """Number of rows at which the cumulative curve lies furthest above the chord from its start to its end.

    The distance to the chord after scaling both axes to [0, 1], as in Satopaa et al. 2011, "Finding a Kneedle in a
    Haystack", without its smoothing. Where gains never rise, as in a greedy order, these are the rows that add more
    than the mean gain of all.

    Args:
        gains: (n,) float, marginal gains in the order of picking, >= 0.

    Returns:
        0 to n; 0 when the curve nowhere lies above its chord.
    """
    objective = np.concatenate([[0.0], np.cumsum(gains, dtype=np.float64)])
    if gains.size == 0 or objective[-1] <= 0:
        return 0
    above = objective / objective[-1] - np.arange(objective.size) / gains.size
    best = int(np.argmax(above))
    return best if above[best] > 1e-9 else 0
