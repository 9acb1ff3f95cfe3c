"""Where a run's samples stand on the map: laid out once, by a process of its own, and kept beside the run's numbers.

UMAP takes from twenty seconds (most of them to compile itself) to minutes, in which the server must answer others.

    python -m delift_core.jobs.map_layout EMBEDDINGS.npy OUT.npy
"""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from delift_core.files import write_whole
from delift_core.jobs.queue import Ticket, turn
from delift_core.jobs.runs import ScoredRun
from delift_core.layout import map_coordinates

_VERSION = 1
_NICENESS = 10


def kept_layout(run: ScoredRun) -> np.ndarray | None:
    """(n + t + e, 2) float32 coordinates of pool, target and existing samples, in this order; None where not made."""
    path = layout_path(run)
    try:
        found: np.ndarray = np.load(path)
        return found
    except (OSError, ValueError, EOFError):  # not there, or not what was written: it is made again
        return None


def start_layout(run: ScoredRun) -> subprocess.Popen[bytes]:
    """Begins to lay out a run's map; `kept_layout` has it once the process has ended well.

    Raises:
        OSError: the process or its input cannot be made.
    """
    out = layout_path(run)
    out.parent.mkdir(exist_ok=True)
    handle, embeddings = tempfile.mkstemp(prefix=".", suffix=".npy", dir=out.parent)
    with os.fdopen(handle, "wb") as stream:
        np.save(stream, run.embeddings())
    return subprocess.Popen(  # noqa: S603  # this Python, this package, files that we made
        [sys.executable, "-m", "delift_core.jobs.map_layout", embeddings, str(out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def why_no_layout(code: int) -> str:
    """Why a process that `start_layout` began made no layout, by its exit code (other than 0), as a clause."""
    if code in (errno.ENOMEM, -signal.SIGABRT):  # compiled code aborts where it gets no memory
        return "it ran out of memory"
    if code == -signal.SIGKILL:
        return "the system ended it, as it does when memory runs out"
    if code == errno.ENOSPC:
        return "the disk is full"
    return f"its process ended with code {code}"


def layout_path(run: ScoredRun) -> Path:
    """Where a run's layout lies once it is made; other rows, another file."""
    digest = hashlib.sha256(f"layout {_VERSION}".encode())
    for part in (run.pool, run.target, run.existing):
        digest.update(f"\n{len(part)}\n".encode())
        digest.update("\n".join(sample.content_hash for sample in part).encode())
    return run.store.folder / "maps" / f"{digest.hexdigest()[:16]}.npy"


def main(embeddings: Path, out: Path) -> int:
    """Reads embeddings, removes their file, and at its turn writes the coordinates; returns the exit code."""
    workspace = out.absolute().parents[3]  # utility/KEY/maps/FILE
    try:
        points = np.load(embeddings)
        embeddings.unlink()
        with turn(Ticket("a map", str(workspace), time.time_ns()), "cpu"):
            buffer = io.BytesIO()
            np.save(buffer, map_coordinates(points))
            write_whole(out, buffer.getvalue())
    except MemoryError:
        return errno.ENOMEM
    except ImportError as error:  # a library that does not fit into memory is one that cannot be imported
        if not any(words in str(error) for words in ("failed to map segment", os.strerror(errno.ENOMEM))):
            raise
        return errno.ENOMEM
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.ENOSPC):
            raise
        return error.errno
    return 0


if __name__ == "__main__":
    os.nice(_NICENESS)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
