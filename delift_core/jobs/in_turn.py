"""A scoring job that waits for its turn first."""

import time
from collections.abc import Callable, Mapping, Sequence

from delift_core.jobs.folder import JobFolder
from delift_core.jobs.queue import turn
from delift_core.jobs.scoring import JobProgress, Publish, ScoringRequest, carry_out
from delift_core.samples import Message


def carry_out_in_turn(
    job: JobFolder,
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    *,
    publish: Publish,
    stop: Callable[[], bool],
) -> JobProgress:
    """As `scoring.carry_out`, when no other heavy job is at work; until then its state is "waiting".

    On a cluster the work is done elsewhere, so only jobs of the same workspace stand in line with it.
    """

    def say(words: str) -> None:
        publish(JobProgress("waiting", words, updated_at=time.time()))

    device = "cluster" if request.placement.backend == "ray" else request.device
    with turn(job.ticket(), device, waiting=say, stop=stop) as mine:
        if mine:
            return carry_out(request, conversations, publish=publish, stop=stop)
    cancelled = JobProgress("cancelled", updated_at=time.time())
    publish(cancelled)
    return cancelled
