"""How far the loading of a source has come. Whoever watches may end it by an exception; nothing is kept then."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from delift_core.samples import Problem
from delift_core.sources.records import RawRecord

Records = Iterator[RawRecord | Problem]
EVERY = 1000  # rows between two reports


@dataclass(frozen=True, slots=True)
class Progress:
    """A report.

    Attributes:
        stage: rows are read from the source, then kept in the workspace; kept ones are looked through.
        rows: so far, in this stage.
        share: of the stage that is done, in [0, 1]; None where the source does not say how much there is.
    """

    stage: Literal["reading", "keeping", "looking"]
    rows: int
    share: float | None

    def __str__(self) -> str:
        share = "" if self.share is None else f"{self.share:.0%}, "
        return f"{self.stage}: {share}{self.rows:,} rows"


Watch = Callable[[Progress], None]


class Meter:
    """Reports the rows of one or several files by the bytes that were read of them."""

    def __init__(self, watch: Watch, total: int) -> None:
        """Args:
        total: bytes of all files as they lie on disk; 0 where that is not known.
        """
        self._watch = watch
        self._total = total
        self._before = 0
        self._rows = 0
        self._share = 0.0

    def over(self, records: Records, stream: BinaryIO, size: int) -> Records:
        """Passes the records of one file on.

        Args:
            stream: what they are read from, unpacked.
            size: bytes of the file on disk.
        """
        whole = _size(stream)
        read = 0
        for item in records:
            self._rows += 1
            read += len(item.raw)
            if self._rows % EVERY == 0:
                self._report(size * _part(stream, whole, read))
            yield item
        self._before += size
        self._report(0)

    def _report(self, done: float) -> None:
        if self._total:
            self._share = max(self._share, min(1.0, (self._before + done) / self._total))
        self._watch(Progress("reading", self._rows, self._share if self._total else None))


def over_rows(records: Iterator[RawRecord | Problem], watch: Watch, limit: int | None) -> Iterator[RawRecord | Problem]:
    """Passes records on that come without bytes; with a limit, rows say how much there is."""
    for rows, item in enumerate(records, start=1):
        if rows % EVERY == 0:
            watch(Progress("reading", rows, rows / limit if limit else None))
        yield item


def _part(stream: BinaryIO, whole: int, read: int) -> float:
    """The share of a file that was read: by its position; by its records once it was taken in at once."""
    position = 0 if stream.closed else stream.tell()
    return (position if 0 < position < whole else min(read, whole)) / max(whole, 1)


def _size(stream: BinaryIO) -> int:
    position = stream.tell()
    whole = stream.seek(0, 2)
    stream.seek(position)
    return whole
