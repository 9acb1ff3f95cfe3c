"""How much of the objective a selection keeps when only some pairs are scored: f(A) / f(A_exact) at equal budgets.

    python -m benchmarks.retention
    python -m benchmarks.retention --asked     # what plans that were too small ask for, and whether it is enough

A is the greedy FL selection of 30 % of the rows from what a method knows; f is always taken on the exact kernel. The
stored matrices (benchmarks/retention-*.npz) hold the statistics of every pair, float32, and what is known of each row
before a pair is scored, as vectors, without any text; `benchmarks.truth` makes such a file. Methods at
the same number of scored pairs:

    ours              the app's own plan: like samples first, then by likeness and a completion model together
    alike             each row with the samples of the nearest cues (our cues, no rounds)
    embedding-nearest each row with the nearest by the model's embedding
    tf-idf-nearest    each row with the nearest by TF-IDF over prompt and response
    random pairs      as many for each row
    landmark rows     all pairs of some random rows
    landmark columns  all pairs of some random columns
    MLP on embeddings NN-CIFT's regressor (arXiv 2502.09969: a hidden layer of 100) on random pairs; A from estimates
    embedding FL      no pair scored: FL on cosine similarity
    random subset     no pair scored
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from delift_core.curation.reliability import error_bar
from delift_core.scoring.estimation.pair_choice import (
    MatrixPlan,
    Measured,
    next_round,
    opening_rounds,
    pair_keys,
    row_priority,
)
from delift_core.scoring.estimation.partial_matrix import PartialMatrix
from delift_core.scoring.metrics import utility
from delift_core.selection.greedy import greedy_order
from delift_core.selection.types import ENOUGH, ErrorBar

HERE = Path(__file__).parent
SHARES = (0.05, 0.10, 0.25)
GROWING = (0.03, 0.05, 0.075, 0.10, 0.15, 0.20, 0.25, 0.35, 0.50)
FEW = 0.10
BUDGET = 0.3


@dataclass(frozen=True, slots=True)
class Truth:
    """A pool with every pair scored.

    Attributes:
        cues: (n, d) as `utility.cues` makes them; embeddings: (n, e); tf_idf: (n, n) cosine similarity of the texts.
        utilities: (n, n) float32 with NaN on the diagonal; tokens: (n,) of the responses.
    """

    name: str
    cues: np.ndarray
    embeddings: np.ndarray
    tf_idf: np.ndarray
    utilities: np.ndarray
    tokens: np.ndarray

    @property
    def kernel(self) -> np.ndarray:
        """(n, n) float32, 0 on the diagonal."""
        kernel: np.ndarray = np.nan_to_num(np.maximum(self.utilities, 0))
        return kernel


def read_truth(path: Path) -> Truth | None:
    """A stored matrix; None if it is not complete."""
    with np.load(path) as stored:
        alone, tokens, pairs = stored["alone"], stored["tokens"], stored["pairs"]
        if np.isnan(pairs).any():
            return None
        columns = [utility(alone, pairs[:, j], tokens, "euclidean") for j in range(len(pairs))]
        vectors = [stored[name].astype(np.float32) for name in ("cues", "embeddings", "tf_idf")]
    matrix = np.column_stack(columns)
    np.fill_diagonal(matrix, np.nan)
    return Truth(path.stem.removeprefix("retention-"), *vectors, matrix, tokens)


def read_truths() -> list[Truth]:
    """Every complete stored matrix; prints which are incomplete."""
    truths = []
    for path in sorted(HERE.glob("retention-*.npz")):
        truth = read_truth(path)
        if truth is None:
            print(f"\n{path.name} is not complete yet: see benchmarks.truth", flush=True)
        else:
            truths.append(truth)
    return truths


def order(kernel: np.ndarray, count: int) -> np.ndarray:
    """The first `count` columns of the greedy order."""
    return greedy_order(np.ascontiguousarray(kernel, dtype=np.float32)).order[:count]


class Pool:
    """A completely scored pool, and every method's selection from it."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.kernel, self.n = truth, truth.kernel, len(truth.utilities)
        self.count = round(BUDGET * self.n)
        self.exact = order(self.kernel, self.count)
        self.best = self.value(self.exact)
        self.cues = truth.cues
        self.embeddings = truth.embeddings - truth.embeddings.mean(axis=0)
        self.embeddings /= np.linalg.norm(self.embeddings, axis=1, keepdims=True)

    def value(self, chosen: np.ndarray) -> float:
        """f on the exact kernel."""
        return float(self.kernel[:, chosen].max(axis=1).sum())

    def ratio(self, chosen: np.ndarray) -> float:
        """f(A) / f(A_exact)."""
        return self.value(chosen) / self.best

    def from_mask(self, scored: np.ndarray) -> np.ndarray:
        """The selection from the pairs of a mask."""
        return order(np.where(scored, self.kernel, 0), self.count)

    def nearest(self, similarity: np.ndarray, each: int) -> np.ndarray:
        """Mask of each row's most similar helpers."""
        similarity = similarity.copy()
        np.fill_diagonal(similarity, -np.inf)
        scored = np.zeros((self.n, self.n), dtype=bool)
        scored[np.arange(self.n)[:, None], np.argsort(-similarity, axis=1)[:, :each]] = True
        return scored

    def random_pairs(self, each: int, generator: np.random.Generator) -> np.ndarray:
        """Mask of as many random helpers of each row."""
        return self.nearest(generator.random((self.n, self.n)), each)

    def regressor(self, scored: np.ndarray, seed: int) -> np.ndarray:
        """The selection from an MLP's estimates of all pairs, trained on the scored ones."""
        from sklearn.neural_network import MLPRegressor

        rows, columns = np.nonzero(scored)
        values = self.truth.utilities[rows, columns]
        scale = float(values.std())
        model = MLPRegressor(hidden_layer_sizes=(100,), max_iter=200, early_stopping=True, random_state=seed)
        model.fit(np.hstack([self.embeddings[rows], self.embeddings[columns]]), values / scale)
        every = np.indices((self.n, self.n)).reshape(2, -1)
        estimate = model.predict(np.hstack([self.embeddings[every[0]], self.embeddings[every[1]]]))
        kernel = np.maximum(estimate.reshape(self.n, self.n), 0)
        np.fill_diagonal(kernel, 0)
        return order(kernel, self.count)

    def planned(self, share: float, seed: int) -> PartialMatrix:
        """The pairs that the app's plan scores."""
        effort = row_priority(self.truth.tokens)
        part = MatrixPlan(self.cues, self.cues, round(share * self.n * (self.n - 1)), effort, same=True)
        rounds = opening_rounds(part, seed)
        while True:
            fit = tuple(one for one in rounds if one.kind != "held-out")
            more = next_round(part, self.measured(fit), pair_keys(part, rounds), seed)
            if more is None:
                break
            rounds = (*rounds, more)
        return PartialMatrix(part, rounds, self.measured(rounds[:1]), self.measured(fit))

    def ours(self, share: float, seed: int) -> tuple[np.ndarray, ErrorBar]:
        """The selection from the app's plan, and its error bar."""
        matrix = self.planned(share, seed)
        kernel = matrix.measured()
        kernel.data = np.maximum(kernel.data, 0)
        chosen = order(kernel.toarray(), self.count)
        bar = error_bar(matrix, csr_array(kernel), np.arange(self.n), chosen, seed=seed)
        assert bar is not None
        return chosen, bar

    def measured(self, rounds: tuple[object, ...]) -> Measured:
        """The utilities of the pairs of some rounds."""
        rows, columns = (np.concatenate([getattr(one, name) for one in rounds]) for name in ("rows", "columns"))
        return Measured(rows, columns, self.truth.utilities[rows, columns].astype(np.float64))


def methods(pool: Pool, share: float) -> dict[str, Callable[[int], np.ndarray]]:
    """Every other method by name: a function from a seed to a selection."""
    each = round(share * (pool.n - 1))
    some = round(share * pool.n)

    def rows(seed: int) -> np.ndarray:
        return order(pool.kernel[np.random.default_rng(seed).permutation(pool.n)[:some]], pool.count)

    def columns(seed: int) -> np.ndarray:
        mask = np.zeros((pool.n, pool.n), dtype=bool)
        mask[:, np.random.default_rng(seed).permutation(pool.n)[:some]] = True
        return pool.from_mask(mask)

    cosine = (1 + pool.embeddings @ pool.embeddings.T) / 2
    np.fill_diagonal(cosine, 0)
    return {
        "alike": lambda seed: pool.from_mask(pool.nearest(pool.cues @ pool.cues.T, each)),
        "embedding-nearest": lambda seed: pool.from_mask(pool.nearest(pool.embeddings @ pool.embeddings.T, each)),
        "tf-idf-nearest": lambda seed: pool.from_mask(pool.nearest(pool.truth.tf_idf, each)),
        "random pairs": lambda seed: pool.from_mask(pool.random_pairs(each, np.random.default_rng(seed))),
        "landmark rows": rows,
        "landmark columns": columns,
        "MLP on embeddings": lambda seed: pool.regressor(pool.random_pairs(each, np.random.default_rng(seed)), seed),
        "embedding FL": lambda seed: order(cosine, pool.count),
        "random subset": lambda seed: np.random.default_rng(seed).permutation(pool.n)[: pool.count],
    }


def report(truth: Truth, seeds: int) -> None:
    """Prints the table of one data set."""
    pool = Pool(truth)
    print(f"\n### {truth.name}: {pool.n} rows, {pool.count} chosen, mean of {seeds} seeds\n")
    print("| method | pairs | f(A)/f(A_exact) | least | overlap | own estimate | its largest error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for share in SHARES:
        found = [pool.ours(share, seed) for seed in range(seeds)]
        errors = [bar.ratio - pool.ratio(chosen) for chosen, bar in found]
        mean = np.mean([bar.ratio for _, bar in found])
        line(pool, "**ours**", share, [chosen for chosen, _ in found], f"{mean:.3f} | {np.abs(errors).max():.3f}")
        for name, select in methods(pool, share).items():
            line(pool, name, share, [select(seed) for seed in range(seeds)], "")


def line(pool: Pool, name: str, share: float, selections: list[np.ndarray], rest: str) -> None:
    """Prints one line of the table."""
    ratios = [pool.ratio(chosen) for chosen in selections]
    overlap = np.mean([len(np.intersect1d(chosen, pool.exact)) / pool.count for chosen in selections])
    print(
        f"| {name} | {share:.0%} | {np.mean(ratios):.3f} | {min(ratios):.3f} | {overlap:.0%} | {rest or ' | '} |",
        flush=True,
    )


def report_asked(truths: list[Truth], seeds: int) -> None:
    """Prints the share of pairs that too small plans ask for, the ratio it reaches, and how often it is enough."""
    print("| set | scored | own estimate | reached | asked for | reached then |")
    print("| --- | --- | --- | --- | --- | --- |")
    reached, beyond, powers = [], [], []
    for truth in truths:
        pool = Pool(truth)
        plans = {share: [pool.ours(share, seed) for seed in range(seeds)] for share in GROWING}
        losses = np.log([1 - np.mean([pool.ratio(chosen) for chosen, _ in made]) for made in plans.values()])
        odds = np.log(np.divide(GROWING, np.subtract(1, GROWING)))
        few = np.asarray(GROWING) <= FEW
        powers.append([np.polyfit(odds[part], losses[part], 1)[0] for part in (few, ~few)])
        needed = np.exp(np.interp(-np.log(1 - ENOUGH), -losses, np.log(GROWING)))
        for share, made in plans.items():
            poor = [(chosen, bar, seed) for seed, (chosen, bar) in enumerate(made) if not bar.enough]
            then = [pool.ratio(pool.ours(bar.share_needed, seed)[0]) for _, bar, seed in poor]
            if poor:
                before = said([pool.ratio(chosen) for chosen, _, _ in poor])
                own, asked = (said([getattr(bar, of) for _, bar, _ in poor]) for of in ("ratio", "share_needed"))
                print(f"| {truth.name} | {share:.1%} | {own} | {before} | {asked} | {said(then)} |", flush=True)
            reached += then
            beyond += [bar.share_needed / needed for _, bar, _ in poor]
    print(f"\n{sum(one >= ENOUGH for one in reached)} of {len(reached)} reach {ENOUGH} then; ", end="")
    print(
        f"asked for {np.median(beyond):.2f} times what is needed at the median, {min(beyond):.2f} to {max(beyond):.2f}"
    )
    for truth, (below, above) in zip(truths, powers, strict=True):
        print(f"{truth.name}: loss ~ odds ** {below:.2f} up to {FEW:.0%} of the pairs, {above:.2f} beyond")


def said(values: list[float]) -> str:
    """The values of all seeds."""
    return " ".join(f"{value:.3f}" for value in values)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--asked", action="store_true", help="only what plans that were too small ask for")
    arguments = parser.parse_args()
    truths = read_truths()
    if arguments.asked:
        report_asked(truths, arguments.seeds)
        return
    for truth in truths:
        report(truth, arguments.seeds)


if __name__ == "__main__":
    main()
