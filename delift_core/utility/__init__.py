"""Pairwise utilities: how much each sample, as an in-context example, helps the model with each other sample."""
