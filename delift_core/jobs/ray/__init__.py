"""Scoring on a Ray cluster: `cluster` (joined or started) and `backend` (blocks as tasks)."""
