"""A scoring job that waits for its turn first."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from delift_core.jobs.folder import JobFolder
from delift_core.jobs.prepared import ScoringRequest
from delift_core.jobs.queue import turn
from delift_core.jobs.scoring import Expect, JobProgress, Publish, carry_out
from delift_core.samples import Message


def carry_out_in_turn(
    job: JobFolder,
    request: ScoringRequest,
    conversations: Mapping[str, Sequence[Message]],
    *,
    publish: Publish,
    stop: Callable[[], bool],
    expect: Expect = lambda prepared: None,
) -> JobProgress:
    """As `scoring.carry_out`, when no other heavy job is at work; until then its state is "waiting".

    On a cluster the work is done elsewhere, so only jobs of the same workspace stand in line with it.
    """
    device = "cluster" if request.placement.backend == "ray" else request.device

    def line(say: Callable[[str], None]) -> AbstractContextManager[bool]:
        return turn(job.ticket(), device, waiting=say, stop=stop)

    return carry_out(request, conversations, publish=publish, stop=stop, line=line, expect=expect)
