"""Which properties of the rows correlate with a low loss after fine-tuning, over the arms of one proof.

    python -m benchmarks.predicts WORKSPACE POOL REPORT [--target F | --existing F]

REPORT is the report.json that benchmarks.proof wrote for the same WORKSPACE and POOL. Arms of as many rows as the
subset are compared (the first run of each): Spearman's correlation of the held-out loss with numbers of the rows. Arms
are no random sample of subsets, so this says what went together here and not what causes what.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.proof import Scored, open_scored
from delift_core.data.loading import load_file
from delift_core.scoring.metrics import LOG_PROBABILITY, Metric
from delift_core.selection.coverage import value
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.types import ObjectiveConfig

METRICS: tuple[Metric, ...] = ("euclidean", "pmi-per-token", "pmi")


def numbers(scored: Scored, rows: np.ndarray) -> dict[str, float]:
    """Properties of some rows, by name."""
    hashes = [row.content_hash for row in scored.rows]
    alone = scored.store.zero_shot(hashes)
    loss = -alone.statistics[:, LOG_PROBABILITY] / alone.tokens
    found = {"response tokens": float(alone.tokens[rows].sum()), "own loss per token": float(loss[rows].mean())}
    for metric in METRICS:
        matrix, _ = scored.utilities(metric)
        found[f"help to others, mean, {metric}"] = float(np.nanmean(matrix[:, rows]))
        sets = {}
        if scored.existing:
            beside = [row.content_hash for row in scored.existing]
            sets["existing"] = scored.store.utility_matrix(hashes, beside, metric)
        stage = "continual" if scored.existing else "instruction"
        found[f"coverage, {metric}"] = value(represented_kernel(ObjectiveConfig(stage), matrix, **sets), rows)
        if scored.target:
            aims = [row.content_hash for row in scored.target]
            target = np.maximum(scored.store.utility_matrix(aims, hashes, metric), 0)
            found[f"target: coverage, {metric}"] = value(target, rows)
            found[f"target: best row of each, {metric}"] = float(target.max(axis=0)[rows].sum())
    return found


def main() -> None:
    """Prints a line for each property, sorted by its correlation with a low loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--existing", type=Path)
    asked = parser.parse_args()
    report = json.loads(asked.report.read_text(encoding="utf-8"))
    sets = {name: load_file(getattr(asked, name)).samples for name in ("target", "existing") if getattr(asked, name)}
    rows = load_file(asked.pool).samples[: report["pool_rows"]]
    scored = open_scored(asked.workspace, rows, **sets)
    arms = [arm for arm in report["arms"] if arm["rows"] == report["subset_rows"]]
    found = [numbers(scored, np.array(arm["positions"])) for arm in arms]
    losses = [arm["loss"]["value"] for arm in arms]
    print(f"{len(arms)} arms of {report['subset_rows']} rows\n\n| number | Spearman with the loss |\n| --- | --- |")
    ranked = {name: spearmanr([one[name] for one in found], losses).statistic for name in found[0]}
    for name, correlation in sorted(ranked.items(), key=lambda pair: pair[1]):
        print(f"| {name} | {correlation:+.2f} |")


if __name__ == "__main__":
    main()
