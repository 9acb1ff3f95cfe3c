"""Would a selection from some of the pairs gain from the estimates of unscored pairs?

    python -m benchmarks.with_estimates

As benchmarks.retention: f(A) / f(A_exact) of plans of the app, A the greedy FL selection of 30 % of the rows, f on the
exact kernel. A is chosen from the measured pairs alone, or from them and estimates of all others:

    mean         the posterior mean of `utility.completion`, where it is above 0
    ten a row    the same, of each row's ten largest
    half         half of it
    expected     E max(U, 0), U normal about the mean with the spread of the residuals of tested pairs
    less 1/2 sd  the mean less half of that spread; less 1 sd: less all of it
"""

import argparse

import numpy as np
from scipy.stats import norm

from benchmarks.retention import Pool, order, read_truths
from delift_core.scoring.estimation.partial_matrix import PartialMatrix

SHARES = (0.05, 0.10, 0.15, 0.25, 0.35)
TEN = 10


def estimates(matrix: PartialMatrix) -> dict[str, np.ndarray]:
    """(n, n) estimates in each form, by name; negative values count as 0."""
    mean = matrix.completion.mean().block(slice(None)).astype(np.float64)
    deviation = matrix.completion.row_scale[:, None] * matrix.held_out_errors.errors.std()
    unknown = np.where(matrix.measured().toarray() == 0, mean, -np.inf)
    tenth = -np.sort(-unknown, axis=1)[:, TEN - 1 : TEN]
    at = mean / deviation
    return {
        "mean": mean,
        "ten a row": np.where(unknown >= tenth, mean, 0),
        "half": mean / 2,
        "expected": mean * norm.cdf(at) + deviation * norm.pdf(at),
        "less 1/2 sd": mean - deviation / 2,
        "less 1 sd": mean - deviation,
    }


def changes(pool: Pool, share: float, seeds: int) -> tuple[float, dict[str, list[float]]]:
    """The mean ratio from scored pairs alone, and the change by each form, for each seed."""
    alone, found = [], dict[str, list[float]]()
    for seed in range(seeds):
        matrix = pool.planned(share, seed)
        measured = matrix.measured().tocoo()
        known = np.eye(pool.n, dtype=bool)
        known[measured.row, measured.col] = True
        kernel = np.zeros((pool.n, pool.n))
        kernel[measured.row, measured.col] = np.maximum(measured.data, 0)
        alone.append(pool.ratio(order(kernel, pool.count)))
        for name, estimate in estimates(matrix).items():
            both = np.where(known, kernel, np.maximum(estimate, 0))
            found.setdefault(name, []).append(pool.ratio(order(both, pool.count)) - alone[-1])
    return float(np.mean(alone)), found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    names: list[str] = []
    for truth in read_truths():
        pool = Pool(truth)
        for share in SHARES:
            alone, found = changes(pool, share, arguments.seeds)
            if not names:
                names = list(found)
                print(f"| set | pairs | measured alone | {' | '.join(names)} |\n{'| --- ' * (3 + len(names))}|")
            cells = [f"{np.mean(found[name]):+.3f} ({min(found[name]):+.3f})" for name in names]
            print(f"| {truth.name} | {share:.0%} | {alone:.4f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
