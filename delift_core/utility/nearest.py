"""The largest inner products of vectors with vectors, by faiss: exact below a size, approximate above."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import faiss

EXACT_ITEMS = 50_000
_PROBED_CELLS = 32
_TRAINING_PER_CELL = 64


class ProductSearch:
    """Finds the items of the largest inner product with a query.

    Above `exact_items` the items are sorted into cells by k-means (an inverted file) and the 32 best cells of a query
    are searched; the same input gives the same answer.
    """

    def __init__(self, items: np.ndarray, *, exact_items: int = EXACT_ITEMS) -> None:
        """Args:
        items: (n, d), n >= 1.
        """
        vectors = np.ascontiguousarray(items, dtype=np.float32)
        self._number = len(vectors)
        self._index = _exact(vectors) if len(vectors) <= exact_items else _in_cells(vectors)

    def largest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """For (q, d) queries the (q, min(count, n)) int64 items, best first; -1 where the cells hold fewer."""
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        _, found = self._index.search(asked, min(count, self._number))
        positions: np.ndarray = found
        return positions


def _exact(vectors: np.ndarray) -> "faiss.Index":
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _in_cells(vectors: np.ndarray) -> "faiss.Index":
    import faiss

    number, width = vectors.shape
    cells = max(1, int(4 * np.sqrt(number)))
    cells = min(cells, number // 40 or 1)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.max_points_per_centroid = 0, _TRAINING_PER_CELL
    index.train(vectors)
    index.add(vectors)
    index.nprobe = min(_PROBED_CELLS, cells)
    return index
