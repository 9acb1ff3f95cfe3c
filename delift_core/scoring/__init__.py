"""Pairwise utilities: how much each sample, as an in-context example, helps the model with each other sample.

Reading order: `scorer` (statistics of one block, exactly), `shared_prefix` and `batches` (how its tokens are arranged),
`metrics` (statistics to utilities), `pair_spec` (how many pairs to score), `forecast` (which, and at what cost),
`blocks` and `devices` (the work, cut up and shared out), `scoring_run`, `store` and `packs` (what is on disk), and
`estimation` (pairs that are not scored).
"""
