"""Where things are when nobody says otherwise. It reads the environment and touches no disk."""

import os
from pathlib import Path

WORKSPACE_VARIABLE = "DELIFT_WORKSPACE"

# For processes that score, read when torch is first imported. Threads that wait for each other sleep, and do not spin:
# on a machine that does anything else at the same time, spinning makes scoring several times slower.
LIBRARY_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def default_workspace() -> Path:
    """The workspace folder when none is named: $DELIFT_WORKSPACE, else .delift in the home folder."""
    named = os.environ.get(WORKSPACE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".delift"
