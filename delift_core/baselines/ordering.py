"""From a method to its order of a whole pool.

    runner = MethodRunner(scorer, template, samples, encoded)
    order = runner.order(MethodConfig("k-center"))

Losses and embeddings are measured once for all methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from delift_core.baselines import orders, scores
from delift_core.baselines.settings import MethodConfig
from delift_core.errors import SelectionError
from delift_core.selection.methods import MODEL_METHODS
from delift_core.system.callbacks import Stop, never


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What most methods need of a pool of n samples, in pool order.

    Attributes:
        tokens: (n,) int64 response tokens, > 0.
        loss: (n,) float64, -log p of the response given its prompt, summed over tokens, in nats.
        embeddings: (n, d) float32 of prompt and response, not normalised.
        target_embeddings: (t, d) float32, or None without a target.
        utilities: (n, n), row i is helped, column j helps, NaN (absent if sparse) where not scored; or None.
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
        mean: np.ndarray = self.loss / self.tokens
        return mean


if TYPE_CHECKING:
    from delift_core.models.prompts import EncodedSample, Template
    from delift_core.samples import Sample
    from delift_core.scoring.scorer import Scorer


def order_from_facts(config: MethodConfig, facts: PoolFacts) -> np.ndarray:
    """The order of a method that needs only a pool's facts.

    Returns:
        (n,) int64 positions, best first.

    Raises:
        SelectionError: the method needs utilities that are missing, or the model itself.
    """
    method = config.method
    if method == "random":
        return orders.random_order(facts.n, config.seed)
    if method == "longest":
        return orders.by_score(facts.tokens.astype(np.float64))
    if method == "loss-high":
        return orders.by_score(facts.loss_per_token)
    if method == "loss-low":
        return orders.by_score(-facts.loss_per_token)
    if method == "loss-middle":
        return orders.nearest_to_median(facts.loss_per_token)
    if method == "deft-ucs":
        return orders.cluster_order(
            facts.embeddings, clusters=config.clusters, easy_share=config.easy_share, seed=config.seed
        )
    if method == "k-center":
        return orders.farthest_first(facts.embeddings)
    if method == "embedding-fl":
        return orders.embedding_coverage(facts.embeddings)
    if method == "rds":
        return orders.round_robin(facts.embeddings, facts.target_embeddings)
    if method == "column-mean":
        if facts.utilities is None:
            raise SelectionError("mean utility needs a scored run; score the pool, or use another method")
        return orders.by_score(scores.column_means(facts.utilities))
    raise SelectionError(f"{method} needs the model itself, not only losses and embeddings; run it as a job")


class MethodRunner:
    """Orders of a pool by any method, with a loaded model."""

    def __init__(
        self,
        scorer: "Scorer",
        template: "Template",
        samples: "Sequence[Sample]",
        pool: "Sequence[EncodedSample]",
        target: "Sequence[EncodedSample]" = (),
        *,
        utilities: np.ndarray | csr_array | None = None,
        stop: Stop = never,
    ) -> None:
        """Args:
        samples, pool: the pool's n rows, as texts and as token ids.
        target: target rows, for the methods that use them.
        utilities: (n, n) of the same rows, for "column-mean".
        stop: asked before every forward pass.
        """
        self._scorer, self._template, self._samples = scorer, template, samples
        self._pool, self._target, self._utilities, self._stop = pool, target, utilities, stop

    @cached_property
    def facts(self) -> PoolFacts:
        """Losses, lengths and embeddings, measured on first use."""
        from delift_core.baselines.measure import pool_facts

        measured = pool_facts(self._scorer, self._template.head_alone, self._pool, self._target, stop=self._stop)
        return replace(measured, utilities=self._utilities)

    def order(self, config: MethodConfig) -> np.ndarray:
        """(n,) int64 positions by a method, best first.

        Raises:
            Stopped: `stop` answered True.
            SelectionError, ScoringError: the method does not work with this run or this model.
        """
        if config.method == "random":
            return orders.random_order(len(self._pool), config.seed)
        if config.method not in MODEL_METHODS:
            return order_from_facts(config, self.facts)
        if config.method == "less":
            from delift_core.baselines.less import less_scores

            head = self._template.head_alone
            return orders.by_score(
                less_scores(
                    self._scorer.loaded, head, self._pool, self._target, config.less, seed=config.seed, stop=self._stop
                )
            )
        from delift_core.baselines import measure

        if config.method == "selectit":
            found = measure.ratings(self._scorer, self._template, self._samples, stop=self._stop)
            return orders.by_score(scores.selectit(found, config.certainty))
        unconditional = measure.unconditional_losses(self._scorer, self._pool, stop=self._stop) / self.facts.tokens
        difficulty = scores.instruction_following_difficulty(self.facts.loss_per_token, unconditional)
        return orders.discard_above(difficulty, 1.0)
