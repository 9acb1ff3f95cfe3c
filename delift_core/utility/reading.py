"""Measured utilities of chosen pairs, read from a pair store without a matrix of all pairs."""

from collections.abc import Sequence

import numpy as np

from delift_core.utility.metrics import Metric, utility
from delift_core.utility.store import PairStore


def chosen_utilities(
    store: PairStore,
    row_names: Sequence[str],
    column_names: Sequence[str],
    rows: np.ndarray,
    columns: np.ndarray,
    metric: Metric,
) -> np.ndarray:
    """(m,) float32 utilities of row `rows[k]` helped by column `columns[k]`; NaN where the pair is not on disk.

    Args:
        row_names, column_names: content hashes; `rows` and `columns` are (m,) positions in them.
    """
    alone = store.alone(row_names)
    statistics = np.full((len(rows), 2), np.nan, dtype=np.float32)
    by_column = np.argsort(columns, kind="stable")
    edges = np.flatnonzero(np.diff(columns[by_column])) + 1
    for members in np.split(by_column, edges) if len(rows) else ():
        names = [row_names[row] for row in rows[members]]
        statistics[members] = store.pair_statistics(names, column_names[columns[members[0]]])
    # One row per pair, each with the one column that it was measured with.
    tokens = np.maximum(alone.tokens[rows], 1)
    return utility(alone.statistics[rows], statistics, tokens, metric).astype(np.float32)
