"""Evaluation: does fine-tuning on the subset help more than its size alone would? Measured on held-out rows.

Reading order: `evaluation_request` (what to evaluate), `arms` (the rows of each run, and statistics of their losses),
`training` (fine-tuning for the length of a block), `measures` (losses, examples in context, answers), `fine_tuner` (one
loaded model for all runs), `evaluate` (all arms), `report` (tables and JSON), `cost` (the forecast, and results on
disk), `subset_evaluation` (of a stored or an exported subset), `background` (in a worker), `method_orders` (orders that
need a model).
"""
