"""Quotas: lower and upper bounds on the number of selected rows of each group (a source, a category).

The groups partition the pool. A set of rows is feasible if it can be extended to `rows` rows that meet every minimum
and every maximum; that is, with c_g rows of group g, if c_g <= most_g and the sum of max(c_g, least_g) over all groups
is at most `rows`. Feasible sets are the independent sets of a matroid (the extendable sets of El Halabi et al. 2020,
"Fairness in streaming submodular maximization"), also with rows kept and dropped by hand. Therefore

- greedy that skips infeasible rows ends with exactly `rows` rows that meet every quota, and reaches at least 1/2 of the
  optimum under the quotas (Fisher, Nemhauser and Wolsey 1978) instead of 1 - 1/e;
- a certificate still holds for any selection: the optimum exceeds it by at most the largest sum of residual gains over
  rows that meet the quotas, which greedy finds exactly (Edmonds 1971);
- with maxima alone, one order serves all budgets, each a prefix of it. With a minimum, an order is for one budget: of a
  smaller budget, the same rows are reserved for the minima, and fewer can be chosen freely.

This module counts positions; gains and kernels are elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.request import check_quota
from delift_core.selection.types import NO_FIXED_ROWS, FixedRows, Quota, Quotas, Selection

if TYPE_CHECKING:
    from delift_core.selection.loops import PickLimits


def quotas_over(column: str, labels: Sequence[str], codes: np.ndarray, requested: Sequence[Quota]) -> Quotas:
    """Quotas for all groups of a column; groups without a request are unbounded.

    Args:
        column: what the rows are grouped by.
        labels: of the m groups.
        codes: (n,) int64, the index in `labels` of each pool row's group.
        requested: quotas of some groups, by their label.

    Raises:
        SelectionError: an unknown group, two quotas for a group, or a minimum above its maximum.
    """
    by_label: dict[str, Quota] = {}
    for quota in requested:
        if quota.label not in labels:
            known = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
            raise SelectionError(f"No row has {column} {quota.label!r}: the groups are {known}.")
        if quota.label in by_label:
            raise SelectionError(f"{column} {quota.label!r} has two quotas: give one.")
        check_quota(quota)
        by_label[quota.label] = quota
    return Quotas(column, tuple(by_label.get(label, Quota(label)) for label in labels), codes.astype(np.int64))


def has_minima(quotas: Quotas) -> bool:
    """Whether there is a minimum, so that an order is for one budget only."""
    return any(quota.least > 0 for quota in quotas.groups)


def pick_limits(quotas: Quotas, rows: int, fixed: FixedRows = NO_FIXED_ROWS) -> "PickLimits":
    """The limits before the first pick; the kept rows are to be picked first.

    Args:
        quotas: over a pool of n samples.
        rows: to choose in all, including kept rows.
        fixed: kept and dropped rows.

    Raises:
        SelectionError: no selection of that many rows meets the quotas; the message names the quota and what to change.
    """
    from delift_core.selection.loops import PickLimits

    kept, free = _counts(quotas, fixed)
    least = np.array([quota.least for quota in quotas.groups], dtype=np.int64)
    most = np.array([_at_most(quota, size) for quota, size in zip(quotas.groups, free, strict=True)], dtype=np.int64)
    for quota, kept_here, size in zip(quotas.groups, kept.tolist(), free.tolist(), strict=True):
        _ensure_possible(quotas.column, quota, kept_here, size, has_dropped=bool(fixed.dropped))
    reserved = int(np.maximum(kept, least).sum())
    if reserved > rows:
        with_kept = " with the rows kept by hand" if reserved > least.sum() else ""
        raise SelectionError(
            f"The {quotas.column} quotas{with_kept} need at least {reserved:,} rows and the budget is {rows:,}: "
            "raise the budget, or lower a minimum."
        )
    if int(most.sum()) < rows:
        raise SelectionError(
            f"The {quotas.column} quotas allow at most {int(most.sum()):,} rows and the budget is {rows:,}: "
            "lower the budget, or raise a maximum."
        )
    spare = np.array([rows - least.sum()], dtype=np.int64)
    return PickLimits(quotas.codes, least, most, np.zeros(len(least), dtype=np.int64), spare)


def capacity(quotas: Quotas, fixed: FixedRows = NO_FIXED_ROWS) -> int:
    """The largest number of rows that any selection within the quotas can have."""
    _, free = _counts(quotas, fixed)
    return sum(_at_most(quota, size) for quota, size in zip(quotas.groups, free.tolist(), strict=True))


def no_quota(n: int) -> "PickLimits":
    """Limits that allow each of n positions."""
    from delift_core.selection.loops import PickLimits

    one = (np.zeros(1, dtype=np.int64), np.array([n]), np.zeros(1, dtype=np.int64), np.array([n]))
    return PickLimits(np.zeros(n, dtype=np.int64), *one)


def allowed_in_order(order: np.ndarray, limits: "PickLimits") -> np.ndarray:
    """The positions of `order` (k,) that are allowed one after another: (j,) int64; updates `limits`."""
    from delift_core.selection.loops import take_allowed

    order = np.ascontiguousarray(order, dtype=np.int64)
    taken = np.empty(len(order), dtype=np.int64)
    return taken[: take_allowed(order, limits, taken)]


@dataclass(frozen=True, slots=True)
class QuotaEffects:
    """How quotas affected a selection of k rows."""

    # (m,) int64, number of picks after which no more rows of each group were allowed; k if never.
    closed_after: np.ndarray
    # (m,) bool, whether the group had its maximum then; else the rest was reserved for other groups.
    at_maximum: np.ndarray
    for_minimum: np.ndarray  # (k,) bool, whether each pick was reserved for groups below their minimum


def quota_effects(selection: Selection) -> QuotaEffects:
    """Replays the picks of a selection with quotas."""
    quotas, chosen = selection.quotas, selection.chosen
    assert quotas is not None
    limits = pick_limits(quotas, len(chosen), selection.fixed)
    after, for_minimum = np.full(len(quotas.groups), len(chosen)), np.zeros(len(chosen), dtype=bool)
    for index in range(len(chosen) + 1):
        closed = (limits.taken >= limits.least) & ((limits.taken >= limits.most) | (limits.spare[0] == 0))
        after[closed & (after > index)] = index
        if index < len(chosen):
            for_minimum[index] = limits.spare[0] == 0
            allowed_in_order(chosen[index : index + 1], limits)
    return QuotaEffects(after, limits.taken >= limits.most, for_minimum)


def _counts(quotas: Quotas, fixed: FixedRows) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of kept rows and of rows not dropped in each group: (m,) int64 each."""
    groups = len(quotas.groups)
    kept, dropped = (
        np.bincount(quotas.codes[np.array(part, dtype=np.int64)], minlength=groups)
        for part in (fixed.kept, fixed.dropped)
    )
    return kept, np.bincount(quotas.codes, minlength=groups) - dropped


def _at_most(quota: Quota, size: int) -> int:
    return size if quota.most is None else min(quota.most, size)


def _ensure_possible(column: str, quota: Quota, kept: int, size: int, *, has_dropped: bool) -> None:
    if quota.least > size:
        left = " that are not dropped by hand" if has_dropped else ""
        raise SelectionError(
            f"The quota of {column} {quota.label!r} asks for at least {quota.least:,} rows and it has {size:,}{left}: "
            f"ask for at most {size:,}."
        )
    if quota.most is not None and kept > quota.most:
        raise SelectionError(
            f"{kept:,} rows of {column} {quota.label!r} are kept by hand and its quota allows {quota.most:,}: "
            "raise it, or keep fewer."
        )
