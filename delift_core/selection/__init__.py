"""Selection: from measured utilities and a budget to an ordered, certified and explained choice of samples.

Reading order: `objectives` (utilities to represented kernel), `greedy` (kernel to order), `budget` (order to choice),
`certificate` and `baseline` (how good it is), `engine` (all of it), `explain` and `diagnose` (why, in words). This
package knows nothing of texts, models, files or pages.
"""
