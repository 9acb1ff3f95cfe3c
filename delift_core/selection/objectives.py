"""From measured utilities to the objective: three objectives, each as one represented kernel.

In every matrix, row i is helped and column j helps; units are those of the metric. With the kernel
s_ij = max(U_ij, 0), not rescaled so that eta, nu and the clamp keep their meaning, DELIFT's objectives over a pool D
(arXiv 2411.04425, with the published forms of FLMI and FLCG) are

    instruction  FL    f(A)       = sum_{i in D} max_{j in A} s_ij
    task         FLMI  f(A; D_T)  = FL(A) + eta * sum_{j in A} max_{i in D_T} s_ij
    continual    FLCG  f(A | D_E) = sum_{i in D} max(max_{j in A} s_ij - nu * max_{k in D_E} s_ik, 0)

where the published bonus of FLMI counts help to the same target row once for every chosen row. Our own variant is

    task, `target_help="coverage"`  f(A; D_T) = FL(A) + eta * FL(D) / FL_T(D) * FL_T(A),
                                    FL_T(A)   = sum_{i in D_T} max_{j in A} s_ij

in which the whole target weighs eta times as much as the whole pool (reasons in benchmarks/results.md). With
`scaling="min-max"`, s is that of the published code (`min_max`). `represented_kernel` rewrites each objective as
Facility Location over some rows, for one engine to maximise; `evaluate` computes the formulas above directly. Utilities
are dense, or sparse with the scored pairs; a pair that was not scored counts as 0. This module knows nothing of budgets
or optimisers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array, vstack

from delift_core.errors import SelectionError
from delift_core.selection.coverage import as_positions
from delift_core.selection.diagnose import ensure_inputs
from delift_core.selection.kernels import Kernel, as_canonical, column_best, row_best, row_blocks
from delift_core.selection.request import check_objective
from delift_core.selection.types import ObjectiveConfig
from delift_core.system.memory import ensure_fits


@dataclass(frozen=True, slots=True)
class Scale:
    """s = max((U - low) / span, 0); 0 everywhere if `span` is 0 (all utilities are equal)."""

    low: float
    span: float

    def apply(self, utility: np.ndarray) -> np.ndarray:
        """A scaled copy of the same shape and dtype; NaN (not measured, or the diagonal) becomes 0."""
        if self == CLAMP:
            kernel: np.ndarray = np.fmax(utility, 0)
            return kernel
        if self.span == 0:
            return np.zeros_like(utility)
        scaled = (utility.astype(np.float64) - self.low) / self.span
        return np.fmax(scaled, 0).astype(utility.dtype)


CLAMP = Scale(0.0, 1.0)


def min_max(matrix: Kernel, diagonal: np.ndarray | None = None) -> Scale:
    """The published scaling of a matrix, with `diagonal` (n,), if given, in place of its own diagonal.

    Raises:
        SelectionError: the matrix is sparse: not every pair was scored.
    """
    dense = _dense(matrix)
    least, greatest = np.inf, -np.inf
    for block in row_blocks(*dense.shape):
        part = dense[block]
        if diagonal is not None:
            part, local = part.copy(), np.arange(block.stop - block.start)
            part[local, local + block.start] = diagonal[block]
        least, greatest = min(least, float(np.nanmin(part))), max(greatest, float(np.nanmax(part)))
    return Scale(least, greatest - least)


def _dense(matrix: Kernel) -> np.ndarray:
    if not isinstance(matrix, np.ndarray):
        raise SelectionError(
            "Min-max scaling is between the least and the greatest utility of all pairs, and not all were scored: use "
            "the default settings, or score every pair."
        )
    return matrix


_FLOAT32_BYTES = 4
_SPARSE_BYTES = 40  # per entry of the kernel, with the temporaries to make it


def represented_kernel(
    config: ObjectiveConfig,
    pool: Kernel,
    *,
    diagonal: np.ndarray | None = None,
    target: Kernel | None = None,
    existing: Kernel | None = None,
) -> Kernel:
    """The matrix whose Facility Location value equals the configured objective for every subset.

    Args:
        config: objective and its weights.
        pool: (n, n) utilities; U_ij is how much sample j helps sample i. The diagonal is never read. A sparse matrix
            gives a sparse kernel; the other matrices may be of either form.
        diagonal: (n,) measured U_ii, for `config.self_coverage` > 0 and min-max scaling.
        target: (t, n) utilities of target rows i helped by pool samples j; for stage "task" only.
        existing: (n, e) utilities of pool samples i helped by existing rows k; for stage "continual" only.

    Returns:
        (r, n) float32, C-contiguous or a csr_array in canonical form, entries >= 0. Rows 0..n-1 represent the pool
        samples (for "continual": their help beyond that of existing rows). For "task" more rows follow: row n+j holds
        sample j's bonus, or row n+i represents target row i.

    Raises:
        SelectionError: inputs that do not match the stage or each other, missing or infinite utilities, weights out
            of range, or a kernel that does not fit into memory.
    """
    check_objective(config)
    ensure_inputs(config, pool, diagonal, target, existing)
    n = pool.shape[0]
    scale = _scale(config, pool, diagonal)
    own = _self_coverage(config, diagonal, n, scale)
    # FLCG: x -> max(x - c, 0) is monotone and so commutes with the maximum over A:
    # max(max_j s_ij - c_i, 0) = max_j max(s_ij - c_i, 0), which is Facility Location again.
    already = np.zeros(n) if existing is None else config.nu * row_best(_scaled(config, existing))
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused below
        target_rows = None if target is None else _target_rows(config, target)
        if isinstance(pool, np.ndarray):
            kernel = _dense_kernel(config, pool, scale, own, already, target_rows)
        else:
            kernel = _sparse_kernel(config, pool, own, already, target_rows)
    if not np.isfinite(kernel.max()):
        raise SelectionError("A utility, or eta times one, is too large for a 32-bit number: use a smaller eta.")
    return kernel


def _target_rows(config: ObjectiveConfig, target: Kernel) -> Kernel:
    """The rows that represent the target, without their weight: (n, n) sparse bonuses, or (t, n) help, at least 0."""
    scaled = _scaled(config, target)
    if config.target_help == "bonus":  # adds up: a represented row for each column, which no other column covers
        return _diagonal(column_best(scaled))
    if isinstance(scaled, np.ndarray):
        return np.fmax(scaled, 0).astype(np.float32)
    kept = as_canonical(scaled).copy()
    kept.data = np.fmax(kept.data, 0).astype(np.float32)
    kept.eliminate_zeros()
    return kept


def _target_weight(config: ObjectiveConfig, of_pool: float, of_target: float) -> float:
    """The factor of the target's rows, given the coverage of pool and target by all samples."""
    if config.target_help == "bonus":
        return config.eta
    return config.eta * of_pool / of_target if of_target > 0 else 0.0


def _dense_kernel(
    config: ObjectiveConfig,
    pool: np.ndarray,
    scale: Scale,
    own: np.ndarray,
    already: np.ndarray,
    target_rows: Kernel | None,
) -> Kernel:
    n = len(pool)
    rows = n if target_rows is None else n + target_rows.shape[0]
    ensure_fits(rows, n, _FLOAT32_BYTES)
    kernel = np.zeros((rows, n), dtype=np.float32)
    for block in row_blocks(n, n):
        part = scale.apply(pool[block]).astype(np.float64)
        local = np.arange(block.stop - block.start)
        part[local, local + block.start] = own[block]
        kernel[block] = np.maximum(part - already[block, None], 0)
    if target_rows is not None:
        weight = _target_weight(config, float(row_best(kernel[:n]).sum()), float(row_best(target_rows).sum()))
        for block in row_blocks(*target_rows.shape):
            part = target_rows[block]
            wide = (part if isinstance(part, np.ndarray) else part.toarray()).astype(np.float64)
            kernel[n + block.start : n + block.stop] = weight * wide
    return kernel


def _sparse_kernel(
    config: ObjectiveConfig, pool: csr_array, own: np.ndarray, already: np.ndarray, target_rows: Kernel | None
) -> Kernel:
    n = pool.shape[0]
    added = 0 if target_rows is None else csr_array(target_rows).nnz
    ensure_fits(n, n, _SPARSE_BYTES, entries=pool.nnz + added)
    kernel = as_canonical(pool).copy()
    kernel.data = np.maximum(CLAMP.apply(kernel.data) - np.repeat(already, np.diff(kernel.indptr)), 0).astype(
        np.float32
    )
    kernel.data[kernel.indices == np.repeat(np.arange(n), np.diff(kernel.indptr))] = 0
    kernel.eliminate_zeros()
    if own.any():
        kernel = kernel + _diagonal(np.maximum(own - already, 0))
    if target_rows is not None:
        weight = _target_weight(config, float(row_best(kernel).sum()), float(row_best(target_rows).sum()))
        rows = csr_array(target_rows, dtype=np.float64, copy=True)
        rows.data *= weight
        rows.eliminate_zeros()
        kernel = vstack([kernel, rows.astype(np.float32)], format="csr")
    return as_canonical(kernel)


def _diagonal(entries: np.ndarray) -> csr_array:
    matrix = csr_array(diags_array(entries.astype(np.float32)))
    matrix.eliminate_zeros()
    return matrix


def evaluate(
    config: ObjectiveConfig,
    subset: Sequence[int] | np.ndarray,
    pool: Kernel,
    *,
    diagonal: np.ndarray | None = None,
    target: Kernel | None = None,
    existing: Kernel | None = None,
) -> float:
    """The configured objective of a subset, directly from its formula, in float64.

    Args:
        config: objective and its weights.
        subset: positions in the pool, each once; the empty subset has value 0.
        pool, diagonal, target, existing: as for `represented_kernel`.

    Raises:
        SelectionError: as for `represented_kernel`, or invalid positions.
    """
    check_objective(config)
    ensure_inputs(config, pool, diagonal, target, existing)
    n = pool.shape[0]
    members = as_positions(subset, n)
    if not len(members):
        return 0.0
    scale = _scale(config, pool, diagonal)
    own = _self_coverage(config, diagonal, n, scale)

    def pool_help(members: np.ndarray) -> np.ndarray:
        best = _best_help(pool, members, scale)
        best[members] = np.maximum(best[members], own[members])
        return best

    best = pool_help(members)
    if existing is not None:
        return float(np.maximum(best - config.nu * row_best(_scaled(config, existing)), 0).sum())
    if target is not None:
        scaled = _scaled(config, target)
        if config.target_help == "bonus":
            return float(best.sum() + config.eta * column_best(scaled)[members].sum())
        of_pool, of_target = float(pool_help(np.arange(n)).sum()), float(row_best(scaled).sum())
        given = float(row_best(scaled[:, members]).sum())
        return float(best.sum() + _target_weight(config, of_pool, of_target) * given)
    return float(best.sum())


def _best_help(pool: Kernel, members: np.ndarray, scale: Scale) -> np.ndarray:
    """The largest help to each sample from a member other than itself, at least 0: (n,) float64."""
    helped = pool[:, members]
    if isinstance(helped, np.ndarray):
        helped = scale.apply(helped)
        helped[members, np.arange(len(members))] = 0
    else:
        rows = np.repeat(np.arange(helped.shape[0]), np.diff(helped.indptr))
        helped.data[members[helped.indices] == rows] = 0
    return row_best(helped)


def _scale(config: ObjectiveConfig, pool: Kernel, diagonal: np.ndarray | None) -> Scale:
    return CLAMP if config.scaling == "clamp" else min_max(pool, diagonal)


def _scaled(config: ObjectiveConfig, other: Kernel) -> Kernel:
    """Target or existing utilities in the objective's scaling; `row_best` and `column_best` clamp them."""
    return other if config.scaling == "clamp" else min_max(other).apply(_dense(other))


def _self_coverage(config: ObjectiveConfig, diagonal: np.ndarray | None, n: int, scale: Scale) -> np.ndarray:
    if diagonal is None or config.self_coverage == 0:
        return np.zeros(n)
    return config.self_coverage * scale.apply(diagonal).astype(np.float64)
