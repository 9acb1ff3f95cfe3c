"""From utilities and a budget to a selection: represented kernel, greedy order, cut, certificate, random baseline.

Knows nothing of samples' texts, of models or of files; positions in, positions out.
"""

import math

import numpy as np

from delift_core.selection.budget import cut
from delift_core.selection.certificate import bound
from delift_core.selection.coverage import covered, gains_above
from delift_core.selection.kernels import Kernel
from delift_core.selection.methods import method_title
from delift_core.selection.random_draws import RandomCurves, random_baseline
from delift_core.selection.request import is_removed_engine
from delift_core.selection.types import (
    NOTHING_FIXED,
    Budget,
    ChosenBy,
    Fixed,
    GreedyOrder,
    ObjectiveConfig,
    Quotas,
    Selection,
)


def select_from_kernel(
    config: ObjectiveConfig,
    budget: Budget,
    kernel: Kernel,
    greedy: GreedyOrder,
    *,
    token_counts: np.ndarray | None = None,
    seed: int = 0,
    fixed: Fixed = NOTHING_FIXED,
    quotas: Quotas | None = None,
    random: RandomCurves | None = None,
    method: ChosenBy = "delift",
) -> Selection:
    """Selects within another budget from a kernel whose greedy order is already known; nothing is optimised again.

    Args:
        config: what `kernel` was made with; kept in the result.
        budget: rows, percent or tokens.
        kernel: (r, n), from `objectives.represented_kernel`.
        greedy: from `greedy.greedy_order(kernel)`, or around fixed rows from `fixed.order_around(kernel, fixed)`, or
            within quotas from `fixed.order_within`; of another method from `fixed.order_given`.
        token_counts: (n,) whole numbers, tokens per sample; needed by a token budget.
        seed: of the random baseline.
        fixed: rows decided by hand, which the budget includes.
        quotas: what `greedy` keeps to; the budget is then in rows or percent.
        random: of the same kernel, from which the baseline of a budget without tokens and quotas is read, instead of
            being drawn anew with `seed`.
        method: what put the rows in order.

    Raises:
        SelectionError: the budget cannot be met.
    """
    chosen, gains = cut(kernel, greedy, budget, token_counts, fixed=fixed, in_order=method != "delift")
    by_tokens = budget.unit == "tokens"
    counts, limit = (token_counts, budget.amount) if by_tokens else (None, None)
    cover = covered(kernel, chosen)
    residual = gains_above(kernel, cover)
    if random is not None and not by_tokens and quotas is None:
        baseline = random.around(kernel, len(chosen), fixed)
    else:
        baseline = random_baseline(
            kernel, len(chosen), seed=seed, token_counts=counts, token_budget=limit, fixed=fixed, quotas=quotas
        )
    return Selection(
        config=config,
        budget=budget,
        chosen=chosen,
        chosen_gains=gains,
        greedy=greedy,
        residual_gains=residual,
        certificate=bound(float(cover.sum()), residual, len(chosen), counts, limit, fixed, quotas),
        random=baseline,
        fixed=fixed,
        quotas=quotas,
        method=method,
    )


_GREEDY = 1 - 1 / math.e


def guarantee(selection: Selection) -> str:
    """What was promised of a selection before anything was chosen, in words; its certificate says more."""
    if selection.method != "delift":
        return f"no share of the best selection is promised of {method_title(selection.method)}; its certificate holds"
    if is_removed_engine(selection.engine):
        return "no share of the best selection is promised of this engine of version 0.1.0; its certificate holds"
    best = "the best selection"
    if selection.fixed.kept or selection.fixed.dropped:
        best += " around the rows kept and dropped by hand (of what it adds to the kept)"
    if selection.quotas is not None:
        return f"at least 50.0% of {best} within the quotas (1/2)"
    if selection.budget.unit == "tokens":
        return f"at least {_GREEDY / 2:.1%} of {best} ((1 - 1/e) / 2)"
    return f"at least {_GREEDY:.1%} of {best} (1 - 1/e)"
