"""The largest inner products of vectors with vectors, by faiss: exact below a size, approximate above."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DataError, DeliftError

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


def likeness(embeddings: np.ndarray, position: int) -> np.ndarray:
    """Cosine of the angle between each embedding and one of them: (n,) float32 in [-1, 1]; 0 for a vector of zeros.

    Args:
        embeddings: (n, d) float32, finite.
        position: of the sample that the others are compared with; its own likeness is 1, the largest there is.

    Raises:
        DeliftError: the position is not among them.
    """
    if not 0 <= position < len(embeddings):
        n = len(embeddings)
        raise DeliftError(f"position {position} is not among {n:,} samples: use 0 to {n - 1:,}")
    lengths = np.linalg.norm(embeddings, axis=1)
    scale = lengths * lengths[position]
    found = np.divide(embeddings @ embeddings[position], scale, out=np.zeros(len(embeddings)), where=scale > 0)
    found[position] = 1.0
    alike: np.ndarray = np.clip(found, -1, 1).astype(np.float32)
    return alike


_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_READ_CHARACTERS = 4000
_CHUNK = 1024


class WordVectors:
    """Token vectors with their tokenizer; loading takes about half a second."""

    def __init__(self) -> None:
        """Raises:
        DataError: the package is not installed.
        """
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = _folder()
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        (vectors,) = load_file(folder / _WEIGHTS).values()
        self._vectors = vectors.astype(np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, 256) float32 of length 1, or of zeros for a text without tokens; its first 4,000 characters are read."""
        found = np.zeros((len(texts), self._vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            chunk = [text[:_READ_CHARACTERS] for text in texts[start : start + _CHUNK]]
            for row, encoded in enumerate(self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False), start):
                if encoded.ids:
                    found[row] = self._vectors[encoded.ids].mean(axis=0)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        scaled: np.ndarray = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
        return scaled


def _folder() -> Path:
    spec = importlib.util.find_spec("wordllama")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places or not (Path(places[0]) / _WEIGHTS).is_file():
        raise DataError("wordllama is not installed, which finds rows of one meaning; pip install -r requirements.txt")
    return Path(places[0])
