"""Time until a command answers and until the app shows its first page, in this checkout and another one.

    python -m benchmarks.start_up [--against PATH] [--rounds 5]

Every round runs each command once in each checkout, one after the other, so that a busy moment meets all of them; one
round before them warms the disk's caches. PATH is another checkout; it runs with the packages of this environment.
The first page is timed from the start of `streamlit run app.py` until Chromium has a page whose script has run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.served import served, visitor

_HERE = Path(__file__).resolve().parents[1]
_ROWS = (
    ("Name a tree with needles.", "A larch has needles, and sheds them in autumn."),
    ("What is 17 + 26?", "17 + 26 = 43."),
    ("Say in one line what yeast does.", "Yeast turns sugar into carbon dioxide and alcohol."),
    ("Which river flows through Cologne?", "The Rhine flows through Cologne."),
    ("Make the sentence polite: Close the window.", "Would you please close the window?"),
    ("Give the plural of ox.", "The plural of ox is oxen."),
)


def commands(folder: Path) -> dict[str, list[str]]:
    """The command lines by name; the last one is invalid."""
    pool = folder / "six.jsonl"
    pool.write_text("".join(json.dumps({"instruction": one, "output": two}) + "\n" for one, two in _ROWS))
    out = str(folder / "out.jsonl")
    return {
        "--help": ["--help"],
        "curate --help": ["curate", "--help"],
        "convert, six rows": ["convert", str(pool), "--format", "messages", "--out", out],
        "inspect, six rows": ["inspect", str(pool)],
        "an unknown option": ["inspect", str(pool), "--colour"],
    }


def run_command(checkout: Path, words: list[str]) -> float:
    """Seconds of `python -m delift_core` in a checkout."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "delift_core", *words], cwd=checkout, capture_output=True)
    seconds = time.perf_counter() - began
    if done.returncode != (2 if "--colour" in words else 0):
        raise SystemExit(f"{checkout}: {words} ended with {done.returncode}: {done.stderr.decode()[-400:]}")
    return seconds


def first_page(checkout: Path) -> float:
    """Seconds from the start of the server to a page that has run, on an empty workspace."""
    with tempfile.TemporaryDirectory() as name, chdir(checkout):
        began = time.perf_counter()
        with served(Path(name) / "workspace", Path(name) / "server.log") as (address, _), visitor(address):
            return time.perf_counter() - began


def measure(checkouts: list[Path], rounds: int, folder: Path) -> dict[str, dict[Path, list[float]]]:
    """Seconds by measurement and checkout; a first round is left out."""
    timed: dict[str, Callable[[Path], float]] = {
        name: partial(run_command, words=words) for name, words in commands(folder).items()
    }
    timed["first page"] = first_page
    found: dict[str, dict[Path, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds + 1):
        for name, run in timed.items():
            for checkout in checkouts:
                seconds = run(checkout)
                if number:
                    found[name][checkout].append(seconds)
    return found


def main() -> None:
    """Prints one table: a row for each command, a column for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout to measure beside this one")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkouts = [_HERE, *([options.against.resolve()] if options.against else [])]
    print(f"Machine: {machine()}; load before: {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as name:
        found = measure(checkouts, options.rounds, Path(name))
    heads = ["this checkout", "against"][: len(checkouts)]
    print("| | " + " | ".join(f"{head}, median s (least to most)" for head in heads) + " |")
    print("| --- |" + " --- |" * len(heads))
    for what, by_checkout in found.items():
        print(f"| {what} | " + " | ".join(cell(by_checkout[checkout]) for checkout in checkouts) + " |")


def cell(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
