"""What is asked of a selection, as a curator writes it: budgets, quotas and engines, read and written back.

Knows nothing of pools, kernels or arrays, so that reading a request costs nothing.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast, get_args

from delift_core.errors import SelectionError
from delift_core.selection.types import Budget, BudgetUnit, Quota

Engine = Literal["auto", "dense", "sparse", "torch", "stochastic", "submodlib"]
"""Any engine takes either form of a kernel, and turns it into its own first.

    auto        sparse for a sparse kernel, dense for a dense one
    dense       exact, compiled by numba, no copy of a dense kernel
    sparse      exact, compiled by numba, a copy by columns
    torch       exact, on a GPU where torch finds one; a copy on the device
    stochastic  each pick is the best of a random sample; by columns as sparse
    submodlib   the reference: its lazy greedy, on a copy
"""
EngineName = Literal[Engine, "partitioned"]
EPSILON, PARTS = 0.1, 4
_MOST_PARTS = 10_000
_ENGINE_FORMS = f"use one of {', '.join(get_args(Engine))}, stochastic:0.05, partitioned or partitioned:8"

_BUDGET_FORMS = 'write "30%" (share of the pool), "500" (rows) or "200000tok" (tokens)'
_BUDGET = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(%|tok)?\s*", re.ASCII)
_UNITS: dict[str | None, BudgetUnit] = {None: "rows", "%": "percent", "tok": "tokens"}
_SUFFIXES: dict[BudgetUnit, str] = {"rows": "", "percent": "%", "tokens": "tok"}
_QUOTA_FORM = 'write "COLUMN:GROUP=LEAST..MOST", such as "source:a.jsonl=10..40"; either number may be left out'
_QUOTA = re.compile(r"([^:]+):(.+)=(\d{0,9})\.\.(\d{0,9})", re.DOTALL)


def parse_budget(text: str) -> Budget:
    """Reads "30%", "500" or "200000tok".

    Raises:
        SelectionError: another form, an amount that is not above 0, more than 100 %, or a broken row or token.
    """
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise SelectionError(f"Budget {text!r} is not understood: {_BUDGET_FORMS}.")
    budget = Budget(unit=_UNITS[match[2]], amount=float(match[1]))
    ensure_sensible(budget)
    return budget


def format_budget(budget: Budget) -> str:
    """Writes a budget in the form that `parse_budget` reads back to an equal one."""
    return f"{Decimal(repr(float(budget.amount))).normalize():f}" + _SUFFIXES[budget.unit]


def ensure_sensible(budget: Budget) -> None:
    """Raises a SelectionError where no pool could meet the budget."""
    amount = budget.amount
    if not (0 < amount < math.inf):
        raise SelectionError(f"A budget must be above 0, not {amount:g}: {_BUDGET_FORMS}.")
    if budget.unit == "percent" and amount > 100:
        raise SelectionError(f"A budget of {amount:g} % is more than the whole pool: give at most 100 %.")
    if budget.unit != "percent" and amount != int(amount):
        raise SelectionError(f"A budget of {amount:g} {budget.unit} is not a whole number: {_BUDGET_FORMS}.")


@dataclass(frozen=True, slots=True)
class AskedQuota:
    """A quota as a curator writes it, before the column's groups are known."""

    column: str
    quota: Quota


def parse_quota(text: str) -> AskedQuota:
    """Reads "source:a.jsonl=10..40", "topic:maths=10.." or "source:b.jsonl=..40".

    Raises:
        SelectionError: another form, or a minimum above the maximum.
    """
    match = _QUOTA.fullmatch(text)
    if match is None or not (match[3] or match[4]):
        raise SelectionError(f"Quota {text!r} is not understood: {_QUOTA_FORM}.")
    quota = Quota(match[2], int(match[3] or 0), int(match[4]) if match[4] else None)
    ensure_in_order(quota)
    return AskedQuota(match[1].strip(), quota)


def format_quota(quota: Quota) -> str:
    """The numbers of a quota as `parse_quota` reads them: "10..40", "10.." or "..40"."""
    return f"{quota.least or ''}..{'' if quota.most is None else quota.most}"


def is_bound(quota: Quota) -> bool:
    """Whether a quota asks for anything."""
    return quota.least > 0 or quota.most is not None


def ensure_in_order(quota: Quota) -> None:
    """Raises a SelectionError for a minimum above the maximum."""
    if quota.least < 0 or (quota.most is not None and quota.most < quota.least):
        raise SelectionError(
            f"The quota of {quota.label!r} asks for at least {quota.least:,} and at most {quota.most:,} rows: "
            "give a minimum of 0 or more and a maximum that is not below it."
        )


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and its setting: `epsilon` of "stochastic", `parts` of "partitioned"; the others have none."""

    name: EngineName = "auto"
    epsilon: float = EPSILON
    parts: int = PARTS


AUTO = EngineChoice()


def parse_engine(text: str) -> EngineChoice:
    """Reads "sparse", "stochastic:0.05" or "partitioned:8".

    Raises:
        SelectionError: an unknown engine, a setting where there is none, or one out of range.
    """
    name, colon, setting = text.strip().partition(":")
    known = (*get_args(Engine), "partitioned")
    if name not in known or (colon and name not in ("stochastic", "partitioned")):
        raise SelectionError(f"Engine {text!r} is not known: {_ENGINE_FORMS}.")
    chosen = cast(EngineName, name)
    if not colon:
        return EngineChoice(chosen)
    if name == "partitioned":
        if not (setting.isascii() and setting.isdecimal() and 1 <= int(setting[:6]) <= _MOST_PARTS):
            raise SelectionError(f"Engine {text!r}: give a number of parts from 1 to {_MOST_PARTS:,}.")
        return EngineChoice(chosen, parts=int(setting))
    try:
        epsilon = float(setting)
    except ValueError:
        epsilon = math.nan
    if not 0 < epsilon < 1:
        raise SelectionError(f"Engine {text!r}: give an epsilon between 0 and 1.")
    return EngineChoice(chosen, epsilon=epsilon)


def format_engine(choice: EngineChoice) -> str:
    """Writes a choice in the form that `parse_engine` reads back to an equal one."""
    if choice.name == "stochastic":
        return f"stochastic:{choice.epsilon!r}"
    return f"partitioned:{choice.parts}" if choice.name == "partitioned" else choice.name
