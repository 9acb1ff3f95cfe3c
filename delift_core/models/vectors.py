"""Vectors: unit length, cosine similarity, search for the largest inner products, and word vectors of texts."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DataError, DeliftError

if TYPE_CHECKING:
    import faiss

_EXACT_ITEMS = 50_000
_PROBED_CELLS = 32
_TRAINING_PER_CELL = 64


class InnerProductSearch:
    """Finds the items with the largest inner product with a query, by faiss.

    The search is exact for up to `exact_items` items. Above, k-means sorts the items into cells (an inverted file), and
    the 32 best cells of a query are searched; the same input gives the same answer.
    """

    def __init__(self, items: np.ndarray, *, exact_items: int = _EXACT_ITEMS) -> None:
        """Args:
        items: (n, d), n >= 1.
        """
        vectors = np.ascontiguousarray(items, dtype=np.float32)
        self._count = len(vectors)
        self._index = _exact_index(vectors) if len(vectors) <= exact_items else _cell_index(vectors)

    def search(self, queries: np.ndarray, count: int) -> np.ndarray:
        """(q, min(count, n)) int64 items for (q, d) queries, best first; -1 where the searched cells hold fewer."""
        vectors = np.ascontiguousarray(queries, dtype=np.float32)
        _, found = self._index.search(vectors, min(count, self._count))
        positions: np.ndarray = found
        return positions


def _exact_index(vectors: np.ndarray) -> "faiss.Index":
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _cell_index(vectors: np.ndarray) -> "faiss.Index":
    import faiss

    count, width = vectors.shape
    cells = min(max(1, int(4 * np.sqrt(count))), count // 40 or 1)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.max_points_per_centroid = 0, _TRAINING_PER_CELL
    index.train(vectors)
    index.add(vectors)
    index.nprobe = min(_PROBED_CELLS, cells)
    return index


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) scaled to length 1, in their own floating type; a vector of zeros stays 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.where(length > 0, length, 1)
    return scaled


def cosine_similarity(embeddings: np.ndarray, position: int) -> np.ndarray:
    """Cosine similarity of each embedding to one of them: (n,) float32 in [-1, 1]; 0 for a vector of zeros.

    Args:
        embeddings: (n, d) float32, finite.
        position: of the embedding to compare with; its similarity to itself is set to 1 exactly.

    Raises:
        DeliftError: the position is out of range.
    """
    if not 0 <= position < len(embeddings):
        n = len(embeddings)
        raise DeliftError(f"position {position} is not among {n:,} samples: use 0 to {n - 1:,}")
    lengths = np.linalg.norm(embeddings, axis=1)
    scale = lengths * lengths[position]
    found = np.divide(embeddings @ embeddings[position], scale, out=np.zeros(len(embeddings)), where=scale > 0)
    found[position] = 1.0
    similarity: np.ndarray = np.clip(found, -1, 1).astype(np.float32)
    return similarity


_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_MAX_CHARACTERS = 4000
_CHUNK = 1024


class WordVectors:
    """Static word vectors (wordllama) with their tokenizer; loading takes about half a second."""

    def __init__(self) -> None:
        """Raises:
        DataError: wordllama is not installed.
        """
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = _folder()
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        (vectors,) = load_file(folder / _WEIGHTS).values()
        self._vectors = vectors.astype(np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, 256) float32 unit vectors of the first 4,000 characters of each text; 0 for a text without tokens."""
        found = np.zeros((len(texts), self._vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            chunk = [text[:_MAX_CHARACTERS] for text in texts[start : start + _CHUNK]]
            for row, encoded in enumerate(self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False), start):
                if encoded.ids:
                    found[row] = self._vectors[encoded.ids].mean(axis=0)
        return unit_rows(found)


def _folder() -> Path:
    spec = importlib.util.find_spec("wordllama")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders or not (Path(folders[0]) / _WEIGHTS).is_file():
        raise DataError(
            "wordllama is not installed, without which paraphrases cannot be found; it has no wheels for Linux on ARM "
            "and for Python 3.14"
        )
    return Path(folders[0])
