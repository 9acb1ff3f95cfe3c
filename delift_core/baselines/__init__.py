"""Baselines: other published methods of data selection, to compare the utility matrix with.

Reading order: `settings`, `scores` and `orders` (pure functions, one per method), `measure` (forward passes), `less`
(gradients), `ordering` (from a method to its order of a pool). A method orders the whole pool, so any budget is a
prefix of its order.
"""
