"""What luck would have reached: the objective of random subsets within the same budget.

Knows nothing of how the selection it is compared with was found.
"""

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.budget import fill
from delift_core.selection.coverage import values
from delift_core.selection.kernels import Kernel
from delift_core.selection.quotas import admitted, places_within
from delift_core.selection.types import NOTHING_FIXED, Fixed, Quotas, RandomBaseline


def random_baseline(
    kernel: Kernel,
    k: int,
    *,
    draws: int = 20,
    seed: int = 0,
    token_counts: np.ndarray | None = None,
    token_budget: float | None = None,
    fixed: Fixed = NOTHING_FIXED,
    quotas: Quotas | None = None,
) -> RandomBaseline:
    """Evaluates random subsets of the kernel's columns.

    Args:
        kernel: (r, n), rows represented, columns selectable, >= 0.
        k: subset size, 1 to n; not read when a token budget is given.
        draws: number of independent subsets, >= 1.
        seed: of the generator; the same seed gives the same values.
        token_counts: (n,) tokens per sample; together with `token_budget`.
        token_budget: each draw then takes samples in random order, passing over those that no longer fit.
        fixed: rows decided by hand: every subset has the kept ones, and counts them, and none of the dropped.
        quotas: each draw then takes samples in random order, passing over those that have no place.

    Raises:
        SelectionError: draws or k out of range, or only one of token_counts and token_budget given.
    """
    n = kernel.shape[1]
    if draws < 1 or (token_budget is None and not 1 <= k <= n):
        raise SelectionError(f"Cannot draw {draws} random subsets of {k} from {n} samples: use 1 to {n}, and 1 draw.")
    if (token_counts is None) != (token_budget is None):
        raise SelectionError("A random baseline within a token budget needs both the token counts and the budget.")
    kept, dropped = (np.array(part, dtype=np.int64) for part in (fixed.kept, fixed.dropped))
    free = np.setdiff1d(np.arange(n), np.concatenate([kept, dropped]))
    generator = np.random.default_rng(seed)
    subsets = []
    for _ in range(draws):
        order = free[generator.permutation(len(free))]
        if token_counts is not None and token_budget is not None:
            subset = fill(order, token_counts, token_budget - token_counts[kept].sum())
        elif quotas is not None:
            places = places_within(quotas, k, fixed)
            admitted(kept, places)
            subset = admitted(order, places)
        else:
            subset = order[: k - len(kept)]
        subsets.append(np.concatenate([kept, subset]))
    return RandomBaseline(values=tuple(values(kernel, subsets).tolist()))
