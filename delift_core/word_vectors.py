"""What a text means as a vector, without a model run: the mean of its tokens' vectors, as WordLlama does it.

The vectors (32,000 tokens, 256 numbers each, trained so that texts of one meaning lie together) come in the wheel of
the package `wordllama`, whose files are read here; the package itself is not imported, so that nothing is looked for on
the network. They were made for English: in other languages they see mostly that words are shared.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from delift_core.errors import DataError

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
