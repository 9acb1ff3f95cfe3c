"""What is asked of a selection, as a curator writes it: budgets, quotas and engines, read and written back.

Knows nothing of pools, kernels or arrays, so that reading a request costs nothing.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast, get_args

from delift_core import __version__
from delift_core.errors import SelectionError
from delift_core.selection.types import Budget, BudgetUnit, Quota

Engine = Literal["auto", "dense", "sparse", "torch", "submodlib"]
"""Every engine is greedy over the whole pool, takes either form of a kernel, and turns it into its own first.

    auto        sparse for a sparse kernel, dense for a dense one
    dense       compiled by numba, no copy of a dense kernel
    sparse      compiled by numba, a copy by columns
    torch       on a GPU where torch finds one; a copy on the device
    submodlib   the reference: its lazy greedy, on a copy
"""
_REMOVED_ENGINES = ("stochastic", "partitioned")

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


def parse_engine(text: str) -> Engine:
    """Reads the name of an engine.

    Raises:
        SelectionError: there is no such engine, or no longer.
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


def is_removed_engine(name: str) -> bool:
    """Whether version 0.1.0 had the engine, with its setting if any ("stochastic:0.1"), and no later version has."""
    return name.partition(":")[0] in _REMOVED_ENGINES
