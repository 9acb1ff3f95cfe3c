"""Runs with a budget of pairs: the choice of pairs to score, and estimates of the others.

Reading order: `features` (of samples, before any pair is scored), `pair_choice` (the next pairs), `completion` (the
estimates: a Gaussian process), `budgeted` (a run in rounds), `plan_file` (chosen pairs on disk), `partial_matrix`
(measured and estimated values) and `matrix_files` (the resulting utilities on disk).
"""
