"""A question before a long run that nobody asked for in so many words; where nobody can answer, a refusal."""

import sys

from delift_core.cli.terminal import note
from delift_core.durations import duration
from delift_core.utility.pairs import format_pairs
from delift_core.utility.plan import Forecast, SmallerRun


class LongRunCheck:
    """Looks at the time that was measured, once.

    Attributes:
        refusal: why the run may not go on, in one line with the commands that take less; "" while it may.
    """

    def __init__(self, rows: tuple[int, int, int], *, needs_all: bool = False) -> None:
        """Args:
        rows: of the pool, the target and the existing set.
        needs_all: the pairs are of use together only.
        """
        self.refusal = ""
        self._rows, self._needs_all = rows, needs_all
        self._settled = False

    def is_due(self, forecast: Forecast | None) -> bool:
        """Whether the time is known, is long, and nobody was asked yet."""
        if self._settled or forecast is None or forecast.seconds is None:
            return False
        self._settled = True
        return forecast.is_long

    def ask(self, forecast: Forecast) -> None:
        """Asks on a terminal whether to go on; sets `refusal` where the answer is not yes, or there is no terminal."""
        assert forecast.seconds is not None
        smaller = () if self._needs_all else forecast.smaller_runs(*self._rows)
        whole = f"{forecast.pairs_missing:,} pairs take about {duration(forecast.seconds)} on this machine"
        ways = [*map(_way, smaller), "--pairs all scores them all"]
        self.refusal = f"{whole}; what was scored is kept. Say how many to score: {'; '.join(ways)}"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return
        note(f"{whole}{'. A part of them may do, the rest is estimated:' if smaller else ''}")
        for one in smaller:
            note(f"  {_way(one)}")
        print("Score all pairs now? [y/N] ", end="", file=sys.stderr, flush=True)
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
        self.refusal = "" if agreed else "stopped; what was scored is kept. Give the command again with --pairs"


def _way(run: SmallerRun) -> str:
    return f"--pairs {format_pairs(run.budget)} scores {run.pairs:,} in about {duration(run.seconds)}"
