"""The greedy engines: each knows one form of a kernel, keeps what is covered, and picks on from there."""

from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.selection.coverage import covered, gains_along
from delift_core.selection.kernels import Kernel, SparseColumns, above, by_columns, magic_number, row_blocks
from delift_core.selection.request import Engine
from delift_core.system.memory import ensure_fits

if TYPE_CHECKING:
    from delift_core.selection.loops import Places

WITHOUT_PLACES: frozenset[Engine] = frozenset({"submodlib"})
"""Engines that cannot keep to quotas."""

_DENSE_BYTES = 4


def picker_for(engine: Engine, kernel: Kernel) -> "_Picker":
    """An engine at work on a kernel (as from `as_kernel`) of which nothing is covered yet.

    Raises:
        SelectionError: an unknown engine, or its copy of the kernel does not fit into memory.
    """
    if engine == "auto":
        engine = "dense" if isinstance(kernel, np.ndarray) else "sparse"
    if engine == "dense":
        return _DensePicker(kernel)
    if engine == "sparse":
        return _SparsePicker(_as_columns(kernel), magic_number(kernel))
    if engine == "torch":
        return _TorchPicker(kernel)
    if engine == "submodlib":
        return _SubmodlibPicker(kernel)
    raise SelectionError(f"Unknown engine {engine!r}: use one of {', '.join(get_args(Engine))}.")


class _Picker(Protocol):
    """An engine at work on one kernel: what was picked before stays covered."""

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, places: "Places"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Picks what adds anything, fits, and has a place: (k,) positions, and their gains."""
        ...


class _DensePicker:
    """Keeps every gain up to date: a pick changes the gains only through the rows that it covers better."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._magic, self._cover = _as_dense(kernel), magic_number(kernel), np.zeros(kernel.shape[0])

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, places: "Places"
    ) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.greedy_loops import order_dense

        order, gains = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
        useful = order_dense(self._kernel, candidates, weights, room, places, self._magic, self._cover, order, gains)
        return order[:useful], gains[:useful]


class _SparsePicker:
    """Lazy greedy by columns: most picks share no row with most columns, whose gains then need no second look."""

    def __init__(self, columns: SparseColumns, magic: float) -> None:
        self._columns, self._magic, self._cover = columns, magic, np.zeros(columns.height)

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, places: "Places"
    ) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.greedy_loops import order_sparse

        order, gains = np.empty(len(candidates), dtype=np.int64), np.empty(len(candidates))
        starts, rows, entries = self._columns.starts, self._columns.rows, self._columns.entries
        heap = candidates.astype(np.int64)
        args = (starts, rows, entries, heap, weights, room, places, self._magic, self._cover, order, gains)
        useful = order_sparse(*args)
        return order[:useful], gains[:useful]


class _TorchPicker:
    """As `_DensePicker`, in whole-array operations on a torch device."""

    def __init__(self, kernel: Kernel) -> None:
        import torch

        self._torch: Any = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._kernel = torch.from_numpy(_as_dense(kernel)).to(self._device)
        self._magic = magic_number(kernel)
        self._cover = torch.zeros(kernel.shape[0], dtype=torch.float64, device=self._device)

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, places: "Places"
    ) -> tuple[np.ndarray, np.ndarray]:
        from delift_core.selection.loops import has_place, take_place

        torch, n = self._torch, self._kernel.shape[1]
        heavy = torch.as_tensor(weights, dtype=torch.float64, device=self._device)
        positions = torch.arange(n, device=self._device)
        gain = torch.full((n,), -torch.inf, dtype=torch.float64, device=self._device)
        gain[torch.as_tensor(candidates, dtype=torch.int64, device=self._device)] = 0.0
        for block in row_blocks(*self._kernel.shape):
            gain += (self._on_grid(self._kernel[block]) - self._cover[block, None]).clamp(min=0).sum(dim=0)
        picks: list[int] = []
        gains: list[float] = []
        while True:
            ratio = gain / heavy
            most = ratio.max()
            if not most > 0:
                return np.array(picks, dtype=np.int64), np.array(gains)
            best = int(torch.where(ratio == most, positions, -1).max())
            if weights[best] <= room and has_place(places, best):
                take_place(places, best)
                picks.append(best)
                gains.append(float(gain[best]))
                room -= float(weights[best])
                self._lift(best, gain)
            gain[best] = -torch.inf

    def _lift(self, best: int, gain: Any) -> None:
        """Covers the rows by a column, and takes from every gain what that leaves it less."""
        entries = self._on_grid(self._kernel[:, best])
        rows = (entries > self._cover).nonzero()[:, 0]
        for block in row_blocks(len(rows), self._kernel.shape[1]):
            some = rows[block]
            before, after = self._cover[some, None], entries[some, None]
            gain -= (self._on_grid(self._kernel[some]).clamp(min=before, max=after) - before).sum(dim=0)
        self._cover[rows] = entries[rows]

    def _on_grid(self, entries: Any) -> Any:
        return (entries.to(self._torch.float64) + self._magic) - self._magic


class _SubmodlibPicker:
    """submodlib's lazy greedy, on a copy of what the candidates have above the phases before; it knows no weights."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._cover = _as_dense(kernel), np.zeros(kernel.shape[0])

    def pick(
        self, candidates: np.ndarray, weights: np.ndarray, room: float, places: "Places"
    ) -> tuple[np.ndarray, np.ndarray]:
        if not len(candidates):
            return candidates, np.empty(0)
        part = above(self._kernel, candidates, self._cover)
        assert isinstance(part, np.ndarray)
        picks = _by_submodlib(np.ascontiguousarray(part))
        self._cover = np.maximum(self._cover, covered(self._kernel, candidates))
        # submodlib's own gains are sums of float32 differences; these are exact for the kernel as stored.
        return candidates[picks], gains_along(part, picks)


def _by_submodlib(dense: np.ndarray) -> np.ndarray:
    rows, n = dense.shape
    if n == 1:
        return np.zeros(1, dtype=np.int64)
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=n, mode="dense", sijs=dense, separate_rep=True, n_rep=rows)
    # submodlib accepts budgets below n only, so the last column is added here.
    picks = [int(j) for j, _ in function.maximize(budget=n - 1, optimizer="LazyGreedy", show_progress=False)]
    last = set(range(n)).difference(picks)
    return np.array([*picks, *last], dtype=np.int64)


def _as_dense(kernel: Kernel) -> np.ndarray:
    if isinstance(kernel, np.ndarray):
        return kernel
    ensure_fits(kernel.shape[0], kernel.shape[1], _DENSE_BYTES)
    dense: np.ndarray = kernel.toarray()
    return dense


def _as_columns(kernel: Kernel) -> SparseColumns:
    columns = by_columns(csr_array(kernel) if isinstance(kernel, np.ndarray) else kernel)
    assert isinstance(columns, SparseColumns)
    return columns
