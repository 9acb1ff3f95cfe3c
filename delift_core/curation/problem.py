"""A selection problem: a finished run with a metric and an objective, from which a subset of any budget is selected."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from delift_core.baselines.ordering import PoolFacts, order_from_facts
from delift_core.baselines.settings import MethodConfig
from delift_core.curation.reliability import ErrorBar, error_bar
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.errors import SelectionError
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.scoring.metrics import LOG_PROBABILITY, Metric
from delift_core.selection.assessment import RandomCurves, random_curves
from delift_core.selection.diagnose import diagnose, second_set_warning
from delift_core.selection.greedy import arrange_order, greedy_order, order_around, order_key, order_within
from delift_core.selection.kernels import Kernel
from delift_core.selection.methods import METHODS, Method
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import Engine
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import (
    NO_FIXED_ROWS,
    Budget,
    ChosenBy,
    FixedRows,
    GreedyOrder,
    ObjectiveConfig,
    Quotas,
    Selection,
    Stage,
)
from delift_core.system.memory import explains_out_of_memory
from delift_core.workspace import Workspace

PAIRWISE_ROWS = 10_000
_MAX_ORDERS = 16
_PAIRWISE = ("k-center", "embedding-fl", "rds")
_BY_EMBEDDING = (*_PAIRWISE, "deft-ucs")


def order_of_run(config: MethodConfig, run: ScoredRun, utilities: Kernel, *, with_target: bool) -> np.ndarray:
    """The order of a run's pool by a method that needs no model.

    Args:
        utilities: (n, n) of the pool, row i is helped, column j helps; read by "column-mean".
        with_target: whether to select for the target rows; read by "rds".

    Returns:
        (n,) int64 positions in the pool, best first; deterministic.

    Raises:
        SelectionError: the method needs a model, or compares all pairs of more than `PAIRWISE_ROWS` rows.
        ScoringError: the run's files are damaged.
    """
    target = run.target if with_target else ()
    ensure_rows_fit(config.method, len(run.pool), with_target=bool(target))
    return order_from_facts(config, replace(_facts(config, run, bool(target)), utilities=utilities))


def ensure_rows_fit(method: Method, n: int, *, with_target: bool) -> None:
    """Refuses a method that compares all pairs of rows for more than `PAIRWISE_ROWS` rows.

    Raises:
        SelectionError: there are more.
    """
    if method in _PAIRWISE and n > PAIRWISE_ROWS and not (method == "rds" and with_target):
        raise SelectionError(
            f"{METHODS[method].title} compares each of {n:,} rows with each other one and takes at most "
            f"{PAIRWISE_ROWS:,}: choose another method, or from fewer rows"
        )


def _facts(config: MethodConfig, run: ScoredRun, with_target: bool) -> PoolFacts:
    """The data that a method reads; embeddings, the largest files, are only loaded if it needs them."""
    alone = run.alone() if config.method in _BY_EMBEDDING else run.measures()
    n = len(run.pool)
    target = run.embeddings()[n : n + len(run.target)] if with_target and config.method == "rds" else None
    return PoolFacts(alone.tokens, -alone.statistics[:, LOG_PROBABILITY].astype(np.float64), alone.embeddings, target)


STAGES: dict[Stage, str] = {
    "instruction": "Rows that together help with as much of the pool as possible.",
    "task": "The same, and also covers your target task.",
    "continual": "Adds what your existing training data does not already teach.",
}


@dataclass(frozen=True)
class SelectionProblem:
    """A finished run with a metric and an objective; orders are computed once and serve every budget."""

    run: ScoredRun
    metric: Metric
    config: ObjectiveConfig
    utilities: Utilities

    @cached_property
    def kernel(self) -> Kernel:
        """(r, n) float32 represented kernel, see `selection.objectives`."""
        with explains_out_of_memory("choosing", len(self.run.pool)):
            return represented_kernel(
                self.config,
                self.utilities.pool,
                diagonal=self.utilities.diagonal,
                target=self.utilities.target if self.config.stage == "task" else None,
                existing=self.utilities.existing if self.config.stage == "continual" else None,
            )

    @cached_property
    def greedy(self) -> GreedyOrder:
        """The whole greedy order."""
        with explains_out_of_memory("choosing", len(self.run.pool)):
            return greedy_order(self.kernel)

    @cached_property
    def random(self) -> RandomCurves:
        """The objective of random subsets of every size."""
        with explains_out_of_memory("drawing random subsets", len(self.run.pool)):
            return random_curves(self.kernel)

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that warn of utilities from which a selection cannot be trusted."""
        diagnosis = diagnose(self.utilities.pool)
        of_pool = None if diagnosis.verdict == "useful" else diagnosis.sentence
        found = (of_pool, second_set_warning(self.config, self.kernel))
        return tuple(sentence for sentence in found if sentence)

    @cached_property
    def partial(self) -> PartialMatrix | None:
        """The partially scored matrix of the pool; None for a run of all pairs."""
        parts = self.run.partial(self.metric)
        return parts["pool"] if parts else None

    def error_bar(self, chosen: np.ndarray, *, seed: int = 0) -> ErrorBar | None:
        """How far a selection from some of the pairs can be trusted; None if all were scored.

        Args:
            chosen: (k,) positions in the pool.
            seed: of the simulation.
        """
        if self.partial is None:
            return None
        return error_bar(self.partial, self.kernel, self.run.unique_positions, chosen, seed=seed)

    def order_of(self, method: Method, *, seed: int = 0) -> np.ndarray:
        """(n,) int64, the order of the pool by a method that needs no model, or that `keep_order` was given.

        Raises:
            SelectionError, ScoringError: as `order_of_run`.
        """
        known = self._method_orders.get((method, seed))
        if known is not None:
            return known
        with explains_out_of_memory("choosing", len(self.run.pool)):
            config, with_target = MethodConfig(method, seed=seed), self.config.stage == "task"
            order = order_of_run(config, self.run, self.utilities.pool, with_target=with_target)
        self.keep_order(method, order, seed)
        return order

    def keep_order(self, method: Method, order: np.ndarray, seed: int = 0) -> None:
        """Stores the order (n,) of a method, such as one that needs the model, for `select`."""
        _store(self._method_orders, (method, seed), order)

    def has_order(self, method: Method, seed: int = 0) -> bool:
        """Whether the order of a method is stored."""
        return (method, seed) in self._method_orders

    @cached_property
    def _method_orders(self) -> dict[tuple[Method, int], np.ndarray]:
        return {}

    @cached_property
    def _orders(self) -> dict[object, GreedyOrder]:
        """The latest orders other than `greedy`, by what they depend on."""
        return {}

    def arrange_order(
        self, order: np.ndarray, budget: Budget, *, quotas: Quotas | None = None, fixed: FixedRows = NO_FIXED_ROWS
    ) -> GreedyOrder:
        """A given order (n,) with its gains, see `selection.fixed.arrange_order`.

        Raises:
            SelectionError: the quotas cannot be met within the budget.
        """
        with explains_out_of_memory("choosing", len(self.run.pool)):
            return arrange_order(self.kernel, order, budget, quotas=quotas, fixed=fixed)

    def select(
        self,
        budget: Budget,
        *,
        seed: int = 0,
        fixed: FixedRows = NO_FIXED_ROWS,
        quotas: Quotas | None = None,
        greedy: GreedyOrder | None = None,
        random: RandomCurves | None = None,
        engine: Engine = "auto",
        method: ChosenBy = "delift",
    ) -> Selection:
        """Selects for a budget. The order is stored, so that another budget for the same request is answered at once.

        Args:
            seed: of the random baseline, and of a method that draws at random.
            fixed: rows kept or dropped by hand, around which the others are chosen.
            quotas: how many rows to take of each group; the budget is then in rows or percent.
            greedy: an order of the caller's own for these fixed rows and quotas, see `arrange_order`.
            random: random subsets without fixed rows, if the caller has them already; `seed` is not used for them.
            engine: computes the order; only without fixed rows and quotas.
            method: the method of the order; one that needs the model needs `keep_order` first.

        Raises:
            SelectionError: the budget or the quotas cannot be met, the utilities do not allow a selection, or memory
                ran out.
        """
        if engine != "auto":
            _ensure_plain(engine, method, fixed, quotas)
        counts = self.run.token_counts() if budget.unit == "tokens" else None
        with explains_out_of_memory("choosing", len(self.run.pool)):
            made = select_from_kernel(
                self.config,
                budget,
                self.kernel,
                greedy or self._order(budget, engine, method, seed, fixed, quotas),
                token_counts=counts,
                seed=seed,
                fixed=fixed,
                quotas=quotas,
                random=random,
                method=method,
            )
        return replace(made, engine=engine)

    def _order(
        self, budget: Budget, engine: Engine, method: ChosenBy, seed: int, fixed: FixedRows, quotas: Quotas | None
    ) -> GreedyOrder:
        """The whole order of a request: a stored one, unless it depends on the budget."""
        if method == "given":
            raise SelectionError("The rows of this selection were given: they cannot be chosen again.")
        within = None if quotas is None else order_key(budget, len(self.run.pool), quotas, fixed)
        key = (engine, method, method != "delift" and seed, fixed, within)
        if key == ("auto", "delift", False, NO_FIXED_ROWS, None):
            return self.greedy
        order = self._orders.get(key)
        if order is None:
            if method != "delift":
                order = self.arrange_order(self.order_of(method, seed=seed), budget, quotas=quotas, fixed=fixed)
            elif quotas is not None:
                order = order_within(self.kernel, budget, quotas, fixed)
            elif fixed != NO_FIXED_ROWS:
                order = order_around(self.kernel, fixed)
            else:
                order = greedy_order(self.kernel, engine=engine)
            _store(self._orders, key, order)
        return order


def _store(stored: dict[Any, Any], key: object, value: object) -> None:
    """Adds an entry, and removes the oldest of more than `_MAX_ORDERS`; visitors of one server may do so at once."""
    stored[key] = value
    for old in list(stored)[:-_MAX_ORDERS]:
        stored.pop(old, None)


def _ensure_plain(engine: Engine, method: ChosenBy, fixed: FixedRows, quotas: Quotas | None) -> None:
    if method != "delift":
        raise SelectionError("An engine computes DELIFT's own order: leave it out with another method.")
    if quotas is not None or fixed.kept or fixed.dropped:
        what = "quotas" if quotas is not None else "rows kept or dropped by hand"
        raise SelectionError(f"The engine {engine!r} does not support {what}: use the engine auto.")


def open_problem(workspace: Workspace, run_id: str, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
    """The selection problem of a finished run.

    Raises:
        ScoringError: the run is not finished.
        SelectionError: the stage needs a set that the run does not have.
    """
    run = open_run(workspace, run_id)
    return problem_for(run, metric, config, run.utilities(metric))


def problem_for(run: ScoredRun, metric: Metric, config: ObjectiveConfig, utilities: Utilities) -> SelectionProblem:
    """As `open_problem`, for an open run with its utilities in this metric.

    Raises:
        SelectionError: the stage needs a set that the run does not have.
    """
    needed = {"task": ("target", run.target), "continual": ("existing", run.existing)}.get(config.stage)
    if needed and not needed[1]:
        raise SelectionError(
            f"stage {config.stage!r} needs a set of {needed[0]} rows and run {run.record.id} has none; "
            f"score the pool again with the {needed[0]} set added (only the new pairs are scored)"
        )
    return SelectionProblem(run, metric, config, utilities)
