"""Callbacks of long work: how far it is, and whether it should stop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stop = Callable[[], bool]
"""Asked between two steps; True ends the work with `errors.Stopped`."""
Phase = Literal[
    "reading",
    "saving",
    "checking",
    "starting",
    "waiting",
    "loading",
    "calibrating",
    "scoring",
    "evaluating",
    "laying out",
    "forecast",
    "done",
    "cancelled",
    "failed",
]
FINAL_PHASES: frozenset[Phase] = frozenset({"forecast", "done", "cancelled", "failed"})


def never() -> bool:
    """A `Stop` that lets the work run to its end."""
    return False


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of long work.

    Attributes:
        phase: what is being done, or how it ended.
        done, total: in units of the work, such as pairs; total is 0 if it is unknown.
        message: what the work waits for or is doing, or why it failed.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    message: str = ""

    @property
    def share(self) -> float:
        """The share that is done, in [0, 1]; 0 if it is unknown."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    def __str__(self) -> str:
        share = f"{self.share:.0%}, " if self.total else ""
        return f"{self.phase}: {share}{self.message}"


OnProgress = Callable[[Progress], None]


def new_messages(show: Callable[[str], None]) -> OnProgress:
    """Shows each message of a progress once."""
    last = ""

    def publish(progress: Progress) -> None:
        nonlocal last
        if progress.message != last:
            last = progress.message
            show(last)

    return publish
