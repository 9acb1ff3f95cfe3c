"""What to select: one value that is valid or not made at all, and its parts as text.

This module knows nothing of pools, kernels or arrays, so that importing it is cheap.
"""

import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, cast, get_args

from delift_core import __version__
from delift_core.errors import SelectionError
from delift_core.selection.methods import METHOD_NAMES, asks_model
from delift_core.selection.types import (
    NO_FIXED_ROWS,
    Budget,
    BudgetUnit,
    ChosenBy,
    FixedRows,
    Metric,
    ObjectiveConfig,
    Quota,
    Quotas,
    Scaling,
    SecondSet,
    Stage,
    TargetHelp,
)

if TYPE_CHECKING:
    import numpy as np

Engine = Literal["auto", "dense", "sparse", "torch", "submodlib"]
"""Every engine maximises greedily over the whole pool and converts a kernel, dense or sparse, to its own form.

    auto        sparse for a sparse kernel, dense for a dense one
    dense       compiled by numba; works on a dense kernel without a copy
    sparse      compiled by numba; copies the kernel by columns
    torch       on a GPU if torch finds one; copies the kernel to the device
    submodlib   the reference implementation, lazy greedy; copies the kernel; not every system has it
"""
_REMOVED_ENGINES = ("stochastic", "partitioned")
Need = Literal[SecondSet, "model", "token counts"]

_BUDGET_FORMS = 'write "30%" (share of the pool), "500" (rows) or "200000tok" (tokens)'
_BUDGET = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(%|tok)?\s*", re.ASCII)
_UNITS: dict[str | None, BudgetUnit] = {None: "rows", "%": "percent", "tok": "tokens"}
_SUFFIXES: dict[BudgetUnit, str] = {"rows": "", "percent": "%", "tokens": "tok"}
_QUOTA_FORM = 'write "COLUMN:GROUP=LEAST..MOST", such as "source:a.jsonl=10..40"; either number may be left out'
_QUOTA = re.compile(r"([^:]+):(.+)=(\d{0,9})\.\.(\d{0,9})", re.DOTALL)


def parse_budget(text: str) -> Budget:
    """Parses "30%", "500" or "200000tok".

    Raises:
        SelectionError: another form, an amount of 0 or less, more than 100 %, or a fraction of a row or token.
    """
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise SelectionError(f"Budget {text!r} is not understood: {_BUDGET_FORMS}.")
    budget = Budget(unit=_UNITS[match[2]], amount=float(match[1]))
    check_budget(budget)
    return budget


def format_budget(budget: Budget) -> str:
    """Formats a budget; `parse_budget` is the inverse."""
    return f"{Decimal(repr(float(budget.amount))).normalize():f}" + _SUFFIXES[budget.unit]


def check_budget(budget: Budget) -> None:
    """Raises a SelectionError for a budget that is invalid for any pool."""
    amount = budget.amount
    if not (0 < amount < math.inf):
        raise SelectionError(f"A budget must be above 0, not {amount:g}: {_BUDGET_FORMS}.")
    if budget.unit == "percent" and amount > 100:
        raise SelectionError(f"A budget of {amount:g} % is more than the whole pool: give at most 100 %.")
    if budget.unit != "percent" and amount != int(amount):
        raise SelectionError(f"A budget of {amount:g} {budget.unit} is not a whole number: {_BUDGET_FORMS}.")


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """A quota as written by a curator, before it is matched to the groups of its column."""

    column: str
    quota: Quota


def parse_quota(text: str) -> QuotaRequest:
    """Parses "source:a.jsonl=10..40", "topic:maths=10.." or "source:b.jsonl=..40".

    Raises:
        SelectionError: another form, or a minimum above the maximum.
    """
    match = _QUOTA.fullmatch(text)
    if match is None or not (match[3] or match[4]):
        raise SelectionError(f"Quota {text!r} is not understood: {_QUOTA_FORM}.")
    quota = Quota(match[2], int(match[3] or 0), int(match[4]) if match[4] else None)
    check_quota(quota)
    return QuotaRequest(match[1].strip(), quota)


def format_quota(quota: Quota) -> str:
    """The bounds of a quota as `parse_quota` reads them: "10..40", "10.." or "..40"."""
    return f"{quota.least or ''}..{'' if quota.most is None else quota.most}"


def has_bounds(quota: Quota) -> bool:
    """Whether a quota has a lower or upper bound."""
    return quota.least > 0 or quota.most is not None


def check_quota(quota: Quota) -> None:
    """Raises a SelectionError for a negative minimum, or a minimum above the maximum."""
    if quota.least < 0 or (quota.most is not None and quota.most < quota.least):
        raise SelectionError(
            f"The quota of {quota.label!r} asks for at least {quota.least:,} and at most {quota.most:,} rows: "
            "give a minimum of at least 0 and a maximum of at least the minimum."
        )


def parse_engine(text: str) -> Engine:
    """Parses the name of an engine.

    Raises:
        SelectionError: an unknown engine, or one that was removed.
    """
    name = text.strip()
    if name not in get_args(Engine):
        known = ", ".join(get_args(Engine))
        if is_removed_engine(name):
            raise SelectionError(
                f"DELIFT Studio {__version__} has no engine {name!r} any more: run this with version 0.1.0, the last "
                f"that has it, or choose again with one of {known}."
            )
        raise SelectionError(f"Engine {text!r} is not known: use one of {known}.")
    return cast(Engine, name)


def is_installed(engine: Engine) -> bool:
    """Whether the package of an engine is there; our own engines always are."""
    return engine != "submodlib" or importlib.util.find_spec("submodlib") is not None


def require_engine(engine: Engine) -> None:
    """Raises a SelectionError for an engine whose package is not installed."""
    if not is_installed(engine):
        raise SelectionError(
            f"Engine {engine!r} needs the package submodlib-py, which is not installed; it has wheels for Python 3.11 "
            "and 3.12 on Linux (x86-64) and macOS (Apple silicon). Use auto: it chooses the same rows, up to ties."
        )


def is_removed_engine(name: str) -> bool:
    """Whether an engine, with its setting if any ("stochastic:0.1"), was removed after version 0.1.0."""
    return name.partition(":")[0] in _REMOVED_ENGINES


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What to select from a scored pool. A request that contradicts itself cannot be made; the pool decides whether a
    valid one can be met.

    Attributes:
        config: the objective.
        budget: the size of the selection; in rows or percent if there are quotas.
        metric: of the utilities.
        quotas: as a curator wrote them, or matched to the rows of the pool.
        fixed: rows kept or dropped by hand, around which the others are chosen.
        method: what orders the rows.
        engine: computes DELIFT's order; "auto" with another method, quotas or fixed rows.
        seed: of the random baseline, and of a method that draws at random.
        given: (n,) int64, all positions, best first: the order of rows that were "given", or of a method that would
            otherwise ask the model again.

    Raises:
        SelectionError: a part is invalid, or the parts contradict each other.
    """

    config: ObjectiveConfig
    budget: Budget
    metric: Metric = "euclidean"
    quotas: Quotas | tuple[QuotaRequest, ...] | None = None
    fixed: FixedRows = NO_FIXED_ROWS
    method: ChosenBy = "delift"
    engine: Engine = "auto"
    seed: int = 0
    given: "np.ndarray | None" = None

    def __post_init__(self) -> None:
        check_objective(self.config)
        check_budget(self.budget)
        _check_name("metric", self.metric, get_args(Metric))
        _check_name("method", self.method, ("given", *METHOD_NAMES), shown=METHOD_NAMES)
        parse_engine(self.engine)
        if self.quotas and self.budget.unit == "tokens":
            raise SelectionError("Quotas count rows and the budget counts tokens: give the budget in rows or percent.")
        if both := sorted(set(self.fixed.kept) & set(self.fixed.dropped)):
            raise SelectionError(f"Position {both[0]} is both kept and dropped: keep or drop it.")
        if self.engine != "auto":
            self._check_engine()
        if self.method == "given" and self.given is None:
            raise SelectionError("The rows of this selection were given: they cannot be chosen again.")
        if self.method == "delift" and self.given is not None:
            raise SelectionError("DELIFT computes its own order: leave out the order, or name its method.")

    def _check_engine(self) -> None:
        if self.method != "delift":
            raise SelectionError("An engine computes DELIFT's own order: leave out the engine, or the method.")
        if self.quotas or self.fixed != NO_FIXED_ROWS:
            what = "quotas" if self.quotas else "rows kept or dropped by hand"
            raise SelectionError(f"The engine {self.engine!r} does not support {what}: use the engine auto.")

    @property
    def needs(self) -> frozenset[Need]:
        """What the request needs besides the scored pool."""
        model = asks_model(self.method) and self.given is None
        found = (self.config.needed_set, "model" if model else None, self.budget.unit == "tokens" and "token counts")
        return frozenset(cast(Need, one) for one in found if one)

    @property
    def matched_quotas(self) -> Quotas | None:
        """The quotas, once they are matched to the rows of the pool."""
        if isinstance(self.quotas, Quotas):
            return self.quotas
        assert not self.quotas, "match the quotas to the pool first"
        return None


def check_objective(config: ObjectiveConfig) -> None:
    """Raises a SelectionError for an objective with an unknown name or a weight out of range."""
    _check_name("stage", config.stage, get_args(Stage))
    _check_name("scaling", config.scaling, get_args(Scaling))
    _check_name("target help", config.target_help, get_args(TargetHelp))
    for name, weight in (("eta", config.eta), ("nu", config.nu)):
        if not (0 <= weight < math.inf):
            raise SelectionError(f"{name} is {weight}: use a number of at least 0.")
    if not (0 <= config.self_coverage <= 1):
        raise SelectionError(f"self_coverage is {config.self_coverage}: use a number from 0 to 1.")


def _check_name(what: str, given: str, known: Sequence[str], shown: Sequence[str] = ()) -> None:
    if given not in known:
        raise SelectionError(f"There is no {what} {given!r}: use one of {', '.join(shown or known)}.")


PresetName = Literal["default", "published"]


@dataclass(frozen=True, slots=True)
class Preset:
    """The settings of a preset; `title` and `words` describe it on the pages."""

    title: str
    words: str
    metric: Metric
    self_coverage: float
    scaling: Scaling
    target_help: TargetHelp


PRESETS: dict[PresetName, Preset] = {
    "default": Preset(
        "Default",
        "Euclidean utility; values below 0 count as no help, and no row covers itself; target rows are covered like "
        "pool rows.",
        "euclidean",
        0.0,
        "clamp",
        "coverage",
    ),
    "published": Preset(
        "As in the paper",
        "Euclidean utility scaled between its lowest and highest value, including each row's help to itself, as in the "
        "code of arXiv 2411.04425; the target is a bonus for each row.",
        "euclidean",
        1.0,
        "min-max",
        "bonus",
    ),
}


def objective_of(preset: PresetName, stage: Stage, *, eta: float = 1.0, nu: float = 1.0) -> ObjectiveConfig:
    """The objective of a preset, with the stage's weights eta (target) and nu (existing)."""
    chosen = PRESETS[preset]
    return ObjectiveConfig(stage, eta, nu, chosen.self_coverage, chosen.scaling, chosen.target_help)
