"""Evaluation: is the subset worth more than its size? Measured by fine-tuning, on held-out rows.

Reading order: `request` (what to evaluate), `arms` (which rows each run takes), `finetune` (weights for the length of a
block), `heldout`, `incontext` and `answers` (what is measured), `tuner` (one model for all of it), `statistics` (means,
intervals, verdicts), `evaluate` (all arms), `report` (tables and JSON), `from_manifest` (the same for an exported
subset). This package knows nothing of pages or commands.
"""
