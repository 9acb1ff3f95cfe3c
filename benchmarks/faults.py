"""Kills the app at random points, restarts it, and checks that nothing was lost and nothing unfinished was accepted.

    python -m benchmarks.faults [--kills 60] [--seed 0]

Every round starts real processes on a workspace (the Streamlit server with a visitor, a scoring worker, commands that
edit, select, export, migrate and back up) and kills them with SIGKILL at a random point of their work: after a random
number of confirmed acts, of blocks on the disk, at a file half written, in a migration that was begun. The workspace is
opened again and looked through: every edit, selection and block that was confirmed is there, unchanged; at most the one
that was under way is there besides, whole; every export's file is whole, and `verify` passes none that was not; no
schema is half migrated. A pool that was killed at is scored to its end, and its matrix compared with one scored in one
go.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import duckdb
import numpy as np

from benchmarks.machine import machine
from benchmarks.sessions import ServerGone, Session, session_server
from delift_core.curation.curate import keep_selection, open_selection
from delift_core.curation.scoring_runs import open_run, refresh, run_here, start
from delift_core.curation.selector import Selector
from delift_core.data.loading import Dataset
from delift_core.errors import WorkspaceError
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.jobs.folder import JobFolder
from delift_core.maintenance.backup import backup, restore
from delift_core.maintenance.repair import check_workspace
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import Edit, RunSpec, Workspace, schema
from delift_core.workspace.workspace import DATABASE_NAME, utc_now
from tests.tiny_models import save_model

ROWS, MORE_ROWS = 12, 40
PATIENCE = 600.0
Outcome = tuple[bool, str]
"""Whether the kill met work under way, and what was found."""
SELECTION, OBJECTIVE = "s1", ObjectiveConfig("instruction")


class Lost(AssertionError):
    """Confirmed work is gone, or unfinished work was accepted as complete."""


@dataclass(frozen=True)
class Site:
    """The workspace under test: a finished run, a selection, and a larger pool to score."""

    folder: Path
    more_rows: int = MORE_ROWS

    @property
    def workspace(self) -> Path:
        """The workspace under test."""
        return self.folder / "work"

    @property
    def model(self) -> Path:
        """A tiny random model."""
        return self.folder / "model"

    def larger(self, workspace: Workspace, number: int) -> RunSpec:
        """A pool to score while processes are killed; a new one for each number."""
        pool = workspace.datasets.add(_dataset(f"larger{number}", self.more_rows, number), role="pool")
        return RunSpec(pool.id, None, None, str(self.model), "auto", "cpu", "float32")


def prepare(folder: Path, more_rows: int = MORE_ROWS) -> Site:
    """Makes a site in a folder; `more_rows` rows are scored while processes are killed."""
    site = Site(folder, more_rows)
    save_model(site.model)
    with Workspace.open(site.workspace) as workspace:
        pool = workspace.datasets.add(_dataset("small", ROWS), role="pool")
        spec = RunSpec(pool.id, None, None, str(site.model), "auto", "cpu", "float32")
        run = run_here(workspace, spec)
        selector = Selector(open_run(workspace, run.id))
        keep_selection(workspace, selector, SelectionRequest(OBJECTIVE, Budget("rows", 4)), name="first")
        ids = [sample.id for sample in selector.run.pool]
        for number in range(6):
            workspace.edits.apply(SELECTION, "keep", [ids[number]], author="before")
    return site


def _dataset(name: str, rows: int, number: int = 0) -> Dataset:
    records = []
    for row in range(1000 * number, 1000 * number + rows):
        prompt, response = f"Add {row} to {row + 1}.", f"{row} + {row + 1} = {2 * row + 1}"
        raw = json.dumps({"instruction": prompt, "input": "", "output": response})
        messages = (Message("user", prompt), Message("assistant", response))
        records.append(ParsedRecord(messages, raw, f"{name}.jsonl", len(records) + 1))
    return Dataset(name, "alpaca", None, with_ids(records))


# What the killed processes do: each line that they print says that something is confirmed.


def act_edit(folder: Path) -> None:
    """Edits until it is killed."""
    with Workspace.open(folder) as workspace:
        ids = [sample.id for sample in open_selection(workspace, SELECTION).samples]
        print("ready", flush=True)
        for count in range(1_000_000):
            action = ("keep", "drop", "reset")[count % 3]
            number = workspace.edits.apply(SELECTION, action, [ids[count % len(ids)]], author="act")  # type: ignore[arg-type]
            print(number, flush=True)


def act_select(folder: Path) -> None:
    """Selects and stores selections until it is killed."""
    with Workspace.open(folder) as workspace:
        selector = Selector(open_run(workspace, "r1"))
        print("ready", flush=True)
        for count in range(1_000_000):
            request = SelectionRequest(OBJECTIVE, Budget("rows", 1 + count % ROWS))
            print(keep_selection(workspace, selector, request, name=f"number {count}").id, flush=True)


def act_export(folder: Path) -> None:
    """Edits, and exports to the same file, until it is killed."""
    with Workspace.open(folder) as workspace:
        selector = Selector(open_run(workspace, "r1"))
        ids = [sample.id for sample in selector.run.pool]
        print("ready", flush=True)
        for count in range(1_000_000):
            workspace.edits.apply(SELECTION, "drop" if count % 2 else "keep", [ids[-1]], author="act")
            out = workspace.exports_folder / "out.jsonl"
            print(export_selection(workspace, SELECTION, out, selector=selector).output.sha256, flush=True)


def act_migrate(folder: Path) -> None:
    """Opens a workspace of the first version, and prints each migration that starts."""
    apply = schema._apply

    def told(connection: duckdb.DuckDBPyConnection, place: Path, migration: schema.Migration, now: datetime) -> None:
        print(migration.version, flush=True)
        apply(connection, place, migration, now)

    schema._apply = told
    print("ready", flush=True)
    Workspace.open(folder).close()
    print("opened", flush=True)


def act_backup(folder: Path) -> None:
    """Writes backups until it is killed."""
    print("ready", flush=True)
    for count in range(1_000_000):
        out = folder.parent / f"copy{count}.tar"
        backup(folder, out)
        print(out, flush=True)


ACTS = {"edit": act_edit, "select": act_select, "export": act_export, "migrate": act_migrate, "backup": act_backup}


class Victim:
    """A process that works until it is killed, and what it has confirmed."""

    def __init__(self, act: str, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.faults", "--act", act, str(folder)]
        self.met = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the victim
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self._errors.seek(0)
            raise Lost(f"{act} could not begin after a kill:\n{self._errors.read().decode()}")

    def kill_after(self, lines: int, seconds: float) -> list[str]:
        """Kills the process after a number of lines and some time, and returns its complete lines."""
        assert self._process.stdout is not None
        said = [line for _ in range(lines) if (line := self._process.stdout.readline())]
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.met = self._process.poll() is None
        self._process.kill()
        rest = self._process.communicate()[0]
        self._errors.close()
        return "".join([*said, rest]).split("\n")[:-1]


def kill_edit(site: Site, chance: random.Random) -> Outcome:
    """Kills a process that edits."""
    before = _history(site)
    victim = Victim("edit", site.workspace)
    confirmed = victim.kill_after(chance.randrange(60), chance.uniform(0.0, 0.05))
    after = _history(site)
    _same(after[: len(before)], before, "earlier edits")
    new = after[len(before) :]
    _same([str(edit.number) for edit in new][: len(confirmed)], confirmed, "confirmed edits")
    _at_most_one_more(len(new), len(confirmed), "edits")
    return victim.met, f"{len(confirmed)} edits confirmed"


def kill_select(site: Site, chance: random.Random) -> Outcome:
    """Kills a process that selects."""
    with Workspace.open(site.workspace) as workspace:
        before = [summary.id for summary in workspace.selections.records()]
    victim = Victim("select", site.workspace)
    confirmed = victim.kill_after(chance.randrange(6), chance.uniform(0.0, 0.3))
    with Workspace.open(site.workspace) as workspace:
        new = [summary.id for summary in workspace.selections.records() if summary.id not in before]
        _same(sorted(set(confirmed) - set(new)), [], "confirmed selections")
        _at_most_one_more(len(new), len(confirmed), "selections")
        for name in new:
            record = workspace.selections.load(name)
            _same(len(record.selection.chosen), int(record.selection.budget.amount), f"rows of {name}")
            workspace.selections.delete(name)
    return victim.met, f"{len(confirmed)} selections confirmed"


def kill_export(site: Site, chance: random.Random) -> Outcome:
    """Kills a process that exports."""
    victim = Victim("export", site.workspace)
    confirmed = victim.kill_after(chance.randrange(8), chance.uniform(0.0, 0.1))
    out = site.workspace / "exports" / "out.jsonl"
    if not out.exists():
        _same(confirmed, [], "confirmed exports")
        return victim.met, "0 exports confirmed"
    rows = [json.loads(line) for line in out.read_bytes().decode().splitlines()]
    if not rows or not out.read_bytes().endswith(b"\n"):
        raise Lost("the exported file is cut short")
    manifest = out.with_name("out.manifest.json")
    passed = manifest.exists() and all(check.ok for check in verify(manifest))
    if passed:
        _same(len(rows), json.loads(manifest.read_text())["output"]["rows"], "rows of a file that verifies")
    words = "verifies" if passed else "is told from its manifest"
    return victim.met, f"{len(confirmed)} exports confirmed, the last {words}"


def kill_migrate(site: Site, chance: random.Random) -> Outcome:
    """Kills a process that migrates a workspace of the first version."""
    folder = site.folder / "old"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with duckdb.connect(str(folder / DATABASE_NAME)) as connection:
        schema.migrate(connection, folder, utc_now().replace(tzinfo=None), schema.MIGRATIONS[:1])
        connection.execute("INSERT INTO settings SELECT 'key' || i, repeat('x', 500) FROM range(2000) AS t(i)")
    victim = Victim("migrate", folder)
    said = victim.kill_after(chance.randint(1, len(schema.MIGRATIONS) - 1), chance.uniform(0.0, 0.008))
    with duckdb.connect(str(folder / DATABASE_NAME)) as connection:
        reached = schema.current_version(connection)
    begun = [int(line) for line in said if line.isdigit()]
    if begun and reached not in (begun[-1], begun[-1] - 1):
        raise Lost(f"version {reached} after the beginning of {begun[-1]}")
    with Workspace.open(folder) as workspace:
        _same(workspace.settings.get("key1999"), "x" * 500, "a row from before the migration")
        broken = [check.label for check in check_workspace(workspace) if not check.ok]
        _same(broken, [], "checks after the migration")
    met = victim.met and "opened" not in said
    words = "it was kept" if begun and reached == begun[-1] else "it was undone"
    return met, f"version {begun[-1] if begun else 1} was begun, {words}"


def kill_backup(site: Site, chance: random.Random) -> Outcome:
    """Kills a process that writes a backup."""
    for old in site.folder.glob("copy*.tar"):
        old.unlink()
    victim = Victim("backup", site.workspace)
    confirmed = victim.kill_after(chance.randrange(4), chance.uniform(0.0, 0.15))
    found = sorted(str(path) for path in site.folder.glob("copy*.tar"))
    _same(sorted(set(confirmed) - set(found)), [], "confirmed backups")
    for number, name in enumerate(found[-2:]):
        folder = site.folder / f"restored{number}"
        restore(Path(name), folder)
        shutil.rmtree(folder)
    return victim.met, f"{len(confirmed)} backups confirmed"


def kill_score(site: Site, chance: random.Random) -> Outcome:
    """Kills a scoring worker at some stage; its finished blocks must exist, and the rest is then scored."""
    number, had = chance.randrange(1, 1_000_000), _blocks(site)
    stage, enough = chance.choice(["loading", "pairs", "pairs", "half"]), chance.randrange(1, site.more_rows)
    with Workspace.open(site.workspace) as workspace:
        run = start(workspace, site.larger(workspace, number), mode="score")
    job = JobFolder(site.workspace / "jobs" / run.id)
    try:
        _wait_for(job, lambda: _reached(site, job, stage, had + enough))
    finally:
        met = _kill_worker(job)
    words = f"killed at {stage} with {_blocks(site) - had} blocks; {_check_blocks(site, run.id)}"
    return met, f"{words}; {finish(site, number):,} pairs identical"


def kill_server(site: Site, chance: random.Random) -> Outcome:
    """Kills the server while a visitor undoes and redoes, and a worker."""
    before = _history(site)
    undone = sum(edit.state == "undone" for edit in before)
    number, had = chance.randrange(1, 1_000_000), _blocks(site)
    with Workspace.open(site.workspace) as workspace:
        run = start(workspace, site.larger(workspace, number), mode="score")
    job = JobFolder(site.workspace / "jobs" / run.id)
    presses, moved = chance.randrange(1, 5), 0
    try:
        with session_server(site.workspace, site.folder / "server.log") as (address, process):
            visitor = Session(address)
            visitor.open("curate", run="r1", selection=SELECTION)
            with suppress(ServerGone):
                while process.poll() is None:
                    if moved == presses:  # in the middle of the next one
                        wait = chance.uniform(0.0, 0.3)
                        subprocess.Popen(["/bin/sh", "-c", f"sleep {wait:.3f}; kill -9 {process.pid}"])
                    visitor.press("Redo" if (undone + moved) % 2 else "Undo")
                    moved += 1
            process.wait()
    finally:
        met = _kill_worker(job)
    after = _history(site)
    _same([edit.number for edit in after], [edit.number for edit in before], "edits")
    now = sum(edit.state == "undone" for edit in after)
    allowed = {(undone + moved) % 2, (undone + moved + 1) % 2}  # the press under way may count or not
    if undone > 1 or now not in allowed:
        raise Lost(f"{now} edits are undone after {moved} presses from {undone}")
    with Workspace.open(site.workspace) as workspace:
        while workspace.edits.redo(SELECTION):
            pass
    words = f"the worker beside it {'was at work' if met else 'had ended'} with {_blocks(site) - had} blocks"
    words += f"; {_check_blocks(site, run.id)}; {finish(site, number):,} pairs identical"
    return True, f"{moved} presses confirmed; {words}"


def _blocks(site: Site) -> int:
    return sum(1 for _ in (site.workspace / "utility").glob("*/pairs/[!.]*.npy"))


def _reached(site: Site, job: JobFolder, stage: str, blocks: int) -> bool:
    """Whether a worker has reached a stage: the model loads, a number of blocks exist, or one more is being written."""
    if stage == "loading":
        return job.status().progress.phase == "loading"
    if _blocks(site) < blocks:
        return False
    return stage == "pairs" or any((site.workspace / "utility").glob("*/pairs/.*"))


def _wait_for(job: JobFolder, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached() and job.status().alive:
        if time.monotonic() > deadline:
            raise Lost("a worker does not get on")
        time.sleep(0.001)


KINDS: dict[str, Callable[[Site, random.Random], Outcome]] = {
    "edit": kill_edit,
    "select": kill_select,
    "export": kill_export,
    "migrate": kill_migrate,
    "backup": kill_backup,
    "score": kill_score,
    "server": kill_server,
}


def finish(site: Site, number: int) -> int:
    """Finishes scoring an interrupted pool, and compares its matrix; returns the number of pairs.

    Raises:
        Lost: the matrix differs from one scored in one go.
    """
    matrices = []
    for folder in (site.workspace, site.folder / "whole"):
        with Workspace.open(folder) as workspace:
            run = run_here(workspace, site.larger(workspace, number))
            matrices.append(open_run(workspace, run.id).utilities("euclidean").pool)
    killed, whole = matrices
    if not np.array_equal(killed, whole, equal_nan=True):
        raise Lost(f"the matrix differs by up to {np.nanmax(np.abs(killed - whole)):.1e}")
    return int(killed.size)


def _kill_worker(job: JobFolder) -> bool:
    """Kills a worker, and returns whether it was running."""
    before = job.status()
    pid = int(json.loads((job.folder / "worker.json").read_text())["pid"])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while job.status().alive:
        time.sleep(0.02)
    return before.active and job.status().state == "interrupted"


def _check_blocks(site: Site, run_id: str) -> str:
    """Checks that all blocks are complete, and that they stay unchanged."""
    with Workspace.open(site.workspace) as workspace:
        record, status = refresh(workspace, run_id)
        if record.status not in ("interrupted", "done"):
            raise Lost(f"run {run_id} is {record.status} with its worker killed")
        broken = [f"{check.label}: {check.detail}" for check in check_workspace(workspace) if not check.ok]
        _same([words for words in broken if not words.startswith("Leftovers")], [], "checks")
        found = _blocks(site)
    return f"{found} blocks whole, run {record.status} at {status.progress.done} pairs"


def _history(site: Site) -> tuple[Edit, ...]:
    with Workspace.open(site.workspace) as workspace:
        return workspace.edits.history(SELECTION)


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Lost(f"{what}: found {str(found)[:200]}, not {str(wanted)[:200]}")


def _at_most_one_more(found: int, confirmed: int, what: str) -> None:
    if not confirmed <= found <= confirmed + 1:
        raise Lost(f"{found} {what} where {confirmed} were confirmed")


def main() -> None:
    """Prints a line for each kill, and the number of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--act", nargs=2, metavar=("ACT", "WORKSPACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.act:
        ACTS[options.act[0]](Path(options.act[1]))
        return
    chance, counts, under_way, lost = random.Random(options.seed), Counter[str](), Counter[str](), 0
    print(f"Machine: {machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        site = prepare(Path(name))
        for number in range(options.kills):
            kind = list(KINDS)[number % len(KINDS)]
            try:
                met, words = KINDS[kind](site, chance)
                under_way[kind] += met
                print(f"{number + 1:3} {kind:8} {'met' if met else 'late':4} {words}", flush=True)
            except (Lost, WorkspaceError) as error:
                lost += 1
                print(f"{number + 1:3} {kind:8} LOST: {error}", flush=True)
            counts[kind] += 1
    kinds = ", ".join(f"{kind} {under_way[kind]} of {count}" for kind, count in counts.items())
    print(
        f"\n{sum(counts.values())} kills, {sum(under_way.values())} of them met work under way ({kinds}); {lost} lost"
    )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
