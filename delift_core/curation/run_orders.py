"""Orders of a finished run's pool by methods that need no model: what they read comes from the run's files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.samples import Sample
from delift_core.scoring.metrics import LOG_PROBABILITY
from delift_core.scoring.store import ZeroShot
from delift_core.selection.kernels import Kernel
from delift_core.selection.methods import Method, Pool, ensure_rows_fit, method_entry


def order_of_run(method: Method, run: ScoredRun, utilities: Kernel, *, with_target: bool, seed: int = 0) -> np.ndarray:
    """The order of a run's pool by a method that needs no model.

    Args:
        utilities: (n, n) of the pool, row i is helped, column j helps.
        with_target: whether to select for the target rows.
        seed: of a method that draws at random.

    Returns:
        (n,) int64 positions in the pool, best first; deterministic.

    Raises:
        SelectionError: the method needs a model, or compares all pairs of more than `PAIRWISE_ROWS` rows.
        ScoringError: the run's files are damaged.
    """
    pool = _RunPool(run, utilities, with_target)
    ensure_rows_fit(method, len(run.pool), with_target=bool(pool.target))
    return method_entry(method).order(pool, seed)


@dataclass(frozen=True)
class _RunPool(Pool):
    """The pool of a run; embeddings, the largest files, are only read if a method asks for them."""

    run: ScoredRun
    matrix: Kernel
    with_target: bool

    @property
    def samples(self) -> Sequence[Sample]:
        return self.run.pool

    @property
    def target(self) -> Sequence[Sample]:
        return self.run.target if self.with_target else ()

    @property
    def utilities(self) -> Kernel:
        return self.matrix

    @property
    def tokens(self) -> np.ndarray:
        return self._measures.tokens

    @property
    def losses(self) -> np.ndarray:
        mean: np.ndarray = -self._measures.statistics[:, LOG_PROBABILITY].astype(np.float64) / self.tokens
        return mean

    @property
    def embeddings(self) -> np.ndarray:
        return self.run.alone().embeddings

    @property
    def target_embeddings(self) -> np.ndarray | None:
        n = len(self.run.pool)
        return self.run.embeddings()[n : n + len(self.target)] if self.target else None

    @cached_property
    def _measures(self) -> ZeroShot:
        return self.run.measures()
