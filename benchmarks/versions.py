"""One benchmark in two checkouts, in turn: every figure of its tables before and after, as medians with their ratio.

    python -m benchmarks.versions OTHER_CHECKOUT --rounds 3 -- scoring FILE --rows 8 --dtype float32,mixed --repeats 1
    python -m benchmarks.versions OTHER_CHECKOUT --rounds 3 -- selection --part sparse --sizes 100000

A busy moment meets both sides alike, since they take turns. OTHER_CHECKOUT runs with the packages of this environment.
A figure is found again by the words of its row and the title of its column.
"""

import argparse
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.machine import machine

_HERE = Path(__file__).resolve().parents[1]
_NUMBER = re.compile(r"-?[\d,]*\.?\d+(e[+-]?\d+)?%?")
Place = tuple[str, str]
"""The words of a row, and the title of a column."""


def figures(output: str) -> dict[Place, float]:
    """The numbers in the Markdown tables of an output, by row and column; a column "n" and words name the row."""
    found: dict[Place, float] = {}
    titles: list[str] = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        if not any(_NUMBER.fullmatch(cell) for cell in cells):
            titles = cells
            continue
        words = " ".join(
            cell for title, cell in zip(titles, cells, strict=False) if title == "n" or not _NUMBER.fullmatch(cell)
        )
        for title, cell in zip(titles, cells, strict=False):
            if title != "n" and _NUMBER.fullmatch(cell):
                found[words, title] = float(cell.strip("%").replace(",", ""))
    return found


def run(checkout: Path, words: list[str]) -> dict[Place, float]:
    """The figures of `python -m benchmarks.WORDS` in a checkout."""
    command = [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(words)} ended with {done.returncode}: {done.stderr[-400:]}")
    return figures(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="One benchmark in two checkouts, in turn.")
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("words", nargs="+", help="after --: a module of benchmarks and its arguments")
    options = parser.parse_args()
    sides: dict[Path, dict[Place, list[float]]] = {options.other: defaultdict(list), _HERE: defaultdict(list)}
    for _ in range(options.rounds):
        for checkout, side in sides.items():
            for place, value in run(checkout, options.words).items():
                side[place].append(value)
    before, after = sides.values()
    print(f"Machine: {machine()}; medians of {options.rounds}\n")
    print("| row | figure | before | after | after / before |\n| --- | --- | --- | --- | --- |")
    for place in [place for place in after if place in before]:
        old, new = (statistics.median(side[place]) for side in (before, after))
        print(f"| {place[0]} | {place[1]} | {old:g} | {new:g} | {new / old if old else 1:.2f} |")


if __name__ == "__main__":
    main()
