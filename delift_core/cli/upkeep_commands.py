"""`gc` and `doctor`: the workspace's and the machine's health."""

import argparse
from dataclasses import asdict

from delift_core.cli.terminal import Output
from delift_core.maintenance import collect_garbage
from delift_core.maintenance import doctor as examine
from delift_core.workspace import Workspace


def gc(arguments: argparse.Namespace) -> int:
    """Removes what nothing in the workspace refers to."""
    with Workspace.open(arguments.workspace) as workspace:
        found = collect_garbage(workspace, dry_run=arguments.dry_run)
        folder = workspace.folder
    size = sum(item.size for item in found)
    verb = "would remove" if arguments.dry_run else "removed"
    lines = [f"{verb} {item.path} ({_amount(item.size)}): {item.why}" for item in found]
    lines.append(f"{verb} {len(found):,} files and folders, {_amount(size)}, from {folder}")
    document = {
        "workspace": str(folder),
        "dry_run": arguments.dry_run,
        "bytes": size,
        "removed": [{"path": str(item.path), "bytes": item.size, "why": item.why} for item in found],
    }
    Output(arguments.json).show(lines, document)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Checks Python, packages, model, workspace, disk and memory; 1 when something needed is broken."""
    found = examine(arguments.workspace)
    ok = all(check.ok for check in found)
    document = {"ok": ok, "checks": [asdict(check) for check in found]}
    Output(arguments.json).show((str(check) for check in found), document)
    return 0 if ok else 1


def _amount(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB" if size >= 1 << 20 else f"{size:,} bytes"
