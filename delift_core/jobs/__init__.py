"""Background work: a worker process, its queue and its progress.

Reading order: `backends` (where a job can run), `preparation` (what is known before it starts), `scoring_job` (what it
does), `folder` (how the app and the worker talk), `worker` (the process), `queue` (one job at a time on a device) and
`ray` (the same on a cluster).
"""
