"""Which pairs to score where not all are, and what the others are estimated to be.

Reading order: `features` (what is known before scoring), `pair_choice` (the next pairs), `budgeted` (a run in rounds),
`plan_file` (the chosen pairs on disk), `completion` (the estimates: a Gaussian process), `partial_matrix` (measured and
estimated values together) and `matrix_files` (the result, kept).
"""
