"""The cost of storing a plan of pairs, without scoring: seconds, files, bytes and memory.

    python -m benchmarks.pair_store --rows 100000 --pairs 32

Drawn numbers go through the store as a plan's do, an example and a round at a time; then the plan is asked what is
missing, and every pair is read back as utilities. Nothing is scored.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from delift_core.scoring.estimation.partial_matrix import pair_utilities
from delift_core.scoring.forecast import group_missing
from delift_core.scoring.store import PairStore, ScoringContext, ZeroShot

ROUNDS = 4
CONTEXT = ScoringContext("drawn", "0", "float32", "chat", 1, 512)


@contextmanager
def timed(what: str) -> Iterator[None]:
    started, worked = time.perf_counter(), time.process_time()
    yield
    print(f"| {what} | {time.perf_counter() - started:.1f} | {time.process_time() - worked:.1f} |", flush=True)


def write(folder: Path, names: list[str], per_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Writes pairs to the store; returns the (m,) positions of helped rows and of helpers."""
    generator, n = np.random.default_rng(0), len(names)
    store = PairStore.open(folder, CONTEXT)
    counts = np.full(n, 10)
    store.write_zero_shot(names, ZeroShot(generator.uniform(1, 9, (n, 2)), counts, counts, np.zeros((n, 4))))
    rows, helpers = [], []
    for _ in range(ROUNDS):
        for helper in generator.permutation(n).tolist():
            helped = np.unique(generator.integers(0, n, per_row // ROUNDS))
            store.buffer_pairs(
                names[helper], [names[row] for row in helped.tolist()], generator.random((len(helped), 2))
            )
            rows.append(helped)
            helpers.append(np.full(len(helped), helper))
        store.compact()
    return np.concatenate(rows), np.concatenate(helpers)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=32, help="of each row")
    options = parser.parse_args()
    names = [f"{row:064x}" for row in range(options.rows)]
    print(f"Machine: {machine()}\n\n| step | seconds | core seconds |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as where:
        with timed("written"):
            rows, helpers = write(Path(where), names, options.pairs)
        files = [path for path in Path(where).rglob("*") if path.is_file()]
        store = PairStore.open(Path(where), CONTEXT)
        wanted = {name: (name,) for name in names}
        with timed("what is missing"):
            group_missing(store, wanted)
        with timed("read back"):
            utilities = pair_utilities(store, names, names, rows, helpers, "euclidean")
        assert not np.isnan(utilities).any()
        size = sum(path.stat().st_size for path in files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"\n{len(rows):,} pairs in {len(files):,} files, {size / len(rows):.0f} bytes a pair; peak {peak:.2f} GiB")


if __name__ == "__main__":
    main()
