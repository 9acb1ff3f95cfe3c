"""The command line: every step of the curator's way without a screen.

`parser` says which commands and options there are, and `arguments` how they are read and which go together; these
import no large library. `sources` reads what a command names, `terminal` is what a command may print to, `job_progress`
runs a job in it. The commands are in the other modules, which are imported when they are called.

Exit codes: 0 done; 1 a check failed; 2 bad input or refused, with one line on standard error; 130 interrupted, with
everything scored so far kept.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

from delift_core.cli.arguments import check_options, check_paths
from delift_core.cli.parser import build_parser
from delift_core.cli.terminal import Interrupted, note
from delift_core.errors import DeliftError
from delift_core.system.logs import begin_log, log_event, log_failure

DONE, CHECK_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; an error that the user can solve becomes one line on standard error.

    Args:
        argv: the arguments after `python -m delift_core`; those of this process if None.

    Returns:
        The exit code.
    """
    began, name = time.monotonic(), ""
    try:
        arguments = build_parser().parse_args(argv)
        name = arguments.name_of_command
        check_options(arguments)
        check_paths(arguments)
        _begin_log(arguments)
        log_event("command began", command=name)
        code = int(arguments.command(arguments))
        log_event("command ended", command=name, code=code, seconds=round(time.monotonic() - began, 3))
        return code
    except SystemExit as end:  # --help and --version
        return int(end.code or DONE)
    except DeliftError as error:
        log_event("command refused", level=logging.WARNING, command=name, reason=str(error))
        note(f"delift: {error}")
        return REFUSED
    except Interrupted as stop:
        log_event("command interrupted", command=name)
        note(f"delift: {stop}")
        return INTERRUPTED
    except KeyboardInterrupt:
        log_event("command interrupted", command=name)
        note("delift: interrupted; everything scored so far is kept: give the same command again to continue")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CHECK_FAILED
    except Exception as error:
        log_failure("command failed", error)
        raise


def _begin_log(arguments: argparse.Namespace) -> None:
    """Opens the log of the command's workspace, if it has one; `restore` must find an empty folder."""
    workspace = getattr(arguments, "workspace", None)
    if workspace is not None and arguments.name_of_command != "restore":
        begin_log(workspace, "command")
