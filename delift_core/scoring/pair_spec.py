"""How many of its pairs a run scores: reading and writing what was asked. Knows nothing of which pairs these are."""

import re
from dataclasses import dataclass
from typing import Literal

from delift_core.errors import ScoringError

PairUnit = Literal["all", "percent", "per-row"]

_FORMS = 'write "all", "12%" (share of the pairs) or "k=32" (pairs of each row)'
_PATTERN = re.compile(r"all|(?P<percent>\d+(?:\.\d+)?)%|k=(?P<count>\d{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PairBudget:
    """How many pairs may be scored: all of them, `amount` percent of them, or `amount` for each row that is helped.

    The pairs of a sample with itself, which are no in-context gain, do not count; they are scored besides.
    """

    unit: PairUnit = "all"
    amount: float = 0.0

    def per_row(self, options: int) -> float:
        """How many of a row's `options` helpers may be scored on average: at least 1, where there is one."""
        if self.unit == "all":
            return options
        wanted = self.amount if self.unit == "per-row" else options * self.amount / 100
        return min(options, max(1.0, wanted))


ALL_PAIRS = PairBudget()


def count_pairs(budget: PairBudget, pool: int, target: int, existing: int) -> int:
    """How many pairs a run of so many samples scores, those of pool samples with themselves among them."""
    if not pool:
        return 0
    of_each = ((pool, pool - 1), (pool, target), (pool, existing))  # for the target: for each pool sample its best row
    return pool + sum(round(seekers * budget.per_row(options)) for seekers, options in of_each if options)


def parse_pairs(text: str) -> PairBudget:
    """Reads "all", "12%" or "k=32"; 100 % is all.

    Raises:
        ScoringError: another form, or an amount out of range.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ScoringError(f"pairs {text!r} are not understood: {_FORMS}")
    if match["count"] is not None:
        if int(match["count"]) < 1:
            raise ScoringError(f"pairs {text!r} leave nothing to select by: {_FORMS}")
        return PairBudget("per-row", float(match["count"]))
    if match["percent"] is None or float(match["percent"]) == 100:
        return ALL_PAIRS
    if not 0 < float(match["percent"]) < 100:
        raise ScoringError(f"pairs {text!r} are not a share above 0% and of at most 100%: {_FORMS}")
    return PairBudget("percent", float(match["percent"]))


def format_pairs(budget: PairBudget) -> str:
    """Writes a budget in the form that `parse_pairs` reads back to an equal one."""
    if budget.unit == "all":
        return "all"
    return f"{budget.amount:.10g}%" if budget.unit == "percent" else f"k={budget.amount:.0f}"
