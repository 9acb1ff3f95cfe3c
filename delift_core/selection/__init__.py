"""Selection: from measured utilities and a budget to an ordered, certified and explained choice of samples.

Reading order: `types`, `request` (budgets, quotas and engines as text) and `methods`; `kernels` (dense and sparse),
`coverage` (values and gains), `objectives` (utilities to a represented kernel); `greedy` (kernel to order) by the
engines of `pickers`, compiled in `greedy_loops` and `loops`; `budget` (order to subset) and `quotas`; `certificate` and
`random_draws` (how good the subset is); `select` (all of these), `fixed` (around kept and dropped rows); `explain` with
`replacements` and `explain_text`; `diagnose`. This package knows nothing of texts, models, files or pages.
"""
