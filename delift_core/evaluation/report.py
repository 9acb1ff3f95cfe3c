"""The report of an evaluation: as values, as text tables and as JSON."""

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from delift_core.evaluation.arms import NO_DIFFERENCE, TOO_FEW_ROWS, Estimate
from delift_core.evaluation.evaluation_request import UNTOUCHED, FineTuning
from delift_core.selection.methods import METHODS
from delift_core.system.texts import duration

if TYPE_CHECKING:
    import pandas

_HEADINGS = (
    "arm",
    "rows",
    "runs",
    "steps",
    "loss",
    "95% interval",
    "perplexity",
    "accuracy",
    "subset minus arm",
    "95% interval",
    "the subset has",
    "seconds",
)
_TEXT_COLUMNS = {"arm", "the subset has"}
_LISTED = 5  # rows that the text names; the JSON names all

SCORES = ("ROUGE-1", "ROUGE-L", "BLEU", "exact", "numeric", "embedding")  # of an answer, see `measures`


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """A score of an arm's answers: the mean over rows, and the subset's mean minus it (paired)."""

    name: str
    value: Estimate
    gap: Estimate | None


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The results of one arm on the held-out rows.

    Attributes:
        rows: number of training rows; 0 for the untouched model.
        tokens: response tokens in the rows of the first run.
        steps: optimiser steps of each run.
        runs: loss per token of each run, in nats.
        loss: their mean, with its interval.
        accuracy: share of the response tokens that the model predicts, with its interval.
        gap: loss of the subset minus loss of this arm, paired by row; None for the subset itself.
        verdict: `gap` as text; "" for the subset itself.
        seconds: of all runs, measuring included; nearly 0 if the results were cached.
        ordering_seconds: time that a method took to order the pool.
        positions: of the rows of the first run, in the pool.
        answers: scores of the arm's answers, if requested.
    """

    name: str
    rows: int
    tokens: int
    steps: int
    runs: tuple[float, ...]
    loss: Estimate
    accuracy: Estimate
    gap: Estimate | None
    verdict: str
    seconds: float
    ordering_seconds: float = 0.0
    positions: tuple[int, ...] = ()
    answers: tuple[AnswerScore, ...] = ()

    @property
    def perplexity(self) -> float:
        """exp(loss per token)."""
        return math.exp(min(self.loss.value, 700.0))  # exp overflows above 709


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """A row that is left out, and the reason."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, row {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The results of an evaluation; losses are in nats per response token.

    Attributes:
        pool_rows: rows of the pool that can be trained on.
        subset_rows: rows of the subset among them.
        heldout_rows: rows that the losses are measured on.
        heldout_tokens: their response tokens.
        lora: whether LoRA layers were trained instead of all weights.
        arms: the untouched model, the subset, and the other arms.
        in_context: the arms without training, with `examples` nearest rows of each arm as examples.
        left_out: held-out and pool rows that were left out.
        same_prompt: measured held-out rows whose prompt is also in the pool.
    """

    model: str
    revision: str
    device: str
    template: str
    tuning: FineTuning
    lora: bool
    seeds: tuple[int, ...]
    pool_rows: int
    subset_rows: int
    heldout_rows: int
    heldout_tokens: int
    arms: tuple[ArmResult, ...]
    in_context: tuple[ArmResult, ...]
    examples: int
    left_out: tuple[LeftOutRow, ...]
    same_prompt: tuple[LeftOutRow, ...]
    seconds: float

    def arm(self, name: str) -> ArmResult | None:
        """The result of an arm; None if there is no such arm."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def conclusion(self) -> str:
        """The result in one sentence."""
        start = (
            f"Fine-tuned on the subset ({self.subset_rows:,} of {self.pool_rows:,} rows) and measured on "
            f"{self.heldout_rows:,} held-out rows"
        )
        compared = [arm for arm in self.arms if arm.gap is not None]
        if any(arm.verdict == TOO_FEW_ROWS for arm in compared):
            return f"{start}: {TOO_FEW_ROWS}."
        parts = [f"against {self.against(arm)}, {_with_unit(arm.verdict)}" for arm in compared]
        return f"{start}: {'; '.join(parts)}."

    def against(self, arm: ArmResult) -> str:
        """The description of an arm in a sentence."""
        words = {
            UNTOUCHED: "the untouched model",
            "random": f"random subsets of {self.subset_rows:,} rows",
            "random-tokens": "random subsets of as many response tokens",
            "full": f"all {self.pool_rows:,} rows",
        }
        titles = {name: f"{arm.rows:,} rows by {entry.title}" for name, entry in METHODS.items()}
        return words.get(arm.name) or titles.get(arm.name) or arm.name

    def lines(self) -> tuple[str, ...]:
        """Aligned text tables, the rows left out, and the conclusion."""
        tuning = self.tuning
        recipe = (
            f"Loss in nats per response token. {self.model} on {self.device}, template {self.template}, "
            f"{'LoRA layers' if self.lora else 'all weights'}, {tuning.epochs} epochs, learning rate "
            f"{tuning.learning_rate:g}, {tuning.rows_per_step} rows a step, {duration(self.seconds)}."
        )
        tables = [*_table(self.arms)]
        if self.in_context:
            tables += ["", f"Without training, the {self.examples:,} nearest rows of each as examples:"]
            tables += _table(self.in_context)
        if any(arm.answers for arm in self.arms):
            tables += ["", "Answers, mean over the rows answered:", *_answer_lines(self.arms)]
        notes = [*_listed("Left out", self.left_out), *_listed("Note", self.same_prompt)]
        return (*tables, "", recipe, *notes, self.conclusion())

    def table(self) -> "pandas.DataFrame":
        """A row for each arm: its size, its loss with its interval, and the subset's loss minus it."""
        import pandas

        rows = [
            {
                "arm": arm.name,
                "rows": arm.rows,
                "runs": len(arm.runs),
                **_numbers("loss", arm.loss),
                "perplexity": arm.perplexity,
                "accuracy": arm.accuracy.value,
                **_numbers("gap", arm.gap),
                "verdict": arm.verdict,
                "seconds": arm.seconds,
            }
            for arm in self.arms
        ]
        return pandas.DataFrame(rows).set_index("arm")

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return f"{self.table().to_html(float_format='{:.4g}'.format)}<p>{html.escape(self.conclusion())}</p>"

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        result: dict[str, Any] = asdict(self)
        for name in ("arms", "in_context"):
            result[name] = [asdict(arm) | {"perplexity": arm.perplexity} for arm in getattr(self, name)]
        result["conclusion"] = self.conclusion()
        return result


def _numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate as three columns."""
    ends = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _with_unit(verdict: str) -> str:
    return verdict if verdict == NO_DIFFERENCE else f"{verdict} nats per token"


def _table(arms: Sequence[ArmResult]) -> list[str]:
    return _aligned([_HEADINGS, *(_cells(arm) for arm in arms)], _TEXT_COLUMNS)


def _answer_lines(arms: Sequence[ArmResult]) -> list[str]:
    answered = [arm for arm in arms if arm.answers]
    names = tuple(score.name for score in answered[0].answers)
    cells = [(arm.name, *(f"{score.value.value:.3f}" for score in arm.answers)) for arm in answered]
    return _aligned([("arm", *names), *cells], {"arm"})


def _aligned(table: Sequence[tuple[str, ...]], text_columns: set[str]) -> list[str]:
    headings = table[0]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    return [
        "  ".join(
            cell.ljust(width) if heading in text_columns else cell.rjust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ).rstrip()
        for row in table
    ]


def _listed(word: str, rows: Sequence[LeftOutRow]) -> list[str]:
    listed = [f"{word}: {row}" for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        listed.append(f"{word}: {len(rows) - _LISTED:,} more rows (all are in the JSON report)")
    return listed


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
        f"{arm.accuracy.value:.1%}",
        *gap,
        arm.verdict,
        f"{arm.seconds:,.1f}",
    )
