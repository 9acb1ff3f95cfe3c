"""What an order is made from: arrays over a pool of n samples. It knows nothing of how they were measured."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """Of n pool samples, in pool order.

    Attributes:
        tokens: (n,) int64 response tokens, > 0.
        loss: (n,) float64, -log p of the response given its prompt, summed, in nats.
        embeddings: (n, d) float32, of prompt and response, any length.
        target_embeddings: (t, d) float32, or None without a target.
        utilities: (n, n), row i is helped and column j helps, NaN (or absent, if sparse) where not scored; or None.
    """

    tokens: np.ndarray
    loss: np.ndarray
    embeddings: np.ndarray
    target_embeddings: np.ndarray | None = None
    utilities: np.ndarray | csr_array | None = None

    @property
    def n(self) -> int:
        """Size of the pool."""
        return len(self.tokens)

    @property
    def loss_per_token(self) -> np.ndarray:
        """(n,) float64, nats per response token."""
        share: np.ndarray = self.loss / self.tokens
        return share
