"""The cost of a plan of pairs, without scoring, from its first round to the selection and its error bar.

    OMP_NUM_THREADS=1 python -m benchmarks.plan_at_scale --rows 100000 --pairs 32

Everything is the app's own (cues, rounds, store, fits, utilities, selection) but the model: a pair's numbers are
drawn where it would score them. Utilities are of the shape of measured ones: effects of rows and of columns, a form and
topic that cues know of, noise, and a few like samples that help far more. Seconds of the processor are told apart by
what they were spent on; parts called by another are not counted in it.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_array

from benchmarks.machine import machine
from delift_core.curation.reliability import error_bar
from delift_core.models.encoded import EncodedSample, ExampleTokens, Head
from delift_core.scoring import scoring_run as run
from delift_core.scoring.blocks import Block, ScoredBlock, ScoringInput, ScoringStep
from delift_core.scoring.estimation import budgeted
from delift_core.scoring.estimation import matrix_files as utilities_of_run
from delift_core.scoring.estimation import pair_choice as choice
from delift_core.scoring.estimation import partial_matrix as partial
from delift_core.scoring.estimation.budgeted import BudgetedRun
from delift_core.scoring.estimation.matrix_files import BudgetedPairs
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.scoring.estimation.run_plan import SampleText
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.scoring.store import PairStore, ScoringContext, ZeroShot
from delift_core.selection.greedy import greedy_order
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.request import SelectionRequest
from delift_core.selection.select import select_from_kernel
from delift_core.selection.types import Budget, ObjectiveConfig

CONTEXT = ScoringContext("drawn", "0", "float32", "chat", 1, 512)
_WIDTH = 576  # of the bundled model's embeddings
_LATENT = 12
_TOPIC = 40  # rows
_BLOCK = 128


@dataclass
class Clock:
    """CPU seconds by part; entering a part inside another one pauses the outer one."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._stop()
        self._running.append(name)
        self.calls[name] = self.calls.get(name, 0) + 1
        try:
            yield
        finally:
            self._stop()
            self._running.pop()

    def around(self, name: str, called: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return called(*given, **named)

        return timed

    def _stop(self) -> None:
        now = time.process_time()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class World:
    """Samples, and the utility of every pair."""

    def __init__(self, rows: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.names = tuple(f"{row:064x}" for row in range(rows))
        self.place = {name: row for row, name in enumerate(self.names)}
        topics = generator.normal(size=(rows // _TOPIC + 1, _LATENT))
        self.topic = generator.integers(0, len(topics), rows)
        self.latent = topics[self.topic] + 0.7 * generator.normal(size=(rows, _LATENT))
        self.tokens = np.clip(generator.lognormal(3.4, 0.9, rows), 2, 400).astype(np.int64)
        self.distance = generator.uniform(0.3, 0.9, rows)
        self.spread = 0.15 / np.sqrt(self.tokens) * generator.lognormal(0, 0.3, rows)
        self.row_effect, self.column_effect = generator.normal(-0.3, 0.6, rows), generator.normal(0, 0.15, rows)
        self.mixed = self.latent @ generator.normal(size=(_LATENT, _LATENT)) / _LATENT
        self.texts = self._texts(generator)
        self.embeddings = (self.latent @ generator.normal(size=(_LATENT, _WIDTH))).astype(np.float32)
        self.embeddings += generator.normal(size=(rows, _WIDTH)).astype(np.float32)

    def _texts(self, generator: np.random.Generator) -> dict[str, SampleText]:
        words = np.array([f"{one}{two}{three}" for one in "bdfgklmnprst" for two in "aeiou" for three in "lmnrstxz"])
        of_topic = generator.integers(0, len(words), (int(self.topic.max()) + 1, 30))
        texts = {}
        for row, name in enumerate(self.names):
            own = words[of_topic[self.topic[row]][generator.integers(0, 30, min(60, self.tokens[row]))]]
            other = words[generator.integers(0, len(words), 6)]
            texts[name] = SampleText(f"What of {' '.join(other)}?", f"{' '.join(own)} {' '.join(other[:3])}.")
        return texts

    def utilities(self, rows: np.ndarray, helper: int) -> np.ndarray:
        """(m,) utilities of one helper for some rows; deterministic."""
        generator = np.random.default_rng([helper, int(rows[0]), len(rows)])
        smooth = self.row_effect[rows] + self.column_effect[helper] + 0.25 * self.mixed[rows] @ self.latent[helper]
        noise = 0.5 * generator.normal(size=len(rows))
        near = (self.topic[rows] == self.topic[helper]) * generator.exponential(1.0, len(rows))
        found: np.ndarray = self.spread[rows] * (smooth + noise + near)
        return found


class Drawn:
    """A backend that draws random utilities instead of scoring."""

    rows_per_block = _BLOCK

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock

    def work(self, material: ScoringInput, blocks: Iterable[Block]) -> Generator[ScoringStep, None, None]:
        for block in blocks:
            with self._clock.part("drawing numbers, in place of scoring"):
                rows = material.rows(block)
                numbers = self._numbers(np.array([self._world.place[row] for row in rows]), block)
            yield ScoringStep(1, len(rows) if block.helper else 0, ScoredBlock(block, numbers))

    def _numbers(self, rows: np.ndarray, block: Block) -> ZeroShot | np.ndarray:
        world = self._world
        tokens, distance = world.tokens[rows], world.distance[rows]
        if block.helper is None:
            statistics = np.stack([tokens * distance**2, -2.0 * tokens], axis=1)
            return ZeroShot(statistics, np.full(len(rows), 24), tokens, world.embeddings[rows])
        with_help = np.maximum(distance - world.utilities(rows, world.place[block.helper]), 0)
        return np.stack([tokens * with_help**2, -2.0 * tokens], axis=1)


_PARTS = (
    (run, "work_tokens", "lists of pairs"),
    (run, "cut_chunks", "lists of pairs"),
    (budgeted, "group_missing", "what is missing"),
    (budgeted, "matrix_plans", "cues"),
    (utilities_of_run, "matrix_plans", "cues"),
    (budgeted, "opening_rounds", "search, opening"),
    (budgeted, "next_round", "search, later rounds"),
    (choice, "Completion", "fits"),
    (partial, "Completion", "fits"),
    (budgeted, "read_measured", "reading pairs"),
    (partial, "pair_utilities", "reading pairs"),
    (utilities_of_run, "pair_utilities", "reading pairs"),
    (PartialMatrix, "estimated", "largest estimates of each row"),
    (PairStore, "buffer_pairs", "writing pairs"),
    (PairStore, "compact", "writing pairs"),
)


def plan(world: World, folder: Path, pairs: str, clock: Clock) -> BudgetedPairs:
    """Runs every round of the plan."""
    budget, samples = parse_pairs(pairs), RunSamples(world.names)
    store = PairStore.open(folder, CONTEXT)
    example = ExampleTokens((), (1,) * 40, (1,) * 40)
    sample = EncodedSample(Head((1,), (1,)), (1,) * 20, (1,) * 20, (1,) * 20, (example,))
    encoded = dict.fromkeys(world.names, sample)
    with clock.part("running the rounds"):
        work = BudgetedRun(Drawn(world, clock), encoded, store, samples, budget, world.texts)
        assert work.work()
    return BudgetedPairs(store, samples, budget)


def select(world: World, pairs: BudgetedPairs, clock: Clock) -> str:
    """Assembles the utilities, selects 30 % and computes the error bar; returns its text."""
    with clock.part("putting together"):
        made = pairs.assemble(world.texts, "euclidean")
    assert made is not None and isinstance(made.pool, csr_array)
    config = ObjectiveConfig("instruction")
    with clock.part("selection of 30 %"):
        kernel = represented_kernel(config, made.pool)
        selection = select_from_kernel(SelectionRequest(config, Budget("percent", 30)), kernel, greedy_order(kernel))
    with clock.part("error bar"):
        matrix = pairs.matrices(world.texts, "euclidean")["pool"]
        bar = error_bar(matrix, kernel, np.arange(len(world.names)), selection.chosen)
    assert bar is not None
    return bar.sentence


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=32, help="of each row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Machine: {machine()}\n", flush=True)
    world, clock, began = World(options.rows, options.seed), Clock(), time.perf_counter()
    before = _peak()
    with tempfile.TemporaryDirectory() as where, ExitStack() as patched:
        for owner, name, part in _PARTS:
            patched.enter_context(patch.object(owner, name, clock.around(part, getattr(owner, name))))
        pairs = plan(world, Path(where), f"k={options.pairs}", clock)
        planned = _peak()
        sentence = select(world, pairs, clock)
    print(f"| {options.rows:,} rows, k = {options.pairs} | calls | core seconds |\n| --- | --- | --- |")
    for name, seconds in sorted(clock.seconds.items(), key=lambda part: -part[1]):
        print(f"| {name} | {clock.calls[name]:,} | {seconds:.1f} |")
    print(f"| all | | {sum(clock.seconds.values()):.1f} |\n\n{sentence}")
    print(
        f"{time.perf_counter() - began:.0f} s; memory {before:.2f} GiB before, at most {planned:.2f} planning,", end=""
    )
    print(f" {_peak():.2f} in all")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


if __name__ == "__main__":
    main()
