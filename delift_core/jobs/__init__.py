"""Background jobs: worker processes, their queue and their progress.

Reading order: `backends` (where a job can run), `preparation` (everything before the device is needed), `progress`,
`scoring_job` (the job), `queue` (one job at a time on a device), `folder` (how the app and a worker communicate),
`worker` (the process) and `ray` (scoring on a cluster).
"""
