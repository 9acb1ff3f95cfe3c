"""Budgets of pairs: parsing, formatting, and the number of pairs of a run."""

import re
from dataclasses import dataclass
from typing import Literal

from delift_core.errors import ScoringError

PairUnit = Literal["all", "percent", "per-row"]

_FORMS = 'write "all", "12%" (share of the pairs) or "k=32" (pairs of each row)'
_PATTERN = re.compile(r"all|(?P<percent>\d+(?:\.\d+)?)%|k=(?P<count>\d{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PairBudget:
    """The number of pairs to score: all, `amount` percent, or `amount` for each helped row.

    The pairs of a sample with itself do not count; they are scored in addition.
    """

    unit: PairUnit = "all"
    amount: float = 0.0

    def per_row(self, options: int) -> float:
        """The average number of a row's `options` helpers to score, at least 1 if there is any."""
        if self.unit == "all":
            return options
        wanted = self.amount if self.unit == "per-row" else options * self.amount / 100
        return min(options, max(1.0, wanted))


ALL_PAIRS = PairBudget()


def count_pairs(budget: PairBudget, pool: int, target: int, existing: int) -> int:
    """The number of pairs that a run scores, including those of pool samples with themselves."""
    if not pool:
        return 0
    # For each pool sample: its helpers in the pool, the target rows that it helps, its existing helpers.
    others = (pool - 1, target, existing)
    return pool + sum(round(pool * budget.per_row(options)) for options in others if options)


def parse_pairs(text: str) -> PairBudget:
    """Parses "all", "12%" or "k=32"; 100 % is all.

    Raises:
        ScoringError: another form, or an amount out of range.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ScoringError(f"pairs {text!r} are not understood: {_FORMS}")
    if match["count"] is not None:
        if int(match["count"]) < 1:
            raise ScoringError(f"pairs {text!r} would score no pair: {_FORMS}")
        return PairBudget("per-row", float(match["count"]))
    if match["percent"] is None or float(match["percent"]) == 100:
        return ALL_PAIRS
    if not 0 < float(match["percent"]) < 100:
        raise ScoringError(f"pairs {text!r} are not a share above 0% and of at most 100%: {_FORMS}")
    return PairBudget("percent", float(match["percent"]))


def format_pairs(budget: PairBudget) -> str:
    """Formats a budget; `parse_pairs` is the inverse."""
    if budget.unit == "all":
        return "all"
    return f"{budget.amount:.10g}%" if budget.unit == "percent" else f"k={budget.amount:.0f}"
