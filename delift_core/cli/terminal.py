"""Output of commands, and the exceptions that end them early.

Texts of data sets, file names and messages are untrusted: only printable characters reach the terminal, so that a row
cannot move the cursor, colour the screen or reverse the writing direction.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from delift_core.errors import DeliftError


class UsageError(DeliftError):
    """The command line cannot be understood."""


class Interrupted(Exception):
    """The user stopped the work; the message says what is kept and how to continue."""


def safe(text: str) -> str:
    """The text on one line, with unprintable characters (controls, escapes, line ends) written as \\x1b."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


@dataclass(frozen=True, slots=True)
class Output:
    """Standard output of a command: lines of text or, with --json, one JSON object."""

    as_json: bool

    def show(self, lines: Iterable[str], document: Mapping[str, object]) -> None:
        """Prints the result."""
        if self.as_json:
            print(json.dumps(document, allow_nan=False), flush=True)  # ASCII only, which is safe on a terminal
            return
        for line in lines:
            print(safe(line), flush=True)  # so that a closed pipe is noticed here, not when Python ends


def note(text: str) -> None:
    """Prints one line on standard error."""
    print(safe(text), file=sys.stderr, flush=True)


LINE_SECONDS = 10.0  # between lines that say how far something is


def every(seconds: float, *, at_once: bool = True) -> Callable[[], bool]:
    """A function that is true once in so many seconds, the first time at once or after the first of them."""
    last = -math.inf if at_once else time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return False
        last = now
        return True

    return due
