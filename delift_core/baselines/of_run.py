"""Orders of a scored run's pool by the methods that its stored numbers suffice for: nothing is asked of a model."""

from dataclasses import replace

import numpy as np

from delift_core.baselines.catalogue import METHODS, Method, MethodConfig
from delift_core.baselines.facts import PoolFacts
from delift_core.baselines.ordering import order_from_facts
from delift_core.errors import SelectionError
from delift_core.jobs.runs import ScoredRun
from delift_core.selection.kernels import Kernel
from delift_core.utility.metrics import LOG_PROBABILITY

PAIRWISE_ROWS = 10_000
_PAIRWISE = ("k-center", "embedding-fl", "rds")
_BY_EMBEDDING = (*_PAIRWISE, "deft-ucs")


def order_of_run(config: MethodConfig, run: ScoredRun, utilities: Kernel, *, with_target: bool) -> np.ndarray:
    """The whole order of a run's pool by a method that asks no model.

    Args:
        utilities: (n, n) of the pool, row i is helped and column j helps; read by "column-mean".
        with_target: the target rows are what the selection is for (read by "rds").

    Returns:
        (n,) int64 positions in the pool, the first to take first; the same run and config give the same.

    Raises:
        SelectionError: the method asks the model itself, or compares all rows with each other and there are more than
            `PAIRWISE_ROWS`.
        ScoringError: the run's numbers are damaged.
    """
    target = run.target if with_target else ()
    ensure_rows_fit(config.method, len(run.pool), with_target=bool(target))
    return order_from_facts(config, replace(_facts(config, run, bool(target)), utilities=utilities))


def ensure_rows_fit(method: Method, n: int, *, with_target: bool) -> None:
    """Refuses a method that compares all rows with each other for more than `PAIRWISE_ROWS` rows.

    Raises:
        SelectionError: see above.
    """
    if method in _PAIRWISE and n > PAIRWISE_ROWS and not (method == "rds" and with_target):
        raise SelectionError(
            f"{METHODS[method].title} compares each of {n:,} rows with each other one and takes at most "
            f"{PAIRWISE_ROWS:,}: choose another method, or from fewer rows"
        )


def _facts(config: MethodConfig, run: ScoredRun, with_target: bool) -> PoolFacts:
    """What a method reads; embeddings (most of what is on disk) only where it reads them."""
    alone = run.alone() if config.method in _BY_EMBEDDING else run.measures()
    n = len(run.pool)
    target = run.embeddings()[n : n + len(run.target)] if with_target and config.method == "rds" else None
    return PoolFacts(alone.tokens, -alone.statistics[:, LOG_PROBABILITY].astype(np.float64), alone.embeddings, target)
