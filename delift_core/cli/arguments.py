"""Reads and checks the values, options and paths of a command line before any work is done."""

import argparse
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from delift_core.cli.terminal import UsageError
from delift_core.errors import ScoringError
from delift_core.export.containers import container_of
from delift_core.export.writers import manifest_path
from delift_core.models.prompts import parse_arguments
from delift_core.samples import ColumnMapping
from delift_core.scoring.pair_spec import ALL_PAIRS
from delift_core.selection.request import PRESETS, SelectionRequest, objective_of, require_engine
from delift_core.system.files import abbreviated, why_folder_unusable, why_invalid_path, why_unreadable, why_unwritable
from delift_core.system.hub import HUB_PREFIX


def check_options(arguments: argparse.Namespace) -> None:
    """Refuses options that contradict each other, and a stage without the file that it needs.

    Raises:
        UsageError, SelectionError: the message says what to leave out or to add.
    """
    if arguments.name_of_command in ("score", "curate"):
        _check_backend(arguments)
    if arguments.name_of_command == "curate":
        _check_selection(arguments)
    if arguments.name_of_command == "publish" and arguments.folder is None and arguments.hub is None:
        raise UsageError("name where to publish: --folder DIR, --hub owner/name, or both")


def _check_backend(arguments: argparse.Namespace) -> None:
    if arguments.backend != "ray" and (arguments.ray_address or arguments.ray_threads):
        raise UsageError("--ray-address and --ray-threads are for scoring on Ray; add --backend ray")


def _check_selection(arguments: argparse.Namespace) -> None:
    require_engine(arguments.engine)
    if arguments.preset == "published" and (arguments.metric, arguments.self_coverage) != (None, None):
        raise UsageError("--preset published has its own metric and self-coverage; leave them out, or --preset")
    if arguments.preset == "published" and arguments.pairs not in (None, ALL_PAIRS):
        raise UsageError("--preset published scales between the extremes of all pairs; leave out --pairs")
    needed = selection_request(arguments).config.needed_set
    if needed and not getattr(arguments, needed):
        raise UsageError(f"--stage {arguments.stage} needs a file of {needed} rows; add --{needed} FILE")


def number_type(least: float, most: float = math.inf) -> Callable[[str], float]:
    """A type of argparse: a finite number within these bounds."""
    words = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (least <= number <= most and number < math.inf):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return number

    return parse


def whole_type(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type of argparse: a whole number within these bounds."""
    words = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text) or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return int(text)

    return parse


def parse_path(text: str) -> Path:
    """A type of argparse: a path that is not empty, as that of a variable that was not set would be."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name was given; give a path")
    return Path(text)


def selection_request(arguments: argparse.Namespace) -> SelectionRequest:
    """The request of `curate`: the preset, except for what was given by an option of its own.

    Raises:
        SelectionError: the options contradict each other.
    """
    preset = PRESETS[arguments.preset]
    config = objective_of(arguments.preset, arguments.stage, eta=arguments.eta, nu=arguments.nu)
    if arguments.self_coverage is not None:
        config = replace(config, self_coverage=arguments.self_coverage)
    return SelectionRequest(
        config,
        arguments.budget,
        arguments.metric or preset.metric,
        tuple(arguments.quota),
        method=arguments.method,
        engine=arguments.engine,
        seed=arguments.seed,
    )


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


Use = Literal["input", "file", "new file", "output", "folder", "new folder", "looked at"]

_WHY: dict[Use, Callable[[Path], str]] = {
    "input": why_unreadable,
    "file": lambda path: why_unreadable(path, folder=False),
    "new file": why_unwritable,
    "output": why_unwritable,
    "folder": why_folder_unusable,
    "new folder": lambda path: why_folder_unusable(path, new=True),
    "looked at": why_invalid_path,
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
    from delift_core.export.card import kit_paths

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
    from delift_core.data.loading.source_files import (
        why_not_readable,  # imports what reads files, which no other command needs
    )

    return why_not_readable(path)


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(f"{abbreviated(path)}: there is no such home folder; write the whole path") from error


def parse_template_arguments(text: str) -> dict[str, object]:
    """Arguments of a chat template, a JSON object."""
    try:
        return parse_arguments(text)
    except ScoringError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
