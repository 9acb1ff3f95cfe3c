"""Which options of a command go together: what can be refused before anything is read."""

import argparse

from delift_core.cli.terminal import UsageError
from delift_core.utility.pairs import ALL_PAIRS

STAGE_NEEDS = {"task": "target", "continual": "existing"}


def check_options(arguments: argparse.Namespace) -> None:
    """Refuses options that contradict each other, and a stage without the file that it needs.

    Raises:
        UsageError: the message says what to leave out or to add.
    """
    if arguments.name_of_command in ("score", "curate"):
        _check_backend(arguments)
    if arguments.name_of_command == "curate":
        _check_selection(arguments)
    if arguments.name_of_command == "publish" and arguments.folder is None and arguments.hub is None:
        raise UsageError("say where to: --folder DIR, --hub owner/name, or both")


def _check_backend(arguments: argparse.Namespace) -> None:
    if arguments.backend != "ray" and (arguments.ray_address or arguments.ray_threads):
        raise UsageError("--ray-address and --ray-threads say how to score on Ray; add --backend ray")


def _check_selection(arguments: argparse.Namespace) -> None:
    needed = STAGE_NEEDS.get(arguments.stage)
    if arguments.engine != "auto" and arguments.quota:
        raise UsageError("--engine other than auto knows no quotas; leave out --engine or --quota")
    if arguments.preset == "published" and (arguments.metric, arguments.self_coverage) != (None, None):
        raise UsageError("--preset published has its own metric and self-coverage; leave them out, or --preset")
    if arguments.preset == "published" and arguments.pairs not in (None, ALL_PAIRS):
        raise UsageError("--preset published scales between the extremes of all pairs; leave out --pairs")
    if arguments.engine != "auto" and arguments.method != "delift":
        raise UsageError("--engine is of DELIFT's own order; leave out --engine or --method")
    if needed and not getattr(arguments, needed):
        raise UsageError(f"--stage {arguments.stage} needs a file of {needed} rows; add --{needed} FILE")
