"""Runs with a budget of pairs: the choice of pairs to score, and estimates of the others.

Reading order: `run_plan` (what a run plans with, and the chosen pairs on disk), `pair_choice` (the next pairs),
`completion` (the estimates: a Gaussian process), `budgeted` (a run in rounds), `partial_matrix` (measured and estimated
values) and `matrix_files` (the resulting utilities on disk).
"""
