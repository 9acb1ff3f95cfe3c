"""The check table of an export, as lines and as a document."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from delift_core.export.card import TrainerKit
from delift_core.export.trainers import TrainerCheck
from delift_core.samples import Sample


def kit_lines(kit: TrainerKit, samples: Sequence[Sample], files: Sequence[Path]) -> list[str]:
    """One line for each trainer with the first row at risk, and one for the files written.

    Args:
        samples: the rows of the exported file, in its order.
    """
    lines = [_line(check, samples) for check in kit.table]
    return [*lines, f"recipes and card: {', '.join(path.name for path in files)}"] if files else lines


def kit_documents(kit: TrainerKit, samples: Sequence[Sample]) -> list[dict[str, object]]:
    """The same for JSON, with every row at risk."""
    return [
        {
            "trainer": check.trainer,
            "rows": check.rows,
            "kept": check.kept,
            "note": check.note,
            "risks": [
                {
                    "row": risk.row + 1,
                    "id": samples[risk.row].id,
                    "line": samples[risk.row].line,
                    "effect": risk.effect,
                    "reason": risk.reason,
                }
                for risk in check.risks
            ],
        }
        for check in kit.table
    ]


def _line(check: TrainerCheck, samples: Sequence[Sample]) -> str:
    start = f"{check.trainer} would keep {check.kept:,} of {check.rows:,} rows"
    if not check.risks:
        return f"{start} ({check.note})"
    effects = Counter(risk.effect for risk in check.risks)
    counts = ", ".join(f"{effect}: {count:,}" for effect, count in effects.most_common())
    first = check.risks[0]
    return f"{start}; {counts}; the first is line {samples[first.row].line} of the pool: {first.reason}"
