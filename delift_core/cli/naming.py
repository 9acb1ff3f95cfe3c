"""How a command line names what is read: files, hub data sets and columns."""

from pathlib import Path

from delift_core.cli.terminal import UsageError
from delift_core.samples import ColumnMapping

HUB_PREFIX = "hub:"
HUB_FORM = "hub:owner/name[:split][,config=C][,revision=R][,limit=N]"
_FORM = "write prompt=COL,response=COL and, where there are such, system=COL and context=COL (as often as needed)"


def parse_mapping(text: str) -> ColumnMapping:
    """Reads prompt=COL,response=COL[,system=COL][,context=COL…]; a column name may hold anything but a comma.

    Raises:
        UsageError: another form.
    """
    columns: dict[str, str] = {}
    parts: list[str] = []
    for part in text.split(","):
        key, equals, column = part.partition("=")
        key = key.strip()
        if not equals or key not in ("prompt", "response", "system", "context") or not column or key in columns:
            raise UsageError(f"--map {text!r} is not understood; {_FORM}")
        if key == "context":
            parts.append(column)
        else:
            columns[key] = column
    if "prompt" not in columns or "response" not in columns:
        raise UsageError(f"--map {text!r} lacks the prompt or the response; {_FORM}")
    return ColumnMapping(columns["prompt"], columns["response"], columns.get("system"), tuple(parts))


def named_path(name: str) -> Path | None:
    """The path that a command's word names; None for a hub data set."""
    return None if name.startswith(HUB_PREFIX) else Path(name)
