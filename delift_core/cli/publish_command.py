"""`publish`: an exported file as a folder for `datasets`, or as a data set on the hub."""

import argparse
import os

from delift_core.access import local_user
from delift_core.cli.terminal import Output, UsageError
from delift_core.export.publish import push_to_hub, save_to_disk

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105  # a name, not a token


def publish(arguments: argparse.Namespace) -> int:
    """Writes the folder, uploads, or both."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if arguments.hub and not token:
        raise UsageError(f"--hub needs a token with the right to write; set it as {TOKEN_VARIABLE}")
    lines: list[str] = []
    document: dict[str, object] = {"file": str(arguments.file)}
    if arguments.folder is not None:
        rows = save_to_disk(arguments.file, arguments.folder, actor=local_user())
        lines.append(f"{arguments.folder}: {rows:,} rows for datasets.load_from_disk")
        document |= {"folder": str(arguments.folder), "rows": rows}
    if arguments.hub:
        address = push_to_hub(arguments.file, arguments.hub, token, actor=local_user(), private=not arguments.public)
        lines.append(f"{arguments.hub}: uploaded with manifest and card, {address}")
        document |= {"hub": arguments.hub, "commit": address}
    Output(arguments.json).show(lines, document)
    return 0
