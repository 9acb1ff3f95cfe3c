"""What the weights eta and nu trade, said of a selection: in words with the numbers of both sides."""

import numpy as np

from delift_core.selection.coverage import value
from delift_core.selection.kernels import Kernel, row_best
from delift_core.selection.types import Selection


def task_shares(kernel: Kernel, selection: Selection) -> tuple[float, float]:
    """How much of what all rows together give a selection gives: to the pool, and to the target.

    Args:
        kernel: (r, n) the represented kernel of stage "task".
        selection: made from it.

    Returns:
        Two shares in [0, 1]; 1 where there is nothing to give.
    """
    below = kernel[kernel.shape[1] :]
    target, target_of_all = value(below, selection.chosen), float(row_best(below).sum())
    pool = selection.certificate.value - target
    pool_of_all = float(selection.greedy.gains.sum()) - target_of_all
    return _share(pool, pool_of_all), _share(target, target_of_all)


def rows_left_to_help(kernel: Kernel) -> int:
    """How many pool rows some sample still helps, beyond what the existing rows do for them.

    Args:
        kernel: (n, n) the represented kernel of stage "continual".
    """
    return int(np.count_nonzero(row_best(kernel) > 0))


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 1.0
