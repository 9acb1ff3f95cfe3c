"""Queries that begin alike: the tokens that they share are computed once per example, in the example's own cache.

A chat template opens every query with the same tokens, and many data sets repeat one instruction in thousands of rows.
What stands before the first difference sees only the example and itself, so it can join the example's cache:

    prefix_j | lead | rest of query 1 | response 1
                    | rest of query 2 | response 2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delift_core.models.prompts import Tokens

_DEEPEST = 64  # nested leads; data that nests deeper is shared down to here


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows whose queries begin with `lead`, which is shorter than each of them; `rows` are places in the input."""

    lead: "Tokens"
    rows: tuple[int, ...]


def share(queries: Sequence["Tokens"], pass_cost: int) -> list[Shared]:
    """Splits queries into groups with a common lead so that the fewest tokens are computed.

    The groups are chosen on the tree of prefixes, from the leaves up: a branch is a group of its own when that saves
    more tokens than staying with its neighbours under their shorter lead.

    Args:
        queries: each of at least one token.
        pass_cost: what one more forward pass costs, in tokens.

    Returns:
        Groups that hold every row once. Without anything worth sharing, one group with an empty lead.
    """
    order = sorted(range(len(queries)), key=lambda row: queries[row])
    if not order:
        return []
    (best,) = _split(queries, order, pass_cost, (0,))
    return [*best.groups, Shared((), tuple(best.loose))] if best.loose else list(best.groups)


def _split(
    queries: Sequence["Tokens"], order: Sequence[int], pass_cost: int, worths: tuple[int, ...]
) -> list["_Split"]:
    """The best splits of rows that stand in the order of their queries, one for each worth.

    Args:
        worths: what a row that is left loose will save further up: the depths of the leads that it might join there.
    """
    first, last = queries[order[0]], queries[order[-1]]
    depth = _common(first, last)
    lead = min(depth, len(first) - 1)
    inner = (*worths, lead)
    branches = [[_Split(0, (), order)] * len(inner)]
    if depth < len(first) and len(worths) <= _DEEPEST:  # else the first query is the beginning of all others
        parts = (list(same) for _, same in groupby(order, key=lambda row: queries[row][depth]))
        branches = [
            _split(queries, rows, pass_cost, inner) if len(rows) > 1 else [_Split(0, (), rows)] * len(inner)
            for rows in parts
        ]
    together = _join([branch[-1] for branch in branches])
    if together.loose:
        saved = together.saved + lead * (len(together.loose) - 1) - pass_cost
        together = _Split(saved, (*together.groups, Shared(first[:lead], tuple(together.loose))), ())
    apart = [_join([branch[place] for branch in branches]) for place in range(len(worths))]
    return [
        together if together.saved > other.saved + worth * len(other.loose) else other
        for other, worth in zip(apart, worths, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Split:
    """Tokens saved, groups, and the rows in no group."""

    saved: int
    groups: tuple[Shared, ...]
    loose: Sequence[int]


def _join(parts: Sequence[_Split]) -> _Split:
    groups = tuple(group for part in parts for group in part.groups)
    return _Split(sum(part.saved for part in parts), groups, [row for part in parts for row in part.loose])


def _common(first: "Tokens", last: "Tokens") -> int:
    """Length of the common beginning; of sorted queries, the outermost two share what all share."""
    length = min(len(first), len(last))
    return next((place for place in range(length) if first[place] != last[place]), length)
