"""Greedy engines side by side: seconds, peak memory and objective, each in a process of its own.

    python -m benchmarks.selection                         # all of it
    python -m benchmarks.selection --part dense --sizes 1000,5000
    python -m benchmarks.selection --part sparse --sizes 100000
    python -m benchmarks.selection --part incremental

dense     submodlib's LazyGreedy, apricot-select's lazy greedy and ours, 30 % of n samples by Facility Location
memory    Facility Location, FLMI and FLCG of submodlib and of ours, from utilities to 30 %
sparse    ours, 32 scored pairs a row, every objective, with another budget, and a pinned and a dropped row from nothing
changes   the same kernels, once their order and random subsets are known: another budget; and a whole selection around
          rows drawn at random, a chosen one dropped, another one kept, and ten of each

apricot-select is needed by this benchmark only: pip install apricot-select==0.6.1.

The utilities are random in the shape of measured ones: a row and a column effect explain 57 % of their variance, three
in five are negative, and sparse ones favour neighbours and popular helpers. Seconds are those after a run on 50 samples
has compiled what there is to compile; the ratio is one of core seconds. Ours orders the whole pool, the others stop at
30 %. Peak memory is what the process takes beyond the libraries, utilities included (Linux only).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from benchmarks.machine import machine
from delift_core.selection.assessment import RandomCurves, random_curves
from delift_core.selection.coverage import value
from delift_core.selection.greedy import greedy_order, order_around
from delift_core.selection.kernels import Kernel
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig, Stage

SHARE = 0.3
PER_ROW = 32
CHANGES = 9
STAGES: dict[str, Stage] = {"FL": "instruction", "FLMI": "task", "FLCG": "continual"}


@dataclass
class Measured:
    """Seconds by step, GiB held before and at most, and the result."""

    steps: dict[str, float] = field(default_factory=dict)
    objective: float = 0.0
    before: float = 0.0
    most: float = 0.0

    @property
    def peak(self) -> float:
        return self.most - self.before

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started, worked = time.perf_counter(), time.process_time()
        yield
        self.steps[name] = time.perf_counter() - started
        self.steps[f"{name} cpu"] = time.process_time() - worked


def dense_utilities(rows: int, columns: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    utility = generator.standard_normal((rows, columns), dtype=np.float32)
    utility *= np.float32(0.65)
    utility += generator.normal(-0.25, 0.55, columns).astype(np.float32)
    utility += generator.normal(0, 0.5, rows).astype(np.float32)[:, None]
    utility *= np.float32(0.1)
    return utility


def sparse_utilities(rows: int, columns: int, per_row: int, seed: int) -> csr_array:
    """Utilities in which half of a row's helpers are near it and half are drawn by popularity."""
    generator = np.random.default_rng(seed)
    popular = np.cumsum(generator.zipf(1.5, columns).clip(1, 2000).astype(np.float64))
    near = (np.arange(rows)[:, None] + generator.integers(1, 200, (rows, per_row // 2))) % columns
    known = np.searchsorted(popular, generator.random((rows, per_row - per_row // 2)) * popular[-1])
    places = np.concatenate([near, known], axis=1).astype(np.int32).ravel()
    entries = dense_utilities(rows, per_row, seed + 1).ravel()
    matrix = csr_array((entries, places, np.arange(0, rows * per_row + 1, per_row)), shape=(rows, columns))
    matrix.sum_duplicates()
    return matrix


def picks_of(n: int) -> int:
    return int(SHARE * n)


def by_submodlib(kernel: np.ndarray, k: int) -> np.ndarray:
    from submodlib import FacilityLocationFunction

    rows, n = kernel.shape
    function = FacilityLocationFunction(n=n, mode="dense", sijs=kernel, separate_rep=True, n_rep=rows)
    return _picks(function, k)


def _picks(function: Any, k: int) -> np.ndarray:
    picks = function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)
    return np.array([position for position, _ in picks])


def by_apricot(kernel: np.ndarray, k: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    selector = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    selector.fit(kernel.T.astype(np.float64))  # there, rows are what is selected
    return np.asarray(selector.ranking)


def by_ours(kernel: Kernel, k: int) -> np.ndarray:
    return greedy_order(kernel).order[:k]


LIBRARIES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "submodlib": by_submodlib,
    "apricot": by_apricot,
    "ours": by_ours,
}


def measure_dense(library: str, n: int) -> Measured:
    measured, order = Measured(), LIBRARIES[library]
    small = represented_kernel(ObjectiveConfig("instruction"), dense_utilities(50, 50, 0))
    order(small, picks_of(50))
    measured.before = _held("VmRSS")
    kernel = represented_kernel(ObjectiveConfig("instruction"), dense_utilities(n, n, 1))
    _forget_peak()
    with measured.step("order"):
        picks = order(kernel, picks_of(n))
    measured.most = _held("VmHWM")
    measured.objective = value(kernel, picks)
    return measured


def measure_memory(library: str, objective: str, n: int) -> Measured:
    """From utilities to the picks, with a second set as large as the pool."""
    measured = Measured()
    _from_utilities(library, objective, 50)
    measured.before = _held("VmRSS")
    _forget_peak()
    measured.steps["order"] = _from_utilities(library, objective, n)
    measured.most = _held("VmHWM")
    return measured


def _from_utilities(library: str, objective: str, n: int) -> float:
    stage = STAGES[objective]
    pool = dense_utilities(n, n, 1)
    target = dense_utilities(n, n, 2) if stage == "task" else None
    existing = dense_utilities(n, n, 3) if stage == "continual" else None
    started = time.perf_counter()
    if library == "submodlib":
        _submodlib_class(pool, target, existing)
    else:
        by_ours(represented_kernel(ObjectiveConfig(stage), pool, target=target, existing=existing), picks_of(n))
    return time.perf_counter() - started


def _submodlib_class(pool: np.ndarray, target: np.ndarray | None, existing: np.ndarray | None) -> np.ndarray:
    """Its own class of each; its FLMI is another function (see README), so that only its memory says something."""
    import submodlib

    n = len(pool)
    kernel = np.maximum(pool, 0)
    np.fill_diagonal(kernel, 0)
    if target is not None:
        function = submodlib.FacilityLocationMutualInformationFunction(
            n=n, num_queries=len(target), data_sijs=kernel, query_sijs=np.maximum(target.T, 0)
        )
    elif existing is not None:
        function = submodlib.FacilityLocationConditionalGainFunction(
            n=n, num_privates=existing.shape[1], data_sijs=kernel, private_sijs=np.maximum(existing, 0)
        )
    else:
        function = submodlib.FacilityLocationFunction(n=n, mode="dense", sijs=kernel, separate_rep=False)
    return _picks(function, picks_of(n))


def _select_around(
    config: ObjectiveConfig, budget: Budget, kernel: Kernel, fixed: FixedRows, random: RandomCurves | None = None
) -> None:
    """A whole selection around rows that are decided by hand."""
    request = SelectionRequest(config, budget, fixed=fixed)
    select_from_kernel(request, kernel, order_around(kernel, fixed), random=random)


def measure_sparse(objective: str, n: int) -> Measured:
    measured, config = Measured(), ObjectiveConfig(STAGES[objective])
    warm = represented_kernel(ObjectiveConfig("instruction"), sparse_utilities(50, 50, 8, 0))
    _select_around(ObjectiveConfig("instruction"), Budget("percent", 30), warm, FixedRows((1,), (2,)))
    measured.before = _held("VmRSS")
    pool = sparse_utilities(n, n, PER_ROW, 1)
    target = sparse_utilities(n // 100, n, PER_ROW, 2) if objective == "FLMI" else None
    existing = sparse_utilities(n, n // 10, PER_ROW // 4, 3) if objective == "FLCG" else None
    _forget_peak()
    with measured.step("kernel"):
        kernel = represented_kernel(config, pool, target=target, existing=existing)
    with measured.step("order"):
        greedy = greedy_order(kernel)
    with measured.step("select"):
        selection = select_from_kernel(SelectionRequest(config, Budget("percent", 100 * SHARE)), kernel, greedy)
    with measured.step("budget"):
        select_from_kernel(SelectionRequest(config, Budget("percent", 20)), kernel, greedy)
    pinned, dropped = int(greedy.order[-1]), int(greedy.order[0])
    with measured.step("pin"):
        _select_around(config, selection.budget, kernel, FixedRows((pinned,), (dropped,)))
    measured.most, measured.objective = _held("VmHWM"), selection.certificate.value
    measured.steps["certificate"] = selection.certificate.ratio
    return measured


def measure_changes(objective: str, n: int) -> dict[str, list[float]]:
    """CPU seconds of some changes, by kind."""
    config, generator = ObjectiveConfig(STAGES[objective]), np.random.default_rng(5)
    small = represented_kernel(ObjectiveConfig("instruction"), sparse_utilities(50, 50, 8, 0))
    around_two = FixedRows((1,), (2,))
    _select_around(
        ObjectiveConfig("instruction"), Budget("percent", 30), small, around_two, random=random_curves(small)
    )
    kernel = sparse_kernel(objective, n)
    greedy, k = greedy_order(kernel), picks_of(n)
    random = random_curves(kernel)
    chosen, others = greedy.order[:k], greedy.order[k:]

    def around(kept: int, dropped: int) -> None:
        fixed = FixedRows(
            tuple(generator.choice(others, kept, replace=False).tolist()),
            tuple(generator.choice(chosen, dropped, replace=False).tolist()),
        )
        _select_around(config, Budget("rows", k), kernel, fixed, random=random)

    def budget() -> None:
        rows = int(generator.integers(1, n))
        select_from_kernel(SelectionRequest(config, Budget("rows", rows)), kernel, greedy, random=random)

    changes: dict[str, Callable[[], None]] = {
        "budget": budget,
        "drop": lambda: around(0, 1),
        "pin": lambda: around(1, 0),
        "ten of each": lambda: around(10, 10),
    }
    taken: dict[str, list[float]] = {name: [] for name in changes}
    for name, change in changes.items():
        for _ in range(CHANGES):
            started = time.process_time()
            change()
            taken[name].append(time.process_time() - started)
    return taken


def sparse_kernel(objective: str, n: int) -> Kernel:
    pool = sparse_utilities(n, n, PER_ROW, 1)
    target = sparse_utilities(n // 100, n, PER_ROW, 2) if objective == "FLMI" else None
    existing = sparse_utilities(n, n // 10, PER_ROW // 4, 3) if objective == "FLCG" else None
    return represented_kernel(ObjectiveConfig(STAGES[objective]), pool, target=target, existing=existing)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _held(what: str) -> float:
    """GiB that this process holds: now (VmRSS), or at most since `_forget_peak` (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) / (1 << 20)


def in_a_child(*task: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.selection", "--task", ",".join(task)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Measured(**json.loads(out.splitlines()[-1]))


def carry_out(task: list[str]) -> Measured:
    part, *rest = task
    if part == "dense":
        return measure_dense(rest[0], int(rest[1]))
    if part == "memory":
        return measure_memory(rest[0], rest[1], int(rest[2]))
    if part == "changes":
        return Measured(
            {name: float(np.median(taken)) for name, taken in measure_changes(rest[0], int(rest[1])).items()}
        )
    return measure_sparse(rest[0], int(rest[1]))


def table(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|", flush=True)


def print_dense(sizes: list[int]) -> None:
    table(
        f"dense, FL, {SHARE:.0%}",
        "n",
        "library",
        "seconds",
        "core seconds",
        "ratio",
        "peak GiB",
        "objective",
        "against submodlib",
    )
    for n in sizes:
        reference = None
        for library in LIBRARIES:
            got = in_a_child("dense", library, str(n))
            reference = reference or got
            ratio = reference.steps["order cpu"] / got.steps["order cpu"]
            apart = got.objective / reference.objective - 1
            times = (f"{got.steps['order']:.3f}", f"{got.steps['order cpu']:.3f}", f"{ratio:.1f}")
            cells = (*times, f"{got.peak:.2f}", f"{got.objective:.6f}")
            print(f"| {n:,} | {library} | {' | '.join(cells)} | {apart:+.1e} |", flush=True)


def print_memory(sizes: list[int]) -> None:
    table(f"dense, from utilities to {SHARE:.0%}", "n", "library", "objective", "seconds", "peak GiB", "against its FL")
    for library, n in [("submodlib", min(sizes)), *(("ours", size) for size in sizes)]:
        base = None
        for objective in STAGES:
            got = in_a_child("memory", library, objective, str(n))
            base = base or got.peak
            cells = (f"{got.steps['order']:.3f}", f"{got.peak:.2f}", f"{got.peak / base:.2f}")
            print(f"| {n:,} | {library} | {objective} | {' | '.join(cells)} |", flush=True)


def print_sparse(sizes: list[int]) -> None:
    steps = ("kernel", "order", "select", "budget", "pin")
    names = ("kernel s", "order s", "30 % s", "another budget s", "pin and drop s", "total s")
    table(f"sparse, {PER_ROW} pairs a row", "n", "objective", *names, "peak GiB", "certificate")
    for n in sizes:
        for objective in STAGES:
            got = in_a_child("sparse", objective, str(n))
            total = sum(got.steps[step] for step in ("kernel", "order", "select"))
            cells = [f"{got.steps[step]:.2f}" for step in steps] + [f"{total:.2f}", f"{got.peak:.2f}"]
            print(f"| {n:,} | {objective} | {' | '.join(cells)} | {got.steps['certificate']:.3f} |", flush=True)


def print_changes(sizes: list[int]) -> None:
    names = ("budget", "drop", "pin", "ten of each")
    table(f"changes, medians of {CHANGES}, core seconds", "n", "objective", *names)
    for n in sizes:
        for objective in STAGES:
            got = in_a_child("changes", objective, str(n))
            print(f"| {n:,} | {objective} | {' | '.join(f'{got.steps[name]:.2f}' for name in names)} |", flush=True)


PARTS: dict[str, tuple[Callable[[list[int]], None], list[int]]] = {
    "dense": (print_dense, [1_000, 5_000, 10_000]),
    "memory": (print_memory, [2_000, 10_000]),
    "sparse": (print_sparse, [100_000, 1_000_000]),
    "changes": (print_changes, [100_000, 1_000_000]),
}


def main() -> None:
    """Prints the requested tables, or does one measurement as a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="default: all")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], help="of that part")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(vars(carry_out(options.task.split(",")))))
        return
    print(f"Machine: {machine()}")
    for part, (show, sizes) in PARTS.items():
        if options.part in (None, part):
            show((options.part and options.sizes) or sizes)


if __name__ == "__main__":
    main()
