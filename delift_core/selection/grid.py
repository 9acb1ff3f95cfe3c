"""Sums of kernel entries without rounding errors, so that every engine breaks the same ties the same way.

The sum of all that can be covered bounds every gain. Entries rounded to multiples of 2**-51 of that bound are whole
numbers of a unit, and their sums and differences stay below 2**53 units: float64 arithmetic on them is exact, in any
order, on any device. The rounding is that of a single float64 sum of the same size.
"""

import math

from delift_core.selection.kernels import Kernel, row_best


def magic_number(kernel: Kernel) -> float:
    """The m with which (s + m) - m rounds every entry s of the kernel to its grid (Knuth, TAOCP 2, 4.2.2)."""
    total = float(row_best(kernel).sum())
    if total == 0:
        return 0.0
    return 1.5 * 2.0 ** (math.ceil(math.log2(total)) + 1)
