"""Evaluation: is the subset worth more than its size? Measured by fine-tuning, on held-out rows.

Reading order: `request` (what to evaluate), `finetune` (weights for the length of a block), `heldout` (loss of a row),
`statistics` (means, intervals, verdicts), `evaluate` (all arms), `report` (table and JSON), `from_manifest` (the same
for an exported subset; import `evaluate_manifest` from there). This package knows nothing of pages or commands.
"""

from delift_core.evaluation.evaluate import evaluate
from delift_core.evaluation.report import ArmResult, EvaluationReport
from delift_core.evaluation.request import BASELINES, EvaluationRequest, EvaluationStopped, FineTuning

__all__ = [
    "BASELINES",
    "ArmResult",
    "EvaluationReport",
    "EvaluationRequest",
    "EvaluationStopped",
    "FineTuning",
    "evaluate",
]
