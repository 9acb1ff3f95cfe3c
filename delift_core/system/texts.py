"""Durations, sizes, numbers of rows and results of checks as text, in one form for messages, pages and tables."""

from dataclasses import dataclass

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def duration(seconds: float) -> str:
    """Formats a duration: "under a second", "40 s", "12 min", "2 h 10 min", "30 h" or "4 days"."""
    if seconds < 1:
        return "under a second"
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    if seconds < 10 * _HOUR:
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:,.0f} days"


def byte_size(count: int) -> str:
    """Formats a number of bytes: "1.5 GiB", "200.0 MiB", "12.0 KiB" or "512 B"."""
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} B"


def row_count(count: int) -> str:
    """Formats a number of rows: "1 row" or "1,200 rows"."""
    return "1 row" if count == 1 else f"{count:,} rows"


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it is in order, and a line of detail."""

    label: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.label}: {self.detail}"
