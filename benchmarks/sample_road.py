"""The sample project from scratch to an exported file, and again with cached pairs.

    python -m benchmarks.sample_road [--cold]

`--cold` converts the bundled model first, as on a fresh machine (its cache goes to a temporary folder). Each step runs
through the command line, as a process of its own, in an empty workspace.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from delift_core.data import sample_project_files


def curate(workspace: Path, out: Path, environment: dict[str, str]) -> tuple[float, dict[str, object]]:
    """Seconds and JSON output of one `curate` of the sample pool."""
    command = [sys.executable, "-m", "delift_core", "curate", str(sample_project_files().pool)]
    command += ["--stage", "instruction", "--budget", "30%", "--out", str(out), "--workspace", str(workspace), "--json"]
    began = time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - began, json.loads(done.stdout)


def main() -> None:
    """Prints a table of both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="convert the bundled model first")
    cold = parser.parse_args().cold
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        environment = dict(os.environ, HF_HUB_OFFLINE="1")
        if cold:
            environment["DELIFT_CACHE"] = str(base / "cache")
        print(f"Machine: {machine()}\n\n| run | seconds |\n| --- | --- |")
        seconds, _ = curate(base / "workspace", base / "one.jsonl", environment)
        print(f"| first, {'model converted' if cold else 'model in the cache'}, every pair scored | {seconds:.1f} |")
        seconds, _ = curate(base / "workspace", base / "two.jsonl", environment)
        print(f"| second, every pair from the workspace | {seconds:.1f} |")
        same = (base / "one.jsonl").read_bytes() == (base / "two.jsonl").read_bytes()
        print(f"\nBoth files are {'identical' if same else 'DIFFERENT'}.")


if __name__ == "__main__":
    main()
