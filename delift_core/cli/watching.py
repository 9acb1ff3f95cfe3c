"""The progress of loading, on standard error: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from delift_core.cli.terminal import note
from delift_core.sources import Progress, Watch

_LINE_SECONDS = 10.0
_PER_THOUSAND = 1000


@contextmanager
def shown_loading(name: str) -> Iterator[Watch]:
    """A watch for the length of the block; what is loaded in less than a line's time leaves no trace."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% {bar} {elapsed}, {remaining} left"
    with tqdm(total=_PER_THOUSAND, file=sys.stderr, bar_format=form, leave=False, delay=0.5) as bar:

        def show(progress: Progress) -> None:
            bar.set_description_str(f"{progress.stage} {name}, {progress.rows:,} rows", refresh=False)
            bar.update(int(_PER_THOUSAND * (progress.share or 0)) - bar.n)

        yield show


class _Lines:
    """Progress as lines of text."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Prints a line if one is due."""
        now = time.monotonic()
        if now - self._last >= _LINE_SECONDS:
            self._last = now
            note(f"{self._name}, {progress}")
