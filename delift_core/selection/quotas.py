"""Quotas: how many rows of each group (a source, a category) a selection must take at least, and may take at most.

The groups part the pool, one for each row. A set of rows is feasible if it can be extended to `rows` rows that meet
every minimum and every maximum; that is, with c_g rows of group g, if c_g <= most_g and the sum of max(c_g, least_g)
over all groups is at most `rows`. These sets are the independent sets of a matroid (the extendable sets of El Halabi et
al. 2020, "Fairness in streaming submodular maximization"), also around rows kept and dropped by hand. Therefore

- greedy that passes over what has no place any more ends with exactly `rows` rows that meet every quota, and reaches at
  least 1/2 of the best such selection (Fisher, Nemhauser and Wolsey 1978); 1 - 1/e is no longer promised;
- what the certificate says holds as without quotas, for any selection: the best one adds at most the largest sum of
  residual gains over rows that meet the quotas, and greedy finds that sum exactly (Edmonds 1971);
- with maxima alone one order serves all budgets, each a prefix of it. With a minimum an order is for one budget: a
  smaller one owes the same rows to the minima, and so has fewer to give freely.

Everything here is about counts of positions; gains and kernels are elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.request import ensure_in_order
from delift_core.selection.types import NOTHING_FIXED, Fixed, Quota, Quotas, Selection

if TYPE_CHECKING:
    from delift_core.selection.loops import Places


def quotas_over(column: str, labels: Sequence[str], codes: np.ndarray, asked: Sequence[Quota]) -> Quotas:
    """Quotas over all groups of a column; groups that are not asked for are free.

    Args:
        column: what the groups are about.
        labels: m groups.
        codes: (n,) int64, the place in `labels` of each pool row's own.
        asked: for groups by their label.

    Raises:
        SelectionError: there is no such group, one is asked for twice, or a minimum is above its maximum.
    """
    by_label: dict[str, Quota] = {}
    for quota in asked:
        if quota.label not in labels:
            known = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
            raise SelectionError(f"No row has {column} {quota.label!r}: the groups are {known}.")
        if quota.label in by_label:
            raise SelectionError(f"{column} {quota.label!r} has two quotas: give one.")
        ensure_in_order(quota)
        by_label[quota.label] = quota
    return Quotas(column, tuple(by_label.get(label, Quota(label)) for label in labels), codes.astype(np.int64))


def has_minima(quotas: Quotas) -> bool:
    """Whether an order under these quotas is for one budget only."""
    return any(quota.least > 0 for quota in quotas.groups)


def places_within(quotas: Quotas, rows: int, fixed: Fixed = NOTHING_FIXED) -> "Places":
    """What there is to pick from before anything is picked; the kept rows are to be picked first.

    Args:
        quotas: over a pool of n samples.
        rows: to be chosen in all, the kept ones included.
        fixed: rows decided by hand.

    Raises:
        SelectionError: no selection of that many rows can meet the quotas; the message says which quota stands in the
            way and what to change.
    """
    from delift_core.selection.loops import Places

    kept, free = _counts(quotas, fixed)
    least = np.array([quota.least for quota in quotas.groups], dtype=np.int64)
    most = np.array([_at_most(quota, there) for quota, there in zip(quotas.groups, free, strict=True)], dtype=np.int64)
    for quota, by_hand, there in zip(quotas.groups, kept.tolist(), free.tolist(), strict=True):
        _ensure_possible(quotas.column, quota, by_hand, there, has_dropped=bool(fixed.dropped))
    owed = int(np.maximum(kept, least).sum())
    if owed > rows:
        with_kept = " with the rows kept by hand" if owed > least.sum() else ""
        raise SelectionError(
            f"The {quotas.column} quotas{with_kept} need at least {owed:,} rows and the budget is {rows:,}: "
            "raise the budget, or lower a minimum."
        )
    if int(most.sum()) < rows:
        raise SelectionError(
            f"The {quotas.column} quotas allow at most {int(most.sum()):,} rows and the budget is {rows:,}: "
            "lower the budget, or raise a maximum."
        )
    spare = np.array([rows - least.sum()], dtype=np.int64)
    return Places(quotas.codes, least, most, np.zeros(len(least), dtype=np.int64), spare)


def capacity(quotas: Quotas, fixed: Fixed = NOTHING_FIXED) -> int:
    """The most rows that any selection within the quotas can have."""
    _, free = _counts(quotas, fixed)
    return sum(_at_most(quota, there) for quota, there in zip(quotas.groups, free.tolist(), strict=True))


def everywhere(n: int) -> "Places":
    """No quotas: every one of n positions has a place."""
    from delift_core.selection.loops import Places

    one = (np.zeros(1, dtype=np.int64), np.array([n]), np.zeros(1, dtype=np.int64), np.array([n]))
    return Places(np.zeros(n, dtype=np.int64), *one)


def admitted(order: np.ndarray, places: "Places") -> np.ndarray:
    """Those of (k,) positions that find a place, taken one after the other: (j,) int64. Uses the places up."""
    from delift_core.selection.loops import admit

    order = np.ascontiguousarray(order, dtype=np.int64)
    taken = np.empty(len(order), dtype=np.int64)
    return taken[: admit(order, places, taken)]


@dataclass(frozen=True, slots=True)
class Closings:
    """How the quotas bore on a selection of k rows.

    Attributes:
        after: (m,) int64, the picks made when each group could give no more rows.
        full: (m,) bool, whether it had its maximum then; else all places left were owed to other groups.
        owed: (k,) bool, picks made when all places left were owed to groups below their minimum.
    """

    after: np.ndarray
    full: np.ndarray
    owed: np.ndarray


def closings(selection: Selection) -> Closings:
    """Walks along the picks of a selection that has quotas."""
    quotas, chosen = selection.quotas, selection.chosen
    assert quotas is not None
    places = places_within(quotas, len(chosen), selection.fixed)
    groups = len(quotas.groups)
    after, owed = np.full(groups, len(chosen)), np.zeros(len(chosen), dtype=bool)
    for index in range(len(chosen) + 1):
        closed = (places.taken >= places.least) & ((places.taken >= places.most) | (places.spare[0] == 0))
        after[closed & (after > index)] = index
        if index < len(chosen):
            owed[index] = places.spare[0] == 0
            admitted(chosen[index : index + 1], places)
    return Closings(after, places.taken >= places.most, owed)


def _counts(quotas: Quotas, fixed: Fixed) -> tuple[np.ndarray, np.ndarray]:
    """Rows kept by hand, and rows not dropped by hand, of each group: (m,) int64 each."""
    groups = len(quotas.groups)
    kept, dropped = (
        np.bincount(quotas.codes[np.array(part, dtype=np.int64)], minlength=groups)
        for part in (fixed.kept, fixed.dropped)
    )
    return kept, np.bincount(quotas.codes, minlength=groups) - dropped


def _at_most(quota: Quota, there: int) -> int:
    return there if quota.most is None else min(quota.most, there)


def _ensure_possible(column: str, quota: Quota, kept: int, there: int, *, has_dropped: bool) -> None:
    if quota.least > there:
        left = " that are not dropped by hand" if has_dropped else ""
        raise SelectionError(
            f"The quota of {column} {quota.label!r} asks for at least {quota.least:,} rows and it has {there:,}{left}: "
            f"ask for at most {there:,}."
        )
    if quota.most is not None and kept > quota.most:
        raise SelectionError(
            f"{kept:,} rows of {column} {quota.label!r} are kept by hand and its quota allows {quota.most:,}: "
            "raise it, or keep fewer."
        )
