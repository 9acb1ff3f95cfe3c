"""How long the pages take to answer a click, with and without a running scoring job.

    python -m benchmarks.page_latency [FILE] [--rounds 5] [--dtype float32] [--runs 1]

A workspace gets the sample project, scored, and a selection. Then a visitor in Chromium walks through the pages, first
in quiet, then, where a FILE is given, while a worker scores it with the bundled model on every core. A click is
answered when the page's script has run to its end. Polls of the progress line count too, so the figures with a job are
no better than true. `--runs` adds finished runs, as a workspace in long use has.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.machine import machine
from benchmarks.served import answer_seconds, served, visitor
from delift_core.curation.scoring_runs import start
from delift_core.data import sample_project_files
from delift_core.data.loading import load_file
from delift_core.jobs.folder import JobFolder
from delift_core.models.devices import DtypeName
from delift_core.models.model_files import BUNDLED
from delift_core.scoring.pair_spec import PairBudget
from delift_core.workspace import RunSpec, Workspace

_RUN = "r1"  # the sample project's; the job's own run has nothing to show yet
_PAGES = ("Data", "Score", "Select", "Explore", "Curate", "Compare", "Export", "Home")


def prepare(folder: Path, dtype: DtypeName, runs: int) -> None:
    """The sample pool, scored, with a selection of 30 %; further runs are copies of the first with other settings."""
    command = [
        sys.executable,
        "-m",
        "delift_core",
        "curate",
        str(sample_project_files().pool),
        "--stage",
        "instruction",
    ]
    command += ["--budget", "30%", "--out", str(folder / "out.jsonl"), "--workspace", str(folder / "workspace")]
    subprocess.run([*command, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Workspace.open(folder / "workspace") as workspace:
        first = workspace.runs.record(_RUN)
        for number in range(1, runs):
            run = workspace.runs.add(replace(first.spec, pairs=PairBudget("per-row", number)))
            shutil.copytree(workspace.jobs_folder / first.id, workspace.jobs_folder / run.id)
            done = replace(run, status="done", context_key=first.context_key, n_pairs=first.n_pairs)
            workspace.runs.update(done)


def begin_job(folder: Path, file: Path, dtype: DtypeName) -> JobFolder:
    """Starts a worker on every pair of a file, as the Score page does."""
    with Workspace.open(folder / "workspace") as workspace:
        pool = workspace.datasets.add(load_file(file), role="pool")
        run = start(workspace, RunSpec(pool.id, None, None, BUNDLED, "auto", "cpu", dtype), mode="score")
        return JobFolder(workspace.jobs_folder / run.id)


class Walk:
    """Clicks of a visitor, with the seconds until each was answered, by kind."""

    def __init__(self, page: Page) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._page = page

    def once(self) -> None:
        """Visits every page, with some typical actions."""
        for name in _PAGES:
            self._timed(f"to {name}", self._page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click)
            if name == "Select":
                self._move_the_budget()
            elif name == "Curate":
                self._look_for_rows()

    def _move_the_budget(self) -> None:
        slider = self._page.get_by_role("slider").first
        for key in ("ArrowRight", "ArrowLeft"):
            self._timed("Select: budget", partial(slider.press, key))

    def _look_for_rows(self) -> None:
        for kind in ("Not in subset", "All"):
            self._timed("Curate: state", self._page.get_by_role("radio", name=kind).click)
        for text in ("the", ""):
            self._timed("Curate: search", partial(self._search, text))

    def _search(self, text: str) -> None:
        box = self._page.get_by_role("searchbox", name="Search")
        box.fill(text)
        box.press("Enter")

    def _timed(self, kind: str, act: Callable[[], object]) -> None:
        self.seconds[kind].append(answer_seconds(self._page, act))


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every click, by kind, after one round that warms the caches."""
    with served(folder / "workspace", folder / "server.log") as (address, _), visitor(f"{address}/?run={_RUN}") as page:
        Walk(page).once()
        walk = Walk(page)
        for _ in range(rounds):
            walk.once()
    return walk.seconds


def main() -> None:
    """Prints the table: a row for each click, without and with a job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    print(f"Machine: {machine()}; bundled, {options.dtype}, {options.runs:,} runs\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.dtype, options.runs)
        columns = {"quiet": measure(folder, options.rounds)}
        if options.file is not None:
            columns["with a job"], pairs = beside_a_job(folder, options.file, options.dtype, options.rounds)
            print(f"The job scored {pairs:,} pairs of {options.file.name} meanwhile.\n")
    heads = "".join(f" {state}, median s | slowest |" for state in columns)
    print(f"| click | n |{heads}\n| --- | --- |{' --- | --- |' * len(columns)}")
    for times in columns.values():
        times["every click"] = [one for kind in times.values() for one in kind]
    for kind, quiet in columns["quiet"].items():
        cells = (f"{statistics.median(times[kind]):.2f} | {max(times[kind]):.2f}" for times in columns.values())
        print(f"| {kind} | {len(quiet)} | {' | '.join(cells)} |")


def beside_a_job(folder: Path, file: Path, dtype: DtypeName, rounds: int) -> tuple[dict[str, list[float]], int]:
    """As `measure`, while a file is scored; with the number of pairs that were."""
    job = begin_job(folder, file, dtype)
    busy = measure(folder, rounds)
    if not job.status().active:
        raise SystemExit("The job ended before the last click: take a larger file.")
    pairs = job.status().progress.done
    job.cancel()
    while job.status().active:
        pass
    return busy, pairs


if __name__ == "__main__":
    main()
