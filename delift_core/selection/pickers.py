"""The engines of greedy maximisation: each works on one form of a kernel and continues from the coverage so far."""

from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import covered, gains_along
from delift_core.selection.kernels import Kernel, SparseColumns, as_kernel, by_columns, rounding_constant, row_blocks
from delift_core.selection.quotas import no_quota
from delift_core.selection.request import Engine, require_engine
from delift_core.system.memory import ensure_fits

if TYPE_CHECKING:
    from delift_core.selection.loops import PickLimits

WITHOUT_QUOTAS: frozenset[Engine] = frozenset({"submodlib"})
"""Engines without support for quotas."""

_DENSE_BYTES = 4


def picker_for(engine: Engine, kernel: Kernel) -> "_Picker":
    """An engine for a kernel from `as_kernel`, with nothing covered yet.

    Raises:
        SelectionError: an engine that is unknown or not installed, or its copy of the kernel does not fit into memory.
    """
    if engine == "auto":
        engine = "dense" if isinstance(kernel, np.ndarray) else "sparse"
    if engine in ("dense", "sparse"):
        return _LoopPicker(kernel, sparse=engine == "sparse")
    if engine == "torch":
        return _TorchPicker(kernel)
    if engine == "submodlib":
        require_engine(engine)
        return _SubmodlibPicker(kernel)
    raise SelectionError(f"Unknown engine {engine!r}: use one of {', '.join(get_args(Engine))}.")


def pick_per_weight(
    kernel: Kernel, weights: np.ndarray, room: float, *, first: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Picks by gain per weight until no position that fits has a gain.

    Args:
        kernel: (r, n) as for `greedy.greedy_order`.
        weights: (n,) above 0.
        room: maximum total weight of the picks.
        first: positions that are already chosen; their weight does not count.
        others: positions to pick from.

    Returns:
        (k,) int64 positions of `others` in the order picked.
    """
    form = as_kernel(kernel)
    picker = picker_for("auto", form)
    n = form.shape[1]
    picker.pick(first, np.ones(n), np.inf, no_quota(n))
    return picker.pick(others, weights.astype(np.float64), room, no_quota(n))[0]


class _Picker(Protocol):
    """An engine for one kernel; earlier picks stay covered."""

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, limits: "PickLimits"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Picks greedily until no candidate that fits and is allowed has a gain.

        Args:
            candidates: (c,) int64 positions.
            weights: (n,) float64; the largest gain per weight is picked next.
            room: maximum total weight of the picks.
            limits: updated by every pick.

        Returns:
            (k,) int64 positions and (k,) float64 gains in the order picked.
        """
        ...


class _LoopPicker:
    """A compiled loop on a dense kernel, which keeps every gain up to date, or on the columns of a sparse one, where
    most columns share no row with a pick, so that their gains need not be recomputed."""

    def __init__(self, kernel: Kernel, *, sparse: bool) -> None:
        self._constant, self._cover = rounding_constant(kernel), np.zeros(kernel.shape[0])
        if sparse:
            columns = by_columns(csr_array(kernel) if isinstance(kernel, np.ndarray) else kernel)
            assert isinstance(columns, SparseColumns)
            self._arrays: tuple[np.ndarray, ...] = (columns.starts, columns.rows, columns.entries)
        else:
            self._arrays = (_as_dense(kernel),)

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, limits: "PickLimits"
    ) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.greedy_loops import order_dense, order_sparse

        loop: Any = order_dense if len(self._arrays) == 1 else order_sparse
        order, gains = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
        left = candidates.astype(np.int64)  # a copy: the loop on columns uses it as its heap
        count = loop(*self._arrays, left, weights, room, limits, self._constant, self._cover, order, gains)
        return order[:count], gains[:count]


class _TorchPicker:
    """As `_LoopPicker` on a dense kernel, by whole-array operations on a torch device."""

    def __init__(self, kernel: Kernel) -> None:
        import torch

        self._torch: Any = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._kernel = torch.from_numpy(_as_dense(kernel)).to(self._device)
        self._constant = rounding_constant(kernel)
        self._cover = torch.zeros(kernel.shape[0], dtype=torch.float64, device=self._device)

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, limits: "PickLimits"
    ) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.loops import is_allowed, record_pick

        torch, n = self._torch, self._kernel.shape[1]
        weight = torch.as_tensor(weights, dtype=torch.float64, device=self._device)
        positions = torch.arange(n, device=self._device)
        gain = torch.full((n,), -torch.inf, dtype=torch.float64, device=self._device)
        gain[torch.as_tensor(candidates, dtype=torch.int64, device=self._device)] = 0.0
        for block in row_blocks(*self._kernel.shape):
            gain += (self._on_grid(self._kernel[block]) - self._cover[block, None]).clamp(min=0).sum(dim=0)
        picks: list[int] = []
        gains: list[float] = []
        while True:
            ratio = gain / weight
            most = ratio.max()
            if not most > 0:
                return np.array(picks, dtype=np.int64), np.array(gains)
            best = int(torch.where(ratio == most, positions, -1).max())
            if weights[best] <= room and is_allowed(limits, best):
                record_pick(limits, best)
                picks.append(best)
                gains.append(float(gain[best]))
                room -= float(weights[best])
                self._raise_cover(best, gain)
            gain[best] = -torch.inf

    def _raise_cover(self, best: int, gain: Any) -> None:
        """Raises the coverage by a column and lowers every gain accordingly."""
        entries = self._on_grid(self._kernel[:, best])
        rows = (entries > self._cover).nonzero()[:, 0]
        for block in row_blocks(len(rows), self._kernel.shape[1]):
            some = rows[block]
            before, after = self._cover[some, None], entries[some, None]
            gain -= (self._on_grid(self._kernel[some]).clamp(min=before, max=after) - before).sum(dim=0)
        self._cover[rows] = entries[rows]

    def _on_grid(self, entries: Any) -> Any:
        return (entries.to(self._torch.float64) + self._constant) - self._constant


class _SubmodlibPicker:
    """submodlib's lazy greedy on the residual kernel of the candidates; weights are ignored."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._cover = _as_dense(kernel), np.zeros(kernel.shape[0])

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, limits: "PickLimits"
    ) -> tuple[np.ndarray, np.ndarray]:
        if not len(candidates):
            return candidates, np.empty(0)
        ensure_fits(len(self._kernel), len(candidates), 2 * _DENSE_BYTES)  # the optimiser makes a copy
        part = self._kernel[:, candidates] - self._cover[:, None].astype(np.float32)
        part = np.ascontiguousarray(np.maximum(part, 0, out=part))  # the gains that are left
        picks = _by_submodlib(part)
        self._cover = np.maximum(self._cover, covered(self._kernel, candidates))
        # submodlib's own gains are sums of float32 differences; these are exact.
        return candidates[picks], gains_along(part, picks)


def _by_submodlib(dense: np.ndarray) -> np.ndarray:
    rows, n = dense.shape
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=n, mode="dense", sijs=dense, separate_rep=True, n_rep=rows)
    # submodlib accepts budgets below n only; the last column is added here.
    picks = [int(j) for j, _ in function.maximize(budget=n - 1, optimizer="LazyGreedy", show_progress=False)]
    last = set(range(n)).difference(picks)
    return np.array([*picks, *last], dtype=np.int64)


def _as_dense(kernel: Kernel) -> np.ndarray:
    if isinstance(kernel, np.ndarray):
        return kernel
    ensure_fits(kernel.shape[0], kernel.shape[1], _DENSE_BYTES)
    dense: np.ndarray = kernel.toarray()
    return dense
