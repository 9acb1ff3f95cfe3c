"""Do chosen rows help rows that were not in the pool? From a scored run alone, in seconds and without training.

    python -m benchmarks.one_shot WORKSPACE POOL [--rows 100] [--splits 200]

WORKSPACE holds a scored run of POOL. In each split, 70 % of the rows are the pool and 30 % are held out; every method
chooses 30 % of the pool by the pool's own numbers, and held-out rows are read with one chosen row as their example.
All pairs are scored already, so the loss of each is looked up. How the example is picked: the nearest by embedding (as
a user would; the row's own answer is part of its embedding, for every method alike), the mean over all chosen rows,
and the best of them (what coverage promises). Numbers are nats per response token less than without an example, the
mean over splits, minus what random rows reach in the same split, with its 95 % interval over splits. Splits share
rows, so these intervals are narrower than those of new data would be.

A second table says how the settings differ: Jaccard overlap of the selections, and what U looks like.
"""

import argparse
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.stats import spearmanr

from benchmarks.machine import machine
from benchmarks.proof import open_scored
from delift_core.data.loading import load_file
from delift_core.samples import Sample
from delift_core.scoring.metrics import LOG_PROBABILITY
from delift_core.scoring.store import ZeroShot
from delift_core.selection.greedy import greedy_order
from delift_core.selection.methods import METHODS
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.orders import by_score, unit
from delift_core.selection.types import ObjectiveConfig

POOL_SHARE, BUDGET, DRAWS = 0.7, 0.3, 20
SETTINGS = tuple(
    (f"{name}, {scaling}" + (f", self {own:g}" if own else ""), metric, own, scaling)
    for name, metric in (("Euclidean", "euclidean"), ("PMI/token", "pmi-per-token"), ("PMI", "pmi"))
    for scaling, own in (("min-max", 0.0), ("clamp", 0.0), ("clamp", 0.3), ("clamp", 1.0))
)


@dataclass(frozen=True, slots=True)
class Truth:
    """The data of n rows: (n, n) utilities by metric, with their diagonals, and what the run stores of each row."""

    utilities: dict[str, np.ndarray]
    samples: tuple[Sample, ...]
    alone: ZeroShot

    @property
    def losses(self) -> np.ndarray:
        """(n,) nats per response token."""
        return -self.alone.statistics[:, LOG_PROBABILITY].astype(np.float64) / self.alone.tokens

    @property
    def near(self) -> np.ndarray:
        """(n, n) cosine of embeddings."""
        points = unit(self.alone.embeddings)
        return points @ points.T


def read(workspace: Path, pool: Path, rows: int) -> Truth:
    """Reads the stored scores."""
    scored = open_scored(workspace, load_file(pool).samples[:rows])
    hashes = [row.content_hash for row in scored.rows]
    alone = scored.store.zero_shot(hashes)
    matrices = {}
    for metric in ("euclidean", "pmi-per-token", "pmi"):
        matrix, diagonal = scored.utilities(metric)
        np.fill_diagonal(matrix, diagonal)
        matrices[metric] = matrix.astype(np.float64)
    return Truth(matrices, scored.rows, alone)


def greedy(matrix: np.ndarray, own: float, scaling: str) -> np.ndarray:
    """The greedy order of Facility Location; "min-max" is the published code: scaled to [0, 1], with the diagonal."""
    if scaling == "min-max":
        return greedy_order(((matrix - matrix.min()) / (matrix.max() - matrix.min())).astype(np.float32)).order
    pool = matrix.astype(np.float32)
    diagonal = pool.diagonal().copy()
    np.fill_diagonal(pool, np.nan)
    return greedy_order(
        represented_kernel(ObjectiveConfig("instruction", self_coverage=own), pool, diagonal=diagonal)
    ).order


def orders(truth: Truth, pool: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The order of the pool by every method, as positions in the pool."""
    part = {metric: matrix[np.ix_(pool, pool)] for metric, matrix in truth.utilities.items()}
    found = {f"DELIFT, {name}": greedy(part[metric], own, scaling) for name, metric, own, scaling in SETTINGS}
    whole = truth.alone
    off = part["euclidean"].copy()
    np.fill_diagonal(off, np.nan)
    stored = SimpleNamespace(
        samples=[truth.samples[at] for at in pool],
        target=(),
        tokens=whole.tokens[pool],
        losses=truth.losses[pool],
        embeddings=whole.embeddings[pool],
        target_embeddings=None,
        utilities=off,
    )
    for method, entry in METHODS.items():
        if not entry.asks_model and method != "random":
            found[entry.title] = entry.order(stored, seed)
    return found


def gained(truth: Truth, pool: np.ndarray, heldout: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(3,) nats per token that one example saves on the held-out rows: the nearest, the mean, the best."""
    columns = pool[chosen]
    saved = truth.utilities["pmi"][np.ix_(heldout, columns)]
    nearest = truth.near[np.ix_(heldout, columns)].argmax(axis=1)
    sums = saved[np.arange(len(heldout)), nearest].sum(), saved.mean(axis=1).sum(), saved.max(axis=1).sum()
    return np.array(sums) / truth.alone.tokens[heldout].sum()


def compare(truth: Truth, splits: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(splits, 3) of every method minus random, and of random itself."""
    n = len(truth.samples)
    differences: dict[str, list[np.ndarray]] = {}
    luck = []
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        mixed = rng.permutation(n)
        pool, heldout = mixed[: round(POOL_SHARE * n)], mixed[round(POOL_SHARE * n) :]
        k = round(BUDGET * len(pool))
        draws = [gained(truth, pool, heldout, rng.permutation(len(pool))[:k]) for _ in range(DRAWS)]
        luck.append(np.mean(draws, axis=0))
        for name, order in orders(truth, pool, seed).items():
            differences.setdefault(name, []).append(gained(truth, pool, heldout, order[:k]) - luck[-1])
    return {name: np.array(values) for name, values in differences.items()}, np.array(luck)


def shape_lines(truth: Truth) -> list[str]:
    """Describes U: the assumptions of the theorem in figures."""
    off = ~np.eye(len(truth.samples), dtype=bool)
    euclidean, pmi = truth.utilities["euclidean"], truth.utilities["pmi-per-token"]
    centred = euclidean - euclidean[off].mean()
    symmetric = np.linalg.norm((centred - centred.T)[off]) / (2 * np.linalg.norm(centred[off]))
    rows = np.array([euclidean[i][off[i]].mean() for i in range(len(off))])
    columns = np.array([euclidean[:, j][off[:, j]].mean() for j in range(len(off))])
    agree = spearmanr(euclidean[off], pmi[off]).statistic
    alone = spearmanr(pmi.diagonal(), truth.losses).statistic
    return [
        f"- entries below 0: {np.mean(euclidean[off] < 0):.0%} (Euclidean), {np.mean(pmi[off] < 0):.0%} (PMI)",
        f"- Spearman of Euclidean U with PMI per token, off the diagonal: {agree:.3f}",
        f"- asymmetry ||U - U'|| / 2||U||, centred: {symmetric:.2f} (0 symmetric, 0.71 unrelated)",
        f"- share of the variance that is row means: {rows.var() / euclidean[off].var():.0%}, column means: "
        f"{columns.var() / euclidean[off].var():.0%}",
        f"- Spearman of the PMI diagonal with the row's own loss per token: {alone:.3f}",
    ]


def overlap_lines(truth: Truth) -> list[str]:
    """Jaccard overlap of the settings' selections from all rows."""
    k = round(BUDGET * len(truth.samples))
    chosen = {name: set(greedy(truth.utilities[metric], own, scaling)[:k]) for name, metric, own, scaling in SETTINGS}
    chosen |= {"highest loss": set(by_score(truth.losses)[:k].tolist())}
    pairs = [(a, b, len(chosen[a] & chosen[b]) / len(chosen[a] | chosen[b])) for a, b in combinations(chosen, 2)]
    return [f"| {a} | {b} | {share:.2f} |" for a, b, share in sorted(pairs, key=lambda pair: -pair[2])]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--splits", type=int, default=200)
    asked = parser.parse_args()
    truth = read(asked.workspace, asked.pool, asked.rows)
    differences, luck = compare(truth, asked.splits)
    means = luck.mean(axis=0)
    print(f"Machine: {machine()}\n\n{len(truth.samples)} rows, {asked.splits} splits.", end=" ")
    saved = f"nearest {means[0]:+.4f}, mean {means[1]:+.4f}, best {means[2]:+.4f}"
    print(f"One random example saves, in nats per token: {saved}. Beyond that:\n")
    print("| method | nearest | mean | best |\n| --- | --- | --- | --- |")
    for name, values in sorted(differences.items(), key=lambda item: -item[1][:, 0].mean()):
        error = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        cells = (f"{mean:+.4f} ± {wide:.4f}" for mean, wide in zip(values.mean(axis=0), error, strict=True))
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n" + "\n".join(shape_lines(truth)))
    print("\n| selection | and | Jaccard |\n| --- | --- | --- |\n" + "\n".join(overlap_lines(truth)))


if __name__ == "__main__":
    main()
