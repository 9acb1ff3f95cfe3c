"""Callbacks of long work: whether it should stop."""

from collections.abc import Callable

Stop = Callable[[], bool]
"""Asked between two steps; True ends the work with `errors.Stopped`."""


def never() -> bool:
    """A `Stop` that lets the work run to its end."""
    return False
