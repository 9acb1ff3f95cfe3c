"""Selecting from a finished run: one object remembers utilities, kernels and orders, and answers every request."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from delift_core.curation.reliability import error_bar
from delift_core.curation.run_orders import order_of_run
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import Facet, columns, quotas_from
from delift_core.errors import SelectionError
from delift_core.samples import Sample
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.scoring.metrics import Metric
from delift_core.selection.assessment import RandomCurves, random_curves
from delift_core.selection.budget import rows_of_budget
from delift_core.selection.coverage import value
from delift_core.selection.diagnose import diagnose, second_set_warning
from delift_core.selection.greedy import (
    arrange_order,
    greedy_order,
    order_around,
    order_key,
    order_within,
    rows_within,
)
from delift_core.selection.kernels import Kernel
from delift_core.selection.methods import Method, asks_model, ensure_rows_fit, method_title
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.quotas import pick_limits
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import NO_FIXED_ROWS, ErrorBar, GreedyOrder, ObjectiveConfig, Selection
from delift_core.system.memory import explains_out_of_memory

_MOST_UTILITIES, _MOST_PROBLEMS, _MOST_FACTS, _MOST_ORDERS, _MOST_VALUES = 2, 3, 5, 16, 64
_Value = TypeVar("_Value")


class NotMeasured(SelectionError):
    """A method asks the model about every row, and has not done so for this run."""


class Memo:
    """The latest values by key. Each is computed once, also if several threads ask for it at the same time."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._entries: OrderedDict[Hashable, tuple[Lock, list[Any]]] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], _Value]) -> _Value:
        """The value of a key, computed if it is not stored."""
        with self._lock:
            lock, stored = self._entries.setdefault(key, (Lock(), []))
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        with lock:
            if not stored:
                stored.append(compute())
            found: _Value = stored[0]
            return found

    def put(self, key: Hashable, value: object) -> None:
        """Stores a value."""
        with self._lock:
            self._entries.pop(key, None)
        self.get(key, lambda: value)


@dataclass(frozen=True)
class SelectionProblem:
    """A finished run with a metric and an objective, and what is computed from them once."""

    run: ScoredRun
    metric: Metric
    config: ObjectiveConfig
    utilities: Utilities
    read_order: "ReadOrder"
    _facts: Memo = field(default_factory=lambda: Memo(_MOST_FACTS), init=False, repr=False, compare=False)
    _orders: Memo = field(default_factory=lambda: Memo(_MOST_ORDERS), init=False, repr=False, compare=False)
    _values: Memo = field(default_factory=lambda: Memo(_MOST_VALUES), init=False, repr=False, compare=False)

    @property
    def kernel(self) -> Kernel:
        """(r, n) float32 represented kernel, see `selection.objectives`."""
        return self._once("kernel", "choosing", self._represent)

    def _represent(self) -> Kernel:
        needed = self.config.needed_set
        return represented_kernel(
            self.config,
            self.utilities.pool,
            diagonal=self.utilities.diagonal,
            target=self.utilities.target if needed == "target" else None,
            existing=self.utilities.existing if needed == "existing" else None,
        )

    @property
    def greedy(self) -> GreedyOrder:
        """The whole greedy order."""
        return self._once("greedy", "choosing", lambda: greedy_order(self.kernel))

    @property
    def random(self) -> RandomCurves:
        """The objective of random subsets of every size."""
        return self._once("random", "drawing random subsets", lambda: random_curves(self.kernel))

    @property
    def partial(self) -> PartialMatrix | None:
        """The partially scored matrix of the pool; None for a run of all pairs."""
        parts = self._facts.get("partial", lambda: self.run.partial(self.metric))
        return parts["pool"] if parts else None

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that warn of utilities from which a selection cannot be trusted."""
        return self._facts.get("cautions", self._find_cautions)

    def _find_cautions(self) -> tuple[str, ...]:
        diagnosis = diagnose(self.utilities.pool)
        of_pool = None if diagnosis.verdict == "useful" else diagnosis.sentence
        found = (of_pool, second_set_warning(self.config, self.kernel))
        return (*(sentence for sentence in found if sentence), *self.run.record.rendering.cautions)

    def coverage(self, positions: np.ndarray) -> float:
        """The objective of a subset (k,) of the pool."""
        return self.remember(("coverage", positions.tobytes()), lambda: value(self.kernel, positions))

    def error_bar(self, chosen: np.ndarray, *, seed: int = 0) -> ErrorBar | None:
        """How far a selection from some of the pairs can be trusted; None if all were scored.

        Args:
            chosen: (k,) positions in the pool.
            seed: of the simulation.
        """
        partial = self.partial
        if partial is None:
            return None
        unique = self.run.unique_positions
        key = ("error bar", chosen.tobytes(), seed)
        return self.remember(key, lambda: error_bar(partial, self.kernel, unique, chosen, seed=seed))

    def remember(self, key: Hashable, compute: Callable[[], _Value]) -> _Value:
        """A value that is slow to compute from this problem; computed once for each key."""
        return self._values.get(key, compute)

    def order_of(self, method: Method, *, seed: int = 0) -> np.ndarray:
        """(n,) int64, the order of the pool by a method.

        Raises:
            NotMeasured: the method asks the model, and has not done so; `keep_order` stores its order.
            SelectionError, ScoringError: as `order_of_run`.
        """
        return self._orders.get((method, seed), lambda: self._order_by(method, seed))

    def _order_by(self, method: Method, seed: int) -> np.ndarray:
        if asks_model(method):
            order = self.read_order(self, method, seed)
            if order is None:
                raise NotMeasured(f"{method_title(method)} asks the model about every row: evaluate with it first.")
            return order
        with explains_out_of_memory("choosing", len(self.run.pool)):
            with_target = self.config.needed_set == "target"
            return order_of_run(method, self.run, self.utilities.pool, with_target=with_target, seed=seed)

    def keep_order(self, method: Method, order: np.ndarray, seed: int = 0) -> None:
        """Stores the order (n,) of a method that asks the model."""
        self._orders.put((method, seed), order)

    def order_for(self, request: SelectionRequest) -> GreedyOrder:
        """The whole order that a request is cut from; stored, so that another budget needs no other one.

        Args:
            request: for this metric and objective; its quotas are matched to the rows of the pool.

        Raises:
            SelectionError: the quotas cannot be met within the budget, or as `order_of`.
        """
        quotas, fixed, method = request.matched_quotas, request.fixed, request.method
        if request.given is not None:
            return arrange_order(self.kernel, request.given, request.budget, quotas=quotas, fixed=fixed)
        within = None if quotas is None else order_key(request.budget, len(self.run.pool), quotas, fixed)
        key = (request.engine, method, method != "delift" and request.seed, fixed, within)
        if key == ("auto", "delift", False, NO_FIXED_ROWS, None):
            return self.greedy
        return self._orders.get(key, lambda: self._compute_order(request))

    def _compute_order(self, request: SelectionRequest) -> GreedyOrder:
        quotas, fixed, method = request.matched_quotas, request.fixed, request.method
        if method != "delift" and method != "given":
            order = self.order_of(method, seed=request.seed)
            return arrange_order(self.kernel, order, request.budget, quotas=quotas, fixed=fixed)
        if quotas is not None:
            return order_within(self.kernel, request.budget, quotas, fixed)
        if fixed != NO_FIXED_ROWS:
            return order_around(self.kernel, fixed)
        return greedy_order(self.kernel, engine=request.engine)

    def _once(self, name: str, doing: str, compute: Callable[[], _Value]) -> _Value:
        with explains_out_of_memory(doing, len(self.run.pool)):
            return self._facts.get(name, compute)


ReadOrder = Callable[[SelectionProblem, Method, int], np.ndarray | None]
"""Reads the order (n,) by a method that asks the model, with a seed, from where it is kept; None if it is not."""


class Selector:
    """Selects from a finished run. It remembers what requests depend on, so that another budget is answered at once:
    utilities by metric, and of the latest objectives kernels, orders and random subsets. Threads can share one.
    """

    def __init__(self, run: ScoredRun, read_order: ReadOrder = lambda problem, method, seed: None) -> None:
        self.run = run
        self._read_order = read_order
        self._utilities, self._problems, self._values = Memo(_MOST_UTILITIES), Memo(_MOST_PROBLEMS), Memo(_MOST_VALUES)

    def remember(self, key: Hashable, compute: Callable[[], _Value]) -> _Value:
        """A value that is slow to compute from the run; computed once for each key."""
        return self._values.get(key, compute)

    def utilities(self, metric: Metric) -> Utilities:
        """The utility matrices of the run, see `ScoredRun.utilities`."""
        return self._utilities.get(metric, lambda: self.run.utilities(metric))

    @property
    def columns(self) -> tuple[Facet, ...]:
        """The columns of the pool that quotas can be set on."""
        return self.remember("columns", lambda: columns(self.run.pool, self.run.response_tokens()))

    def problem(self, metric: Metric, config: ObjectiveConfig) -> SelectionProblem:
        """The run with a metric and an objective.

        Raises:
            SelectionError: the stage needs a set that the run does not have.
        """
        needed = config.needed_set
        if needed and not {"target": self.run.target, "existing": self.run.existing}[needed]:
            raise SelectionError(
                f"stage {config.stage!r} needs a set of {needed} rows and run {self.run.record.id} has none; "
                f"score the pool again with the {needed} set added (only the new pairs are scored)"
            )
        return self._problems.get(
            (metric, config),
            lambda: SelectionProblem(self.run, metric, config, self.utilities(metric), self._read_order),
        )

    def select(self, request: SelectionRequest) -> Selection:
        """Answers a request.

        Raises:
            SelectionError: the run lacks a set that the stage needs, the budget or the quotas cannot be met, the
                utilities do not allow a selection, or memory ran out.
            NotMeasured: the method asks the model, and has not done so.
        """
        if isinstance(request.quotas, tuple):
            request = replace(request, quotas=quotas_from(request.quotas, self.columns) if request.quotas else None)
        problem = self.problem(request.metric, request.config)
        counts = self.run.token_counts() if "token counts" in request.needs else None
        with explains_out_of_memory("choosing", len(self.run.pool)):
            order = problem.order_for(request)
            drawn = problem.random if request.seed == 0 and counts is None and request.quotas is None else None
            return select_from_kernel(request, problem.kernel, order, token_counts=counts, random=drawn)


def ensure_possible(request: SelectionRequest, pool: Sequence[Sample]) -> None:
    """Refuses a request that cannot be met from these rows, whatever their scores.

    Raises:
        SelectionError: the budget, the quotas or the method do not fit the pool.
    """
    n = len(pool)
    if request.budget.unit != "tokens":
        rows_of_budget(request.budget, n)
    if isinstance(request.quotas, tuple) and (quotas := quotas_from(request.quotas, columns(pool))):
        pick_limits(quotas, rows_within(request.budget, n, request.fixed), request.fixed)
    if request.method != "delift" and request.method != "given":
        ensure_rows_fit(request.method, n, with_target=request.config.needed_set == "target")
