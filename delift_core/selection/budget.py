"""From an order to the rows that a budget allows.

This module knows nothing of tokenizers (token counts are an argument), and of an objective only its represented kernel.
"""

import math

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.coverage import gains_along, residual_gains, value
from delift_core.selection.kernels import Kernel
from delift_core.selection.pickers import pick_per_weight
from delift_core.selection.request import check_budget
from delift_core.selection.types import NO_FIXED_ROWS, Budget, FixedRows, GreedyOrder


def rows_of_budget(budget: Budget, n: int) -> int:
    """The number of rows that a budget in rows or percent allows of a pool of n samples.

    A percentage is rounded to the nearest row (halves up) and is at least one row. A budget of n rows is valid.

    Raises:
        SelectionError: the budget is invalid, exceeds the pool, or is in tokens.
    """
    check_budget(budget)
    if budget.unit == "tokens":
        raise SelectionError("A token budget has no fixed number of rows: give rows or a percentage here.")
    if budget.unit == "percent":
        return max(1, math.floor(budget.amount * n / 100 + 0.5))
    if budget.amount > n:
        raise SelectionError(
            f"The budget asks for {int(budget.amount)} rows but the pool has {n}: ask for at most {n}, or add samples."
        )
    return int(budget.amount)


def ensure_tokens_fit(budget: Budget, token_counts: np.ndarray) -> None:
    """Checks that a token budget is at least the shortest sample and at most the whole pool.

    Args:
        token_counts: (n,) integers, tokens per sample.

    Raises:
        SelectionError: it is not.
    """
    shortest, total = int(token_counts.min()), int(token_counts.sum())
    if budget.amount < shortest:
        raise _below_shortest(budget.amount, shortest)
    if budget.amount > total:
        raise SelectionError(
            f"The budget asks for {budget.amount:,.0f} tokens but the pool has {total:,}: ask for at most {total:,}, "
            "or add samples."
        )


def cut_at_budget(
    kernel: Kernel,
    greedy: GreedyOrder,
    budget: Budget,
    token_counts: np.ndarray | None = None,
    *,
    fixed: FixedRows = NO_FIXED_ROWS,
    in_order: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts an order to a budget.

    A budget in rows or percent takes a prefix of the order. A budget in tokens takes the better, by objective, of two
    subsets: the order without the samples that no longer fit, and the greedy order by gain per token. The better one
    reaches at least (1 - 1/e) / 2 of the optimum (Leskovec et al. 2007, "Cost-effective outbreak detection in
    networks", theorem 3).

    Args:
        kernel: (r, n), as from `represented_kernel`.
        greedy: order of all its columns; with fixed rows, it starts with the kept and ends with the dropped ones.
        budget: includes the kept rows.
        token_counts: (n,) integers >= 1, tokens per sample; only read for a budget in tokens.
        fixed: kept and dropped rows; guarantees are about the other rows.
        in_order: for a budget in tokens, take the order as it is, without guarantee (for another method's order).

    Returns:
        (chosen, gains): (k,) int64 positions in the order picked, and (k,) float64 gains when picked.

    Raises:
        SelectionError: a budget that cannot be met, or missing or invalid token counts.
    """
    n, kept = kernel.shape[1], len(fixed.kept)
    if len(greedy.order) != n:
        ordered = len(greedy.order)
        raise SelectionError(f"The greedy order has {ordered:,} samples and the kernel {n:,}: order it again.")
    allowed = greedy.order[: n - len(fixed.dropped)]
    if budget.unit != "tokens":
        rows = rows_of_budget(budget, n)
        if rows < kept:
            raise SelectionError(f"{kept:,} rows are kept and the budget is {rows:,}: raise it, or keep fewer.")
        rows = min(rows, len(allowed))
        return greedy.order[:rows].copy(), greedy.gains[:rows].copy()
    check_budget(budget)
    counts = _checked_counts(token_counts, n)
    room = budget.amount - tokens_used(allowed[:kept], counts)
    if room < 0:
        raise SelectionError(
            f"The {kept} kept rows have {budget.amount - room:,.0f} tokens and the budget is {budget.amount:,.0f}: "
            f"give at least {budget.amount - room:,.0f} tokens, or keep fewer."
        )
    if not kept and counts[allowed].min() > room:
        raise _below_shortest(room, int(counts[allowed].min()))
    first, others = allowed[:kept], allowed[kept:]
    if in_order:
        chosen = np.concatenate([first, fill_budget(others, counts, room)])
        return chosen, gains_along(kernel, chosen)
    candidates = (fill(kernel, first, others, counts, room) for fill in (_fill_in_order, _fill_per_token))
    chosen = max((np.concatenate([first, rest]) for rest in candidates), key=lambda picks: value(kernel, picks))
    return chosen, gains_along(kernel, chosen)


def _below_shortest(room: float, shortest: int) -> SelectionError:
    return SelectionError(
        f"The budget of {int(room)} tokens is below the shortest sample, which has {shortest}: "
        f"give at least {shortest} tokens."
    )


def tokens_used(chosen: np.ndarray, token_counts: np.ndarray) -> int:
    """Total tokens of the chosen samples."""
    return int(token_counts[chosen].sum())


def _fill_in_order(
    kernel: Kernel, first: np.ndarray, others: np.ndarray, counts: np.ndarray, room: float
) -> np.ndarray:
    if len(others) and counts[others[0]] > room:
        # The guarantee needs the best single sample that fits to come first.
        alone = residual_gains(kernel, first)[others]
        best = others[np.where(counts[others] <= room, alone, -1.0).argmax()]
        others = np.concatenate(([best], others[others != best]))
    return fill_budget(others, counts, room)


def fill_budget(order: np.ndarray, token_counts: np.ndarray, limit: float) -> np.ndarray:
    """The samples of an order that fit into `limit` tokens one after another: (k,) int64."""
    if not len(order):
        return np.empty(0, dtype=np.int64)
    from delift_core.selection.loops import take_fitting

    taken = np.empty(len(order), dtype=np.int64)
    count = take_fitting(order, token_counts, float(limit), float(token_counts[order].min()), taken)
    return taken[:count]


def _fill_per_token(
    kernel: Kernel, first: np.ndarray, others: np.ndarray, counts: np.ndarray, room: float
) -> np.ndarray:
    """Greedy by gain per token; once no sample has a gain, the rest is filled in descending position."""
    picks = pick_per_weight(kernel, counts, room, first=first, others=others)
    rest = np.setdiff1d(others, picks)[::-1]
    return np.concatenate([picks, fill_budget(rest, counts, room - tokens_used(picks, counts))])


def _checked_counts(token_counts: np.ndarray | None, n: int) -> np.ndarray:
    if token_counts is None:
        raise SelectionError("A token budget needs the token count of every sample: count tokens, or budget by rows.")
    if token_counts.shape != (n,) or not np.issubdtype(token_counts.dtype, np.integer):
        raise SelectionError(f"Token counts must be {n} whole numbers, one per sample: count the pool's tokens again.")
    if token_counts.min() < 1:
        raise SelectionError(f"Sample {int(token_counts.argmin())} has no tokens: every sample must have at least one.")
    return token_counts
