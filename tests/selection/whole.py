"""Steps of the program taken together for tests: a selection from utilities, a certificate of any rows."""

import numpy as np

from delift_core.selection.assessment import RandomCurves, bound_optimum
from delift_core.selection.coverage import residual_gains, value
from delift_core.selection.greedy import greedy_order, order_around, order_within
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import (
    NO_FIXED_ROWS,
    Budget,
    Certificate,
    FixedRows,
    ObjectiveConfig,
    Quotas,
    Selection,
)


def select(
    config: ObjectiveConfig,
    budget: Budget,
    *,
    pool: Kernel,
    diagonal: np.ndarray | None = None,
    target: Kernel | None = None,
    existing: Kernel | None = None,
    token_counts: np.ndarray | None = None,
    seed: int = 0,
) -> Selection:
    """The selection from measured utilities, as for `represented_kernel`."""
    kernel = represented_kernel(config, pool, diagonal=diagonal, target=target, existing=existing)
    request = SelectionRequest(config, budget, seed=seed)
    return select_from_kernel(request, kernel, greedy_order(kernel), token_counts=token_counts)


def select_around(
    config: ObjectiveConfig,
    budget: Budget,
    kernel: Kernel,
    fixed: FixedRows,
    *,
    quotas: Quotas | None = None,
    token_counts: np.ndarray | None = None,
    random: RandomCurves | None = None,
) -> Selection:
    """The selection around rows that are decided, within quotas if there are any."""
    request = SelectionRequest(config, budget, quotas=quotas, fixed=fixed)
    order = order_around(kernel, fixed) if quotas is None else order_within(kernel, budget, quotas, fixed)
    return select_from_kernel(request, kernel, order, token_counts=token_counts, random=random)


def certify(
    kernel: Kernel, chosen: np.ndarray, *, token_counts: np.ndarray | None = None, token_budget: float | None = None
) -> Certificate:
    """The certificate of any rows of a kernel."""
    residual = residual_gains(kernel, chosen)
    return bound_optimum(value(kernel, chosen), residual, len(chosen), token_counts, token_budget, NO_FIXED_ROWS)
