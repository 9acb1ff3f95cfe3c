"""Where things are when nobody says otherwise. It reads the environment and touches no disk."""

import os
from pathlib import Path

WORKSPACE_VARIABLE = "DELIFT_WORKSPACE"

# For processes that score, read when torch is first imported. Threads that wait for each other spin for a moment, then
# sleep: to spin on, as is the default, makes scoring several times slower as soon as the machine does anything else.
LIBRARY_ENVIRONMENT = {"GOMP_SPINCOUNT": "3000", "TOKENIZERS_PARALLELISM": "false"}


def default_workspace() -> Path:
    """The workspace folder when none is named: $DELIFT_WORKSPACE, else .delift in the home folder."""
    path = Path(os.environ.get(WORKSPACE_VARIABLE) or "~/.delift")
    try:
        return path.expanduser()
    except RuntimeError:  # there is no home folder; whoever opens the workspace says so
        return path
