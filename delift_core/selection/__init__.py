"""Selection: from measured utilities and a budget to an ordered, certified and explained choice of samples.

Reading order: `types`, `request` (what to select, its parts as text, and presets); `kernels` (dense and sparse),
`coverage` (values and gains), `diagnose` (are the utilities fit for a selection), `objectives` (utilities to a
represented kernel); `greedy` (kernel to order, also around kept and dropped rows) by the engines of `pickers`, compiled
in `greedy_loops` and `loops`; `methods` (other ways to order a pool), computed in `orders`; `budget` (order to subset)
and `quotas`; `assessment` (how good the subset is); `select` (all of these); `explain` with `alternatives` and
`explain_text`. This package knows nothing of files or pages, and loads no model.
"""
