"""How much may be chosen: rows of a budget, and cutting a greedy order to one.

This module knows nothing of objectives beyond a represented kernel, and nothing of tokenizers: token counts come in.
"""

import math

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.coverage import gains_along, residual_gains, value
from delift_core.selection.greedy import pick_per_weight
from delift_core.selection.kernels import Kernel
from delift_core.selection.request import ensure_sensible
from delift_core.selection.types import NOTHING_FIXED, Budget, Fixed, GreedyOrder


def rows_of_budget(budget: Budget, n: int) -> int:
    """How many of n pool samples a rows or percent budget allows.

    A percentage is rounded to the nearest row (halves upwards), and is at least one row. A budget of all n rows is
    allowed and selects everything.

    Raises:
        SelectionError: the budget is not sensible, asks for more rows than there are, or counts tokens.
    """
    ensure_sensible(budget)
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
    """Refuses a token budget that no sample fits into, or that is more than all of them have.

    Args:
        token_counts: (n,) whole numbers, tokens per sample.

    Raises:
        SelectionError: see above.
    """
    shortest, total = int(token_counts.min()), int(token_counts.sum())
    if budget.amount < shortest:
        raise _below_shortest(budget.amount, shortest)
    if budget.amount > total:
        raise SelectionError(
            f"The budget asks for {budget.amount:,.0f} tokens but the pool has {total:,}: ask for at most {total:,}, "
            "or add samples."
        )


def cut(
    kernel: Kernel,
    greedy: GreedyOrder,
    budget: Budget,
    token_counts: np.ndarray | None = None,
    *,
    fixed: Fixed = NOTHING_FIXED,
    in_order: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a greedy order to a budget.

    Rows and percent take a prefix of the order. Tokens take the better, by objective, of two fillings: the order
    itself, passing over what no longer fits, and the greedy by gain per token. The better of the two is within
    (1 - 1/e) / 2 of the optimum (Leskovec et al. 2007, "Cost-effective outbreak detection in networks", theorem 3).

    Args:
        kernel: (r, n), as from `represented_kernel`.
        greedy: the whole order over its columns; around fixed rows it begins with the kept and ends with the dropped.
        budget: what is allowed, the kept rows included.
        token_counts: (n,) whole numbers >= 1, tokens per sample; needed by a token budget, not read otherwise.
        fixed: rows decided by hand; the guarantees are then about the others.
        in_order: the order is another method's: tokens are filled along it, and nothing is guaranteed.

    Returns:
        (chosen, gains): (k,) int64 positions in the order picked, and (k,) float64 gain of each when it was picked.

    Raises:
        SelectionError: a budget that cannot be met, or token counts that are missing or wrong.
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
    ensure_sensible(budget)
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
        chosen = np.concatenate([first, fill(others, counts, room)])
        return chosen, gains_along(kernel, chosen)
    fillings = (
        _fill_in_order(kernel, first, others, counts, room),
        _fill_per_token(kernel, first, others, counts, room),
    )
    chosen = max((np.concatenate([first, filling]) for filling in fillings), key=lambda picks: value(kernel, picks))
    return chosen, gains_along(kernel, chosen)


def _below_shortest(room: float, shortest: int) -> SelectionError:
    return SelectionError(
        f"The budget of {int(room)} tokens is below the shortest sample, which has {shortest}: "
        f"give at least {shortest} tokens."
    )


def tokens_used(chosen: np.ndarray, token_counts: np.ndarray) -> int:
    """Tokens of the chosen samples together."""
    return int(token_counts[chosen].sum())


def _fill_in_order(
    kernel: Kernel, first: np.ndarray, others: np.ndarray, counts: np.ndarray, room: float
) -> np.ndarray:
    if len(others) and counts[others[0]] > room:
        # The guarantee rests on the best single sample that fits; when the order's head does not, that one leads.
        alone = residual_gains(kernel, first)[others]
        best = others[np.where(counts[others] <= room, alone, -1.0).argmax()]
        others = np.concatenate(([best], others[others != best]))
    return fill(others, counts, room)


def fill(order: np.ndarray, token_counts: np.ndarray, limit: float) -> np.ndarray:
    """Takes samples in the given order, passing over those that no longer fit into `limit` tokens: (k,) int64."""
    if not len(order):
        return np.empty(0, dtype=np.int64)
    from delift_core.selection.loops import fill_up

    taken = np.empty(len(order), dtype=np.int64)
    count = fill_up(order, token_counts, float(limit), float(token_counts[order].min()), taken)
    return taken[:count]


def _fill_per_token(
    kernel: Kernel, first: np.ndarray, others: np.ndarray, counts: np.ndarray, room: float
) -> np.ndarray:
    """Greedy by gain per token; what room is left when nothing adds anything is filled from the last position down."""
    picks = pick_per_weight(kernel, counts, room, first=first, others=others)
    rest = np.setdiff1d(others, picks)[::-1]
    return np.concatenate([picks, fill(rest, counts, room - tokens_used(picks, counts))])


def _checked_counts(token_counts: np.ndarray | None, n: int) -> np.ndarray:
    if token_counts is None:
        raise SelectionError("A token budget needs the token count of every sample: count tokens, or budget by rows.")
    if token_counts.shape != (n,) or not np.issubdtype(token_counts.dtype, np.integer):
        raise SelectionError(f"Token counts must be {n} whole numbers, one per sample: count the pool's tokens again.")
    if token_counts.min() < 1:
        raise SelectionError(f"Sample {int(token_counts.argmin())} has no tokens: every sample must have at least one.")
    return token_counts
