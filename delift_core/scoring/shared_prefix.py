"""Shared query prefixes: tokens that several queries begin with are computed once per example, in the example's cache.

A chat template starts every query with the same tokens, and many data sets repeat an instruction in thousands of rows.
Tokens before the first difference attend only to the example and each other, so they can join the example's cache:

    example_j | shared | rest of query 1 | response 1
                       | rest of query 2 | response 2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delift_core.models.prompts import Tokens

_MAX_DEPTH = 64  # of nested shared prefixes


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Rows (indices of the input) whose queries begin with `shared` and are longer than that."""

    shared: "Tokens"
    rows: tuple[int, ...]


def group_by_prefix(queries: Sequence["Tokens"], pass_cost: int) -> list[PrefixGroup]:
    """Splits queries into groups with a shared prefix so that the fewest tokens are computed.

    The groups are chosen on the tree of prefixes, from the leaves up: a branch becomes a group if that saves more
    tokens than leaving its rows to a group with a shorter prefix.

    Args:
        queries: of at least one token each.
        pass_cost: cost of another forward pass, in tokens.

    Returns:
        Groups that contain every row once; a single group with an empty prefix if nothing is worth sharing.
    """
    order = sorted(range(len(queries)), key=lambda row: queries[row])
    if not order:
        return []
    (best,) = _split(queries, order, pass_cost, (0,))
    return [*best.groups, PrefixGroup((), tuple(best.ungrouped))] if best.ungrouped else list(best.groups)


def _split(
    queries: Sequence["Tokens"], order: Sequence[int], pass_cost: int, worths: tuple[int, ...]
) -> list["_Split"]:
    """The best splits of rows sorted by query, one for each entry of `worths`.

    Args:
        worths: tokens that an ungrouped row would save in a group further up, for each such group: its prefix length.
    """
    first, last = queries[order[0]], queries[order[-1]]
    depth = _common(first, last)
    length = min(depth, len(first) - 1)
    inner = (*worths, length)
    branches = [[_Split(0, (), order)] * len(inner)]
    if depth < len(first) and len(worths) <= _MAX_DEPTH:  # else the first query is a prefix of all others
        parts = (list(same) for _, same in groupby(order, key=lambda row: queries[row][depth]))
        branches = [
            _split(queries, rows, pass_cost, inner) if len(rows) > 1 else [_Split(0, (), rows)] * len(inner)
            for rows in parts
        ]
    together = _join([branch[-1] for branch in branches])
    if together.ungrouped:
        saved = together.saved + length * (len(together.ungrouped) - 1) - pass_cost
        together = _Split(saved, (*together.groups, PrefixGroup(first[:length], tuple(together.ungrouped))), ())
    apart = [_join([branch[index] for branch in branches]) for index in range(len(worths))]
    return [
        together if together.saved > other.saved + worth * len(other.ungrouped) else other
        for other, worth in zip(apart, worths, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Split:
    """Tokens saved, groups, and the rows without a group."""

    saved: int
    groups: tuple[PrefixGroup, ...]
    ungrouped: Sequence[int]


def _join(parts: Sequence[_Split]) -> _Split:
    groups = tuple(group for part in parts for group in part.groups)
    return _Split(sum(part.saved for part in parts), groups, [row for part in parts for row in part.ungrouped])


def _common(first: "Tokens", last: "Tokens") -> int:
    """Length of the common prefix; for sorted queries, that of the first and the last is that of all."""
    length = min(len(first), len(last))
    return next((index for index in range(length) if first[index] != last[index]), length)
