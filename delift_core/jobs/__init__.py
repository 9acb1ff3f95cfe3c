"""Background jobs: worker processes, their queue and their progress.

Reading order: `folder` (how the app and a worker communicate, and the kinds of jobs), `worker` (the process), `queue`
(one job at a time on a device), `progress`; then the kind that scores: `backends` (where a job can run), `preparation`
(everything before the device is needed), `scoring_job` and `ray` (scoring on a cluster).
"""
