"""Evaluation: is the subset worth more than its size? Measured by fine-tuning, on held-out rows.

Reading order: `request` (what to evaluate), `arms` (which rows each run takes), `finetune` (weights for the length of a
block), `heldout`, `incontext` and `answers` (what is measured), `bench` (one model for all of it), `statistics` (means,
intervals, verdicts), `evaluate` (all arms), `report` (tables and JSON), `from_manifest` (the same for an exported
subset; import `evaluate_manifest` from there). This package knows nothing of pages or commands.
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
