"""The wheel in an empty environment: its size, the time to install it, to the first page, and to a subset by each road.

    python -m benchmarks.wheel [--python PATH] [--ranges] [--keep FOLDER]

Builds the wheel (without a network), makes an environment with nothing in it, and installs the wheel with the packages
that it asks for, in the versions of requirements.txt or, with --ranges, the newest that it allows; this needs an index
of packages. Then all is done by the scripts of that environment, away from the checkout: `delift install-model`;
`delift studio`, where Chromium goes from the sample project to a downloaded file; and `delift curate`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.machine import machine
from benchmarks.served import served, visitor
from delift_core.data import sample_project_files

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
_SCORING_MS = 1_200_000
_PERCENT = "4"  # of the pairs, in the browser


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(*words: object) -> str:
    """What a command prints; one that fails ends the benchmark."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel of this checkout."""
    with chdir(ROOT):
        run(sys.executable, "-c", BUILD, folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def sample_to_download(page: Page, folder: Path) -> int:
    """Goes from Home to a downloaded subset; returns the number of its rows."""
    page.get_by_role("button", name="Try the sample project").click()
    page.get_by_role("radio", name="Percent").click(timeout=60_000)
    page.get_by_role("spinbutton", name="Percent of the pairs").fill(_PERCENT)
    page.keyboard.press("Enter")
    page.wait_for_timeout(2000)
    page.get_by_role("button", name="Estimate time").click()
    page.get_by_role("button", name="Start scoring").click(timeout=_SCORING_MS)
    expect(page.get_by_text(re.compile(r"[\d,]+ pairs are scored\."))).to_be_visible(timeout=_SCORING_MS)
    page.get_by_role("link", name="Continue to Select").click()
    page.get_by_role("button", name="Save selection").click(timeout=60_000)
    expect(page.get_by_role("heading", name="Curate")).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Export", exact=True).click()
    page.get_by_role("button", name="Export", exact=True).click(timeout=60_000)
    with page.expect_download(timeout=60_000) as begun:
        page.get_by_role("button", name=re.compile(r"^Download \S+\.jsonl \(")).click(timeout=60_000)
    begun.value.save_as(folder / "downloaded.jsonl")
    return len((folder / "downloaded.jsonl").read_text(encoding="utf-8").splitlines())


def curate(delift: Path, folder: Path) -> int:
    """Curates the sample pool on the command line; returns the number of rows."""
    command = [delift, "curate", sample_project_files().pool, "--stage", "instruction", "--budget", "30%"]
    command += ["--pairs", f"{_PERCENT}%", "--out", folder / "subset.jsonl", "--workspace", folder / "work", "--json"]
    json.loads(run(*command))
    run(delift, "verify", folder / "subset.manifest.json")
    return len((folder / "subset.jsonl").read_text(encoding="utf-8").splitlines())


def measure(python: str, ranges: bool, folder: Path) -> None:
    """Prints a line for each step."""
    wheel, scripts = build(folder / "dist"), folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    print(f"| size of the wheel | {wheel.stat().st_size / 1e6:.2f} MB |", flush=True)
    run(python, "-m", "venv", folder / "env")
    pinned = [] if ranges else ["-c", ROOT / "requirements.txt"]
    install = seconds(lambda: run(scripts / "python", "-m", "pip", "install", "-q", wheel, *pinned))
    print(f"| install it with its packages | {install:.0f} s, {size(folder / 'env') / 1e9:.2f} GB |", flush=True)
    delift = scripts / "delift"
    print(f"| `delift install-model` | {seconds(lambda: run(delift, 'install-model')):.0f} s |", flush=True)
    for name in ("first", "again"):
        began = time.perf_counter()
        workspace = folder / name / "workspace"
        workspace.parent.mkdir()
        with served(workspace, folder / f"{name}.log", delift=delift) as (address, _), visitor(address) as page:
            print(f"| `delift studio` to the first page, {name} | {time.perf_counter() - began:.1f} s |", flush=True)
            if name == "again":
                began = time.perf_counter()
                rows = sample_to_download(page, folder)
                words = f"{time.perf_counter() - began:.0f} s, {rows} rows"
                print(f"| Chromium, sample project to download, {_PERCENT} % of the pairs | {words} |", flush=True)
    began = time.perf_counter()
    rows = curate(delift, folder)
    print(
        f"| `delift curate`, the same pool and pairs | {time.perf_counter() - began:.0f} s, {rows} rows |", flush=True
    )


def main() -> None:
    """Prints a table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="the Python of the environment")
    parser.add_argument("--ranges", action="store_true", help="the newest versions that the wheel allows")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the environment, which stays")
    options = parser.parse_args()
    print(f"Machine: {machine()}\nPython of the environment: {run(options.python, '--version').strip()}\n")
    print("| | |\n| --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep.absolute() if options.keep else Path(name)
        folder.mkdir(exist_ok=True, parents=True)
        os.environ["DELIFT_CACHE"] = str(folder / "cache")  # the model is converted again
        with chdir(folder):
            measure(options.python, options.ranges, folder)


if __name__ == "__main__":
    main()
