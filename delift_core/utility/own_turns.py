"""Turns of one record that are samples of their own: none counts as help for another.

A later turn's prompt holds the answers to the earlier ones word for word, so that its help on them is no in-context
gain, just as a row's help on itself is none.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from delift_core.collecting import without_collection
from delift_core.samples import Sample


def records_of(pool: Sequence[Sample]) -> np.ndarray | None:
    """(n,) int64, which record each sample is of; None where every sample is a record."""
    code_of: dict[tuple[str, int], int] = {}
    with without_collection():
        codes = [code_of.setdefault((sample.source, sample.line), len(code_of)) for sample in pool]
    return None if len(code_of) == len(pool) else np.array(codes, dtype=np.int64)


def without_own_turns(matrix: np.ndarray | csr_array, records: np.ndarray) -> np.ndarray | csr_array:
    """A pool matrix (n, n) with 0 for different turns of one record; the diagonal and which entries there are stay.

    Args:
        records: from `records_of`.
    """
    if isinstance(matrix, csr_array):
        rows = np.repeat(np.arange(len(records)), np.diff(matrix.indptr))
        columns = matrix.indices
        data = np.where((records[rows] == records[columns]) & (rows != columns), np.float32(0), matrix.data)
        return csr_array((data, columns, matrix.indptr), shape=matrix.shape)
    result = matrix.copy()
    order = np.argsort(records, kind="stable")
    for turns in np.split(order, np.flatnonzero(np.diff(records[order])) + 1):
        if len(turns) > 1:
            result[np.ix_(turns, turns)] = 0.0
            result[turns, turns] = matrix[turns, turns]
    return result
