"""What an evaluation found, as values, as a plain table and as JSON. Knows nothing of how the losses came about."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from delift_core.evaluation.request import ArmName, FineTuning
from delift_core.evaluation.statistics import NO_DIFFERENCE, TOO_FEW_ROWS, Estimate

_HEADINGS = (
    "arm",
    "rows",
    "runs",
    "steps",
    "loss",
    "95 % interval",
    "perplexity",
    "subset minus arm",
    "95 % interval",
    "the subset has",
    "seconds",
)
_WORDS = {"arm", "the subset has"}
_LISTED = 5  # rows left out that the table names; the JSON names all


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One way to fine-tune (or not), measured on the held-out rows.

    Attributes:
        rows: rows it was fine-tuned on (0: not at all).
        steps: steps of the optimiser in each run.
        runs: loss per token of each run, in nats.
        loss: their mean, with its interval.
        gap: loss of the subset minus loss of this arm, paired by row (None for the subset itself).
        verdict: `gap` in words ("" for the subset itself).
        seconds: of all its runs, held-out rows included.
    """

    name: ArmName
    rows: int
    steps: int
    runs: tuple[float, ...]
    loss: Estimate
    gap: Estimate | None
    verdict: str
    seconds: float

    @property
    def perplexity(self) -> float:
        """exp(loss per token)."""
        return math.exp(min(self.loss.value, 700.0))  # past that, a float ends


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """A row that takes no part, and why."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Whether the subset is worth more than its size; losses are in nats per response token.

    Attributes:
        model: name, revision and device of the model; template: name of the template.
        pool_rows: rows of the pool that can be trained on.
        subset_rows: rows of the subset among them.
        heldout_rows: rows the losses are measured on.
        heldout_tokens: response tokens in them.
        arms: the untouched model, the subset, then what it was compared with.
        left_out: held-out and pool rows that take no part.
    """

    model: str
    revision: str
    device: str
    template: str
    tuning: FineTuning
    seeds: tuple[int, ...]
    pool_rows: int
    subset_rows: int
    heldout_rows: int
    heldout_tokens: int
    arms: tuple[ArmResult, ...]
    left_out: tuple[LeftOutRow, ...]
    seconds: float

    def arm(self, name: ArmName) -> ArmResult | None:
        """The result of an arm, or None where it was not asked for."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def conclusion(self) -> str:
        """The result in one sentence."""
        against = {
            "untouched": "the untouched model",
            "random": f"random subsets of {self.subset_rows:,} rows",
            "full": f"all {self.pool_rows:,} rows",
            "longest": f"the {self.subset_rows:,} longest responses",
        }
        start = (
            f"Fine-tuned on the subset ({self.subset_rows:,} of {self.pool_rows:,} rows) and measured on "
            f"{self.heldout_rows:,} held-out rows"
        )
        compared = [arm for arm in self.arms if arm.gap is not None]
        if any(arm.verdict == TOO_FEW_ROWS for arm in compared):
            return f"{start}: {TOO_FEW_ROWS}."
        parts = [f"against {against[arm.name]}, {_with_unit(arm.verdict)}" for arm in compared]
        return f"{start}: {'; '.join(parts)}."

    def lines(self) -> tuple[str, ...]:
        """An aligned plain-text table, what was left out, and one sentence at the end."""
        table = [_HEADINGS, *(_cells(arm) for arm in self.arms)]
        widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
        aligned = [
            "  ".join(
                cell.ljust(width) if heading in _WORDS else cell.rjust(width)
                for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
            ).rstrip()
            for row in table
        ]
        tuning = self.tuning
        recipe = (
            f"Loss in nats per response token. {self.model} on {self.device}, template {self.template}, "
            f"{tuning.epochs} epochs, learning rate {tuning.learning_rate:g}, {tuning.rows_per_step} rows a step, "
            f"{self.seconds:,.0f} s."
        )
        left_out = [f"Left out: {row}" for row in self.left_out[:_LISTED]]
        if len(self.left_out) > _LISTED:
            left_out.append(f"Left out: {len(self.left_out) - _LISTED:,} more rows (all are in the JSON report)")
        return (*aligned, "", recipe, *left_out, self.conclusion())

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        result: dict[str, Any] = asdict(self)
        result["arms"] = [asdict(arm) | {"perplexity": arm.perplexity} for arm in self.arms]
        result["conclusion"] = self.conclusion()
        return result


def _with_unit(verdict: str) -> str:
    return verdict if verdict == NO_DIFFERENCE else f"{verdict} nats per token"


def _cells(arm: ArmResult) -> tuple[str, ...]:
    gap = (f"{arm.gap.value:+.4f}", f"{arm.gap.low:+.4f} to {arm.gap.high:+.4f}") if arm.gap else ("", "")
    return (
        arm.name,
        f"{arm.rows:,}" if arm.rows else "-",
        f"{len(arm.runs)}" if arm.rows else "-",
        f"{arm.steps:,}" if arm.rows else "-",
        f"{arm.loss.value:.4f}",
        f"{arm.loss.low:.4f} to {arm.loss.high:.4f}",
        f"{arm.perplexity:,.2f}",
        *gap,
        arm.verdict,
        f"{arm.seconds:,.1f}",
    )
