"""Export: from a selection to a file for the trainer, with a manifest beside it.

Reading order: `conversion` (one record in another format), `writers` and `containers` (samples to a file), `preflight`
(checks before), `subset_files` (a selection to file and manifest), `shapes`, `trainer_rules` and `trainers` (what
trainers make of the file), `recipes` and `card` (files beside it), `verify`, `replication` and `publish` (after).
"""
