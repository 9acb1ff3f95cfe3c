"""Scoring on a Ray cluster: `cluster` (joins or starts it) and `backend` (scores blocks as tasks)."""
