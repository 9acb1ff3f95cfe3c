"""Twenty curators on one server while a job scores: errors, latencies, and whether the server's memory stays flat.

    python -m benchmarks.load [--sessions 20] [--minutes 5] [--pause 10] [--quick]

Each visitor is a session of the real server, driven through Streamlit's agent API: the scripts, caches, locks and
database are those of a browser's session, and what a browser draws is left out (twenty Chromiums need more than two
cores). They go the curator's way over and over, each with a selection of its own: Home, Data, Select, Explore, Curate,
a row in full, drop it, undo, Compare, Export, with a pause of 0.5 to 1.5 times `--pause` seconds after each step, as
people read. Beside them a worker scores a pool with the bundled model on every core (`--quick`: a tiny one). A step is
answered when its script has run to its end and the page has been sent.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from benchmarks.machine import machine
from benchmarks.sessions import PageError, ServerGone, Session, session_server
from delift_core.curation.curate import keep_selection, open_selection
from delift_core.curation.scoring_runs import open_run, run_here, start
from delift_core.curation.selector import Selector
from delift_core.data import sample_project_files
from delift_core.data.loading import Dataset, load_file
from delift_core.jobs.folder import JobFolder
from delift_core.models.model_files import BUNDLED
from delift_core.samples import ParsedRecord, with_ids
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import RunSpec, Workspace
from tests.tiny_models import save_model

ROWS, JOB_ROWS = 60, 400
SAMPLE_SECONDS = 5.0


def pool(rows: int, name: str) -> Dataset:
    """Rows of the sample project, repeated with a number before each."""
    samples = load_file(sample_project_files().pool).samples
    records = []
    for row in range(rows):
        user, *rest = samples[row % len(samples)].messages
        words = (type(user)(user.role, f"{name} {row}: {user.content}"), *rest)
        records.append(ParsedRecord(words, f'{{"row": {row}}}', f"{name}.jsonl", row + 1))
    return Dataset(name, "alpaca", None, with_ids(records))


def prepare(folder: Path, sessions: int, job_model: str) -> tuple[Path, Path, str]:
    """Makes a workspace with a scored pool, a selection per visitor, and a running job; returns the id of a row."""
    model, work = save_model(folder / "model"), folder / "workspace"
    with Workspace.open(work) as workspace:
        first = workspace.datasets.add(pool(ROWS, "pool"), role="pool")
        spec = RunSpec(first.id, None, None, str(model), "auto", "cpu", "float32")
        run = run_here(workspace, spec)
        selector = Selector(open_run(workspace, run.id))
        for number in range(sessions):
            keep_selection(
                workspace,
                selector,
                SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 20 + number)),
                name=f"visitor {number}",
            )
        row = open_selection(workspace, "s1").samples[7].id
        second = workspace.datasets.add(pool(JOB_ROWS, "job"), role="pool")
        job = start(workspace, RunSpec(second.id, None, None, job_model, "auto", "cpu", "float32"), mode="score")
        return work, workspace.jobs_folder / job.id, row


class Visitor(threading.Thread):
    """A curator who uses the app until a deadline."""

    def __init__(self, address: str, number: int, row: str, pause: float, until: float) -> None:
        super().__init__(daemon=True)
        self.steps: list[tuple[float, str, float]] = []
        self.errors: list[str] = []
        self._session = Session(address)
        self._at = {"run": "r1", "selection": f"s{number + 1}"}
        self._row, self._pause, self._until = row, pause, until
        self._chance = random.Random(number)

    def run(self) -> None:
        """Repeats the curator's steps."""
        time.sleep(self._chance.uniform(0.0, self._pause))
        while time.monotonic() < self._until:
            for name, act in self._way():
                if time.monotonic() >= self._until:
                    return
                self._step(name, act)

    def _way(self) -> list[tuple[str, Callable[[], None]]]:
        go = self._session.open
        pages = ["", "data", "select", "explore", "curate"]
        way: list[tuple[str, Callable[[], None]]]
        way = [(f"to {name or 'home'}", partial(go, name, **self._at)) for name in pages]
        way.append(("a row in full", partial(go, "curate", row=self._row, **self._at)))
        press = self._session.trigger
        way += [("drop", partial(press, "drawer_drop")), ("undo", partial(press, "drawer_undo"))]
        return [*way, *((f"to {name}", partial(go, name, **self._at)) for name in ("compare", "export"))]

    def _step(self, name: str, act: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            act()
        except (PageError, ServerGone, KeyError) as error:
            self.errors.append(f"{name}: {type(error).__name__} {error}"[:300])
        self.steps.append((began, name, time.monotonic() - began))
        time.sleep(self._pause * self._chance.uniform(0.5, 1.5))


def watch(process: psutil.Process, until: float) -> list[tuple[float, int]]:
    """Samples the server's memory: (time, resident bytes)."""
    found = []
    while time.monotonic() < until:
        found.append((time.monotonic(), process.memory_info().rss))
        time.sleep(SAMPLE_SECONDS)
    return found


def report(visitors: list[Visitor], memory: list[tuple[float, int]], began: float) -> None:
    """Prints latencies by step, and memory by minute."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for visitor in visitors:
        for _, name, taken in visitor.steps:
            seconds[name].append(taken)
    seconds["every step"] = [taken for visitor in visitors for _, _, taken in visitor.steps]
    print("| step | n | median, s | p95, s | slowest, s |\n| --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        p95 = float(np.percentile(times, 95))
        print(f"| {name} | {len(times)} | {statistics.median(times):.2f} | {p95:.2f} | {max(times):.2f} |")
    by_minute: dict[int, list[int]] = defaultdict(list)
    for when, size in memory:
        by_minute[int((when - began) // 60)].append(size)
    told = ", ".join(f"{statistics.mean(sizes) / (1 << 20):,.0f}" for _, sizes in sorted(by_minute.items()))
    print(f"\nThe server's memory, MiB, mean of each minute: {told}; most {max(size for _, size in memory) >> 20:,}.")


def main() -> None:
    """Prints both tables; the exit code is 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(f"Machine: {machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job_model = str(save_model(folder / "job", seed=1)) if options.quick else BUNDLED
        work, job_folder, row = prepare(folder, options.sessions, job_model)
        with session_server(work, folder / "server.log") as (address, process):
            began = time.monotonic()
            until = began + 60 * options.minutes
            visitors = [Visitor(address, number, row, options.pause, until) for number in range(options.sessions)]
            for visitor in visitors:
                visitor.start()
            memory = watch(psutil.Process(process.pid), until)
            for visitor in visitors:
                visitor.join()
            alive = process.poll() is None
        job = JobFolder(job_folder)
        at_work, pairs = job.status().active, job.status().progress.done
        job.cancel()
        while job.status().alive:
            time.sleep(0.1)
    report(visitors, memory, began)
    errors = [error for visitor in visitors for error in visitor.errors]
    words = f"{len(errors)} errors; the server {'went on' if alive else 'died'}"
    print(f"{words}; the job was {'at work' if at_work else 'over'} at the end, with {pairs:,} pairs scored.")
    print("\n".join(errors[:10]))
    sys.exit(1 if errors or not alive else 0)


if __name__ == "__main__":
    main()
