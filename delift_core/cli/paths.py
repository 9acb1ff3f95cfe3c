"""Every path on a command line, tried before any work is done: `files` says what is wrong with one and what to do."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from delift_core.cli.naming import named_path
from delift_core.cli.terminal import UsageError
from delift_core.export.containers import container_of
from delift_core.export.writers import manifest_path
from delift_core.files import shown, why_no_folder, why_no_name, why_unreadable, why_unwritable

Use = Literal["input", "file", "new file", "output", "folder", "new folder", "looked at"]

_WHY: dict[Use, Callable[[Path], str]] = {
    "input": why_unreadable,
    "file": lambda path: why_unreadable(path, folder=False),
    "new file": why_unwritable,
    "output": why_unwritable,
    "folder": why_no_folder,
    "new folder": lambda path: why_no_folder(path, new=True),
    "looked at": why_no_name,
}
USES: dict[str, Use] = {
    "file": "input",
    "pool": "input",
    "target": "input",
    "existing": "input",
    "against": "input",
    "not_in": "input",
    "heldout": "input",
    "manifest": "file",
    "out": "output",
    "workspace": "folder",
    "folder": "new folder",
    "keep": "folder",
    "save_adapter": "new folder",
}
"""What a path is for, by the name of its argument; `OTHERWISE` where a command means another thing by it."""
OTHERWISE: dict[tuple[str, str], Use | None] = {
    ("publish", "file"): "file",
    ("backup", "file"): "new file",
    ("restore", "file"): "file",
    ("restore", "workspace"): "new folder",
    ("evaluate", "against"): None,  # names of arms
    ("evaluate", "workspace"): "looked at",
    ("doctor", "workspace"): "looked at",  # whose task is to say what is wrong with it
    ("health", "workspace"): "looked at",
}


def check_paths(arguments: argparse.Namespace) -> None:
    """Tries every path that a command was given; a ~ in front of a workspace is replaced by the home folder.

    Raises:
        DeliftError: one of them cannot be used for what it is given for.
    """
    command, inputs = arguments.name_of_command, []
    for name in USES:
        use = OTHERWISE.get((command, name), USES[name])
        given = getattr(arguments, name, None)
        if use is None or given is None:
            continue
        if name == "workspace":
            arguments.workspace = given = _at_home(given)
        paths = list(_paths(name, given))
        for path in paths:
            if words := _WHY[use](path):
                raise UsageError(_with_advice(path) if use == "input" else words)
        inputs += paths if use in ("input", "file") else []
    if hasattr(arguments, "out"):
        container_of(arguments.out)  # refuses a name that would mislead
        kept = [*inputs, *_databases(arguments)]
        if words := why_unwritable(arguments.out, _written_beside(arguments), kept):
            raise UsageError(words)


def _written_beside(arguments: argparse.Namespace) -> list[Path]:
    """A manifest, but not of `convert`; what trainers need, where it is asked for."""
    if arguments.name_of_command == "convert":
        return []
    from delift_core.export.side_files import kit_paths

    out: Path = arguments.out
    return [manifest_path(out), *(kit_paths(out) if getattr(arguments, "recipes", False) else ())]


def _databases(arguments: argparse.Namespace) -> list[Path]:
    """The one of the workspace, which no output may replace."""
    if not hasattr(arguments, "workspace"):
        return []
    from delift_core.workspace.workspace import DATABASE_NAME

    return [arguments.workspace / DATABASE_NAME]


def _paths(name: str, given: object) -> Iterable[Path]:
    """The paths of an argument; none of a data set on the hub."""
    for one in given if isinstance(given, list) else [given]:
        if one == "" and USES[name] == "input":
            raise UsageError(f"an empty name was given for {name}; give a file, a folder or a hub data set")
        path = named_path(str(one)) if USES[name] == "input" else one
        if isinstance(path, Path):
            yield path


def _with_advice(path: Path) -> str:
    from delift_core.sources.inputs import why_no_input  # imports what reads files, which no other command needs

    return why_no_input(path)


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{shown(path)}: there is no such home folder; write the whole path") from error
