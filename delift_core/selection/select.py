"""From a represented kernel and an order to a selection: cut at the budget, certificate, random baseline."""

import math

import numpy as np

from delift_core.selection.assessment import RandomCurves, bound_optimum, random_baseline
from delift_core.selection.budget import cut_at_budget
from delift_core.selection.coverage import covered, gains_above
from delift_core.selection.kernels import Kernel
from delift_core.selection.methods import method_title
from delift_core.selection.request import SelectionRequest, is_removed_engine
from delift_core.selection.types import GreedyOrder, Selection


def select_from_kernel(
    request: SelectionRequest,
    kernel: Kernel,
    greedy: GreedyOrder,
    *,
    token_counts: np.ndarray | None = None,
    random: RandomCurves | None = None,
) -> Selection:
    """Answers a request from a kernel and its order; nothing is optimised again.

    Args:
        request: its quotas are matched to the rows of the pool.
        kernel: (r, n), from `objectives.represented_kernel` for the request's objective.
        greedy: from `greedy.greedy_order`; with fixed rows from `greedy.order_around`, with quotas from
            `greedy.order_within`, for another method from `greedy.arrange_order`.
        token_counts: (n,) integers, tokens per sample; needed for a budget in tokens.
        random: curves of the same kernel, to read the baseline from if there are no tokens and no quotas; the seed is
            not used then.

    Raises:
        SelectionError: the budget cannot be met.
    """
    budget, fixed, quotas = request.budget, request.fixed, request.matched_quotas
    in_order = request.method != "delift"
    chosen, gains = cut_at_budget(kernel, greedy, budget, token_counts, fixed=fixed, in_order=in_order)
    by_tokens = budget.unit == "tokens"
    counts, limit = (token_counts, budget.amount) if by_tokens else (None, None)
    cover = covered(kernel, chosen)
    residual = gains_above(kernel, cover)
    if random is not None and not by_tokens and quotas is None:
        baseline = random.around(kernel, len(chosen), fixed)
    else:
        baseline = random_baseline(
            kernel, len(chosen), seed=request.seed, token_counts=counts, token_budget=limit, fixed=fixed, quotas=quotas
        )
    return Selection(
        config=request.config,
        budget=budget,
        chosen=chosen,
        chosen_gains=gains,
        greedy=greedy,
        residual_gains=residual,
        certificate=bound_optimum(float(cover.sum()), residual, len(chosen), counts, limit, fixed, quotas),
        random=baseline,
        fixed=fixed,
        quotas=quotas,
        engine=request.engine,
        method=request.method,
    )


_GREEDY = 1 - 1 / math.e


def guarantee(selection: Selection) -> str:
    """The a-priori guarantee of a selection as text; its certificate is usually tighter."""
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
