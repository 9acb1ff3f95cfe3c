"""Selection: from measured utilities and a budget to an ordered, certified and explained choice of samples.

Reading order: `types` and `request` (what is asked for, and read from text), `kernels` (dense and sparse), `coverage`
(what a subset is worth), `objectives` (utilities to represented kernel), `greedy` (kernel to order, by the engines of
`pickers`; `grid` and `loops` are their arithmetic), `budget` (to a choice), `quotas` (what each group must give),
`certificate` and `baseline` (how good it is), `engine` (all of it), `fixed` (around a curator's decisions), `explain`,
`words` and `diagnose` (why). This package knows nothing of texts, models, files or pages.
"""
