"""Evaluates the sample project's subset against random rows and the whole pool, and times it.

    python -m benchmarks.sample_evaluation [--workspace FOLDER] [--against random,full]

The sample pool is scored and 30 % selected first (from the cache of FOLDER, if it is there); only `evaluate` is timed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from delift_core.data import sample_project_files


def main() -> None:
    """Prints the report of `evaluate` and the seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--against", default="random,full")
    asked = parser.parse_args()
    files = sample_project_files()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "subset.jsonl"
        workspace = asked.workspace or Path(temporary) / "workspace"
        program = [sys.executable, "-m", "delift_core"]
        curate = [*program, "curate", str(files.pool), "--stage", "instruction", "--budget", "30%", "--out", str(out)]
        subprocess.run([*curate, "--workspace", str(workspace)], check=True, stdout=subprocess.DEVNULL)
        manifest = out.with_suffix(".manifest.json")
        evaluate = [*program, "evaluate", str(manifest), "--heldout", str(files.heldout), "--against", asked.against]
        began = time.monotonic()
        done = subprocess.run(evaluate, check=True, stdout=subprocess.PIPE, text=True)
        print(f"Machine: {machine()}\n\n{done.stdout}\n{time.monotonic() - began:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
