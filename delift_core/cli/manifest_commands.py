"""`explain`, `verify` and `evaluate`: what a manifest has to say. No workspace is needed, but for utilities."""

import argparse
import os
from dataclasses import asdict

from delift_core.cli.job_progress import stops_gently
from delift_core.cli.terminal import Output, UsageError, note
from delift_core.curation.manifest import Manifest, RowEntry, read_manifest
from delift_core.errors import DataError, ExportError
from delift_core.export.publish import push_to_hub, save_to_disk
from delift_core.export.verify import verify as verify_files
from delift_core.samples import Sample
from delift_core.system.access import local_user
from delift_core.system.callbacks import new_messages

_SHOWN_CHARACTERS = 600


def explain(arguments: argparse.Namespace) -> int:
    """Prints why a row was chosen or left out, and the texts of the rows that the reason names."""
    manifest = read_manifest(arguments.manifest)
    row = _find_row(manifest, arguments.row)
    texts: dict[str, Sample] = {}
    missing: list[str] = []
    try:
        texts = {sample.id: sample for sample in manifest.pool.load(arguments.manifest).samples}
    except DataError as error:
        missing.append(f"(no texts are shown: {error})")
    by_id = {entry.id: entry for entry in manifest.rows}
    shown = [row, *(by_id[name] for name in row.named if name in by_id)]
    place = f", pick {row.rank} of {sum(entry.rank is not None for entry in manifest.rows)}" if row.rank else ""
    lines = [f"line {row.line} of {row.source} (id {row.id}): {row.status}{place}", row.reason, *missing]
    for entry in shown:
        lines.extend(_text_lines(entry, texts.get(entry.id)))
    document = asdict(row) | {"texts": [_text_document(entry, texts.get(entry.id)) for entry in shown]}
    Output(arguments.json).show(lines, document)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Checks the written files; 1 when a check fails."""
    found = verify_files(arguments.manifest)
    ok = all(check.ok for check in found)
    document = {"ok": ok, "checks": [asdict(check) for check in found]}
    Output(arguments.json).show((str(check) for check in found), document)
    return 0 if ok else 1


def evaluate(arguments: argparse.Namespace) -> int:
    """Fine-tunes on the subset and on others, and measures the loss on held-out rows."""
    from delift_core import api

    against = tuple(name.strip() for name in arguments.against.split(",") if name.strip())
    with stops_gently() as stop:
        options = api.EvaluationOptions(
            tuning=api.FineTuning(epochs=arguments.epochs, weights=arguments.tuning),
            examples=arguments.examples,
            answers=arguments.answers,
            device=arguments.device,
            cache=arguments.keep,
            adapter=arguments.save_adapter,
            workspace=arguments.workspace,
            stop=stop,
        )
        report = api.evaluate(
            arguments.manifest,
            arguments.heldout,
            against=against,
            seeds=arguments.seeds,
            progress=new_messages(note),
            options=options,
        )
    Output(arguments.json).show(report.lines(), report.as_json())
    return 0


def _find_row(manifest: Manifest, name: str) -> RowEntry:
    """The row with this id, else the one at this line."""
    by_id = [row for row in manifest.rows if row.id == name]
    found = by_id or [row for row in manifest.rows if name.isascii() and name.isdigit() and row.line == int(name[:18])]
    if not found:
        first, last = manifest.rows[0], manifest.rows[-1]
        raise ExportError(
            f"no pool row has the id or the line {name!r}; lines go from {first.line} to {last.line}, "
            f"an id looks like {first.id}"
        )
    if len(found) > 1:
        ids = ", ".join(row.id for row in found[:5])
        raise ExportError(f"{len(found)} pool rows have the line number {name}; give the id of one: {ids}")
    return found[0]


def _text_lines(entry: RowEntry, sample: Sample | None) -> list[str]:
    if sample is None:
        return []
    return [
        f"line {entry.line} (id {entry.id}), {entry.status}",
        f"  prompt:   {_shortened(sample.prompt)}",
        f"  response: {_shortened(sample.response)}",
    ]


def _text_document(entry: RowEntry, sample: Sample | None) -> dict[str, object]:
    return {
        "id": entry.id,
        "line": entry.line,
        "status": entry.status,
        "prompt": sample.prompt if sample else None,
        "response": sample.response if sample else None,
    }


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105  # a name, not a token


def publish(arguments: argparse.Namespace) -> int:
    """Writes the folder, uploads, or both."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if arguments.hub and not token:
        raise UsageError(f"--hub needs an access token that may write; set it as {TOKEN_VARIABLE}")
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
