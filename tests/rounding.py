"""How far apart two roads to one number may come out, where libraries choose the order of a sum.

A matrix product is summed in the order that suits the processor, the number of threads and the shape of the batch, so
that a row of a product need not equal the product of that row to the bit. What bounds the difference is the unit
roundoff of float32, u = 2**-24.
"""

import io
from collections.abc import Mapping

import numpy as np
import torch

_ROUNDOFF = 2.0**-24

UTILITY = 1e-6
"""Of a tiny model's utility in units of distance, a difference of two roots of means of (1 - p)^2 with p near 1/300.

Every 1 - p lies in [0, 1] and is rounded once, the sums are kept in float32, and a root halves a relative error: some
four roundings on either side of the difference, and as many on the other road, make 16 u = 1e-6. What rounding does to
p itself is 300 times less. Utilities of these models spread by 1e-4, so that another pair, row or example shows.
"""

STATISTICS = 2e-5
"""Of a tiny model's sums of (1 - p)^2 and log p, relative: each log p is a sum of 64 products, of the size of what they
add up to, after two layers of such sums; 5 sums of 64 terms with sqrt(64) u each are 3e-6 on either road, and are given
three times as much. Another example moves the sums of log p by 1e-3."""


def off_by_order(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """By how much two float32 results of left @ right.T may differ, entry by entry.

    Whatever the order, an entry of k terms is off by at most k u sum |l r| (Higham, Accuracy and Stability of Numerical
    Algorithms, 3.1). Roundings point both ways, and for long sums lambda sqrt(k) u sum |l r| holds with probability
    1 - 2 exp(-lambda^2 / 2) (Higham and Mary 2019). Here lambda is 8, on either of two roads.

    Args:
        left: (..., k).
        right: (n, k).
    """
    k = left.shape[-1]
    return 2 * min(k, 8 * k**0.5) * _ROUNDOFF * (left.abs().double() @ right.abs().double().T)


def assert_same_numbers(found: Mapping[str, bytes], others: Mapping[str, bytes], rtol: float = STATISTICS) -> None:
    """Compares files that two runs wrote: the same names, arrays alike but for rounding, anything else to the byte."""
    assert found.keys() == others.keys()
    for name, data in found.items():
        if not name.endswith((".npy", ".npz")):
            assert data == others[name], name
            continue
        one, other = np.load(io.BytesIO(data)), np.load(io.BytesIO(others[name]))
        for part in one.files if name.endswith(".npz") else (slice(None),):
            np.testing.assert_allclose(one[part], other[part], rtol=rtol, atol=rtol, err_msg=name)
