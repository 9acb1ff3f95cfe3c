"""Which samples are like another one, by the model's embeddings. Pure: it knows vectors, not texts."""

import numpy as np

from delift_core.errors import DeliftError


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
