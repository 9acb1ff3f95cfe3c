"""Defaults that every process shares. Reads the environment and touches no disk."""

import os
from pathlib import Path

WORKSPACE_VARIABLE = "DELIFT_WORKSPACE"

# Read when torch is first imported. OpenMP threads that wait for each other spin briefly and then sleep: by default
# they go on spinning, which makes scoring several times slower as soon as the machine does anything else.
LIBRARY_ENVIRONMENT = {"GOMP_SPINCOUNT": "3000", "TOKENIZERS_PARALLELISM": "false"}


def default_workspace() -> Path:
    """The workspace folder if none is given: $DELIFT_WORKSPACE, else .delift in the home folder."""
    path = Path(os.environ.get(WORKSPACE_VARIABLE) or "~/.delift")
    try:
        return path.expanduser()
    except RuntimeError:  # no home folder; opening the workspace reports it
        return path
