"""Pairwise utilities: how much each sample, as an in-context example, helps the model with each other sample.

Reading order: `scorer` (statistics of a batch), `batches` (its tokens), `metrics` (statistics to utilities);
`pair_spec` (how many pairs to score), `forecast` (which ones, and their cost); `blocks` and `scoring_run`
(the work); `store` and `block_files` (results on disk); and `estimation` (pairs that are not scored).
"""
