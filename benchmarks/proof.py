"""Does the subset train better than others of its size, and at what cost? One table per pool.

    python -m benchmarks.proof WORKSPACE POOL --heldout FILE [--rows 60] [--target F | --existing F] [--methods a,b]
        [--epochs 3] [--rate 5e-5] [--seeds 3] [--examples K] [--out FOLDER]

WORKSPACE holds a scored run (`python -m delift_core score POOL [--target F] [--existing F] --workspace WORKSPACE`),
POOL the rows it scored; the first ROWS of them are taken. A target makes it FLMI, existing rows FLCG, else it is
Facility Location. DELIFT chooses 30 % by several metrics, self-coverages and scalings; every published method orders
the same rows; all are fine-tuned by one recipe and measured on the same held-out rows, paired by row. Runs are kept
under FOLDER, so a benchmark that is stopped goes on where it was.

Seconds are measured. FLOPs are counted for ordering the pool: 2 per weight and token of a forward pass, 6 of a forward
and backward pass, embeddings and attention left out.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from delift_core.baselines import LessSettings
from delift_core.data.loading import load_file
from delift_core.evaluation.cost import ResultCache
from delift_core.evaluation.evaluate import evaluate
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning
from delift_core.evaluation.report import EvaluationReport
from delift_core.models.loading import load_model
from delift_core.models.model_files import BUNDLED
from delift_core.samples import Sample
from delift_core.scoring.metrics import LOG_PROBABILITY, Metric
from delift_core.scoring.store import PairStore
from delift_core.selection.greedy import greedy_order
from delift_core.selection.methods import METHODS
from delift_core.selection.objectives import represented_kernel
from delift_core.selection.orders import by_score, column_means
from delift_core.selection.types import ObjectiveConfig, Scaling, Stage, TargetHelp

BUDGET = 0.3


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of DELIFT.

    Attributes:
        help, hard, learnable: weights of terms that add up over the chosen rows, beside coverage: how much a row helps
            the others on average (less the least of the pool), its own loss per token without an example, and how much
            the others help it on average (after existing rows: beyond them). At weight 1 a term of 30 % of the pool is
            on average worth as much as the objective of the whole pool.
        target_help: how a target counts.
    """

    name: str
    metric: Metric
    self_coverage: float = 0.0
    scaling: Scaling = "clamp"
    help: float = 0.0
    hard: float = 0.0
    learnable: float = 0.0
    target_help: TargetHelp = "bonus"


PRESETS = (
    Preset("our own", "euclidean", target_help="coverage"),  # the app's, with which the others are compared
    Preset("published", "euclidean", 1.0, "min-max"),
    Preset("Euclidean, self 1", "euclidean", 1.0),
    Preset("PMI per token", "pmi-per-token"),
    Preset("PMI per token, self 1", "pmi-per-token", 1.0),
    Preset("PMI", "pmi"),
    Preset("PMI, self 1", "pmi", 1.0),
    Preset("Euclidean, help", "euclidean", help=1.0),
    Preset("Euclidean, hard", "euclidean", hard=1.0),
    Preset("Euclidean, help, hard", "euclidean", help=1.0, hard=1.0),
    Preset("PMI, help", "pmi", help=1.0),
    Preset("Euclidean, learnable", "euclidean", learnable=1.0),
    Preset("PMI, learnable", "pmi", learnable=1.0),
)


@dataclass(frozen=True, slots=True)
class Scored:
    """Utilities of one pool: row i is helped, column j helps; the diagonal is of each row for itself."""

    rows: tuple[Sample, ...]
    store: PairStore
    target: tuple[Sample, ...] = ()
    existing: tuple[Sample, ...] = ()

    @property
    def stage(self) -> Stage:
        """The stage that the given sets imply."""
        return "task" if self.target else "continual" if self.existing else "instruction"

    def utilities(self, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
        """(n, n) with NaN on the diagonal, and the (n,) diagonal."""
        hashes = [row.content_hash for row in self.rows]
        matrix = self.store.utility_matrix(hashes, hashes, metric)
        if np.isnan(matrix).any():
            raise SystemExit(f"{int(np.isnan(matrix).sum()):,} pairs of these rows are not scored; score them first")
        diagonal = matrix.diagonal().copy()
        np.fill_diagonal(matrix, np.nan)
        return matrix, diagonal

    def order(self, preset: Preset) -> np.ndarray:
        """The greedy order by the stage's objective."""
        metric = preset.metric
        matrix, diagonal = self.utilities(metric)
        hashes, sets = [row.content_hash for row in self.rows], {}
        if self.target:
            sets["target"] = self.store.utility_matrix([row.content_hash for row in self.target], hashes, metric)
        elif self.existing:
            sets["existing"] = self.store.utility_matrix(hashes, [row.content_hash for row in self.existing], metric)
        config = ObjectiveConfig(
            self.stage,
            self_coverage=preset.self_coverage,
            scaling=preset.scaling,
            target_help=preset.target_help,
        )
        kernel = represented_kernel(config, matrix, diagonal=diagonal, **sets)
        whole, parts = float(kernel.max(axis=1).sum()), [kernel]
        if (worth := self.worth(preset, matrix, kernel)).any():  # a represented row that one column alone covers
            parts.append(np.diag(worth * whole))
        return greedy_order(np.vstack(parts).astype(np.float32)).order

    def worth(self, preset: Preset, matrix: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """(n,) weight of each row besides coverage, in units of the coverage of the whole pool."""
        alone = self.store.zero_shot([row.content_hash for row in self.rows])
        helping, helped = np.nanmean(matrix, axis=0), kernel[: len(self.rows)].sum(axis=1, dtype=np.float64)
        hard = -alone.statistics[:, LOG_PROBABILITY] / alone.tokens
        terms = ((preset.help, helping - helping.min()), (preset.hard, hard), (preset.learnable, helped))
        return sum(weight * term / max(term.sum() * BUDGET, 1e-12) for weight, term in terms)


def open_scored(workspace: Path, rows: tuple[Sample, ...], **sets: tuple[Sample, ...]) -> Scored:
    """The newest scoring context of a workspace, for these rows and sets ("target", "existing")."""
    contexts = sorted(workspace.glob("utility/*/context.json"), key=lambda path: path.stat().st_mtime)
    if not contexts:
        raise SystemExit(f"{workspace} holds no scored pairs")
    return Scored(rows, PairStore(contexts[-1].parent), **sets)


FOR_A_TARGET = (
    Preset("Euclidean, target as a bonus", "euclidean"),
    Preset("PMI, target covered", "pmi", target_help="coverage"),
)


def others(scored: Scored, k: int) -> tuple[ExtraArm, ...]:
    """The further presets of DELIFT, and the mean utility, each cut to k rows."""
    presets = (*PRESETS[1:], *(FOR_A_TARGET if scored.target else ()))
    found = [ExtraArm(f"DELIFT, {preset.name}", tuple(scored.order(preset)[:k].tolist())) for preset in presets]
    mean = by_score(column_means(scored.utilities("euclidean")[0]))
    return (*found, ExtraArm("column-mean", tuple(mean[:k].tolist())))


def flops(name: str, scored: Scored, weights: int) -> float:
    """Floating-point operations of ordering the pool; 0 for methods that use no model."""
    alone = scored.store.zero_shot([row.content_hash for row in scored.rows])
    n, tokens = len(scored.rows), float((alone.prompt_tokens + alone.tokens).sum())
    passes = {"ifd": tokens + float(alone.tokens.sum()), "selectit": 5 * (tokens + 60 * n)}
    if name in ("random", "random-tokens", "full", "untouched", "longest"):
        return 0.0
    if name in ("subset", "column-mean") or name.startswith("DELIFT"):
        helped = tokens * (1 + len(scored.target) / n)  # each row, and each target row, after each example
        return 2 * weights * (n + len(scored.existing)) * helped + 2 * weights * tokens
    if name == "less":
        less = LessSettings()
        return 6 * weights * less.epochs * tokens * (1 + (len(scored.target) or min(n, less.targets)) / n)
    return 2 * weights * passes.get(name, tokens)


def table(report: EvaluationReport, scored: Scored, weights: int) -> list[str]:
    """The Markdown table: a line for each arm, best loss first."""
    lines = [
        "| arm | rows | tokens | loss | perplexity | accuracy | subset minus arm | verdict | order, s | TFLOP |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in sorted(report.arms, key=lambda arm: arm.loss.value):
        gap = f"{arm.gap.value:+.4f} ({arm.gap.low:+.4f} to {arm.gap.high:+.4f})" if arm.gap else ""
        name = f"**DELIFT, {PRESETS[0].name}**" if arm.name == "subset" else arm.name
        loss = f"{arm.loss.value:.4f} ({arm.loss.low:.4f} to {arm.loss.high:.4f})"
        cells = (name, arm.rows, arm.tokens, loss, f"{arm.perplexity:.2f}", f"{arm.accuracy.value:.1%}", gap)
        price = (arm.verdict, f"{arm.ordering_seconds:.0f}", f"{flops(arm.name, scored, weights) / 1e12:.1f}")
        lines.append("| " + " | ".join(str(cell) for cell in (*cells, *price)) + " |")
    return lines


def batch_tokens() -> int:
    """Most tokens of a pass, without effect on the result: a GPU takes all rows of a step at once."""
    return 8192 if torch.cuda.is_available() else FineTuning().batch_tokens


def main() -> None:
    """Prints the table; the whole report goes to FOLDER/report.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--heldout", type=Path, required=True)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--existing", type=Path)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--heldout-rows", type=int, default=60)
    parser.add_argument(
        "--methods", default="random,random-tokens,full," + ",".join(m for m in METHODS if m != "random")
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method-runs", type=int, default=1)
    parser.add_argument("--examples", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(".proof"))
    asked = parser.parse_args()
    rows = load_file(asked.pool).samples[: asked.rows]
    known = {row.content_hash for row in rows}
    heldout = [row for row in load_file(asked.heldout).samples if row.content_hash not in known][: asked.heldout_rows]
    sets = {name: load_file(getattr(asked, name)).samples for name in ("target", "existing") if getattr(asked, name)}
    scored = open_scored(asked.workspace, rows, **sets)
    k = round(BUDGET * len(rows))
    request = EvaluationRequest(
        pool=rows,
        subset_positions=tuple(scored.order(PRESETS[0])[:k].tolist()),
        heldout=tuple(heldout),
        target=scored.target,
        model=asked.model,
        against=tuple(name for name in asked.methods.split(",") if name and name != "column-mean"),
        others=others(scored, k),
        seeds=asked.seeds,
        method_runs=asked.method_runs,
        examples=asked.examples,
        tuning=FineTuning(epochs=asked.epochs, learning_rate=asked.rate, batch_tokens=batch_tokens()),
    )
    report = evaluate(
        request, publish=lambda line: print(f"# {line}", flush=True), cache=ResultCache(asked.out / "runs")
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "report.json").write_text(json.dumps(report.as_json(), indent=1))
    print(f"Machine: {machine()}\n\n{report.heldout_rows} held-out rows, {report.pool_rows} pool rows, {k} kept.\n")
    loaded = load_model(asked.model, device="cpu", dtype="float32")
    weights = loaded.identity.parameters - loaded.model.get_input_embeddings().weight.numel()
    print("\n".join(table(report, scored, weights)))
    if report.in_context:
        print(f"\nWithout training, the {report.examples} nearest rows as examples:\n")
        print(
            "\n".join(
                f"- {arm.name}: {arm.loss.value:.4f} ({arm.verdict or 'the subset itself'})"
                for arm in report.in_context
            )
        )


if __name__ == "__main__":
    main()
