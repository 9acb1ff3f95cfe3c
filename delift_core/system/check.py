"""The result of one check, of a machine, a workspace or an exported file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it is in order, and a line of detail."""

    label: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.label}: {self.detail}"
