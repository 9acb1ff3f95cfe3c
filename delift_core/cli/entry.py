"""From words on the command line to an exit code."""

import os
import sys
from collections.abc import Sequence

from delift_core.cli.parser import build_parser
from delift_core.cli.terminal import Interrupted, note
from delift_core.errors import DeliftError

DONE, CHECK_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; what the user can mend becomes one line on standard error.

    Args:
        argv: the words after `python -m delift_core`; those of this process if None.

    Returns:
        The exit code (see the package).
    """
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.command(arguments))
    except SystemExit as end:  # --help and --version
        return int(end.code or DONE)
    except DeliftError as error:
        note(f"delift: {error}")
        return REFUSED
    except Interrupted as stop:
        note(f"delift: {stop}")
        return INTERRUPTED
    except KeyboardInterrupt:
        note("delift: interrupted; everything scored so far is kept, the same command goes on from there")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CHECK_FAILED
