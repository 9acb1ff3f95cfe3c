"""Scoring runs outside the page: a worker process, its progress, cancelling and resuming."""
