"""`inspect` and `convert`: what a file holds, and the same in another format. No model is needed."""

import argparse
from collections import Counter
from dataclasses import asdict

from delift_core.cli.inputs import (
    load_source,
    note_losses,
    problem_classes,
    problem_documents,
    problem_lines,
    tidying_of,
)
from delift_core.cli.naming import named_path
from delift_core.cli.terminal import Output
from delift_core.export.containers import write_rows
from delift_core.export.writers import ensure_writable, render_lines


def inspect(arguments: argparse.Namespace) -> int:
    """Prints rows, format, repeats, problems by class, and what to look at: health, copies, rows of another set."""
    from delift_core.cli.look import look_at  # with numpy and word vectors, which `convert` does without

    dataset = load_source(arguments.file, arguments.map, arguments.answer, tidying=tidying_of(arguments)).dataset
    classes = problem_classes(dataset.problems)
    turns = Counter(len(sample.messages) for sample in dataset.samples)
    repeats = len(dataset) - len({sample.content_hash for sample in dataset.samples})
    columns = dataset.mapping
    mapped = f" (prompt from {columns.prompt!r}, response from {columns.response!r})" if columns else ""
    look = look_at(dataset, arguments.near, arguments.against)
    lines = [
        f"{arguments.file}: {len(dataset):,} rows in {dataset.format} format{mapped}, "
        f"{len(dataset.problems):,} records left out",
        *problem_lines(classes),
        f"repeats: {repeats:,} rows have the same conversation as an earlier one",
        f"turns: {', '.join(f'{count:,} rows of {length}' for length, count in sorted(turns.items())[:8])}",
        *look.lines(),
    ]
    document = {
        "file": arguments.file,
        "format": dataset.format,
        "mapping": asdict(columns) if columns else None,
        "rows": len(dataset),
        "left_out": len(dataset.problems),
        "problems": problem_documents(classes),
        "repeats": repeats,
        "turns": {str(length): count for length, count in sorted(turns.items())},
        "content_hash": dataset.content_hash,
        **look.document(),
    }
    Output(arguments.json).show(lines, document)
    return 0


def convert(arguments: argparse.Namespace) -> int:
    """Loads a file and writes all its rows."""
    path = named_path(arguments.file)
    ensure_writable(arguments.out, [path] if path else [])
    dataset = load_source(arguments.file, arguments.map, arguments.answer, tidying=tidying_of(arguments)).dataset
    classes = problem_classes(dataset.problems)
    lost = note_losses(dataset.samples, arguments.format)
    digest, rows = write_rows(
        arguments.out, render_lines(dataset.samples, arguments.format), formulas=arguments.formulas
    )
    lines = [
        f"{arguments.out}: {rows:,} rows written as {arguments.format} (read as {dataset.format}), "
        f"{len(dataset.problems):,} records left out",
        *problem_lines(classes),
    ]
    document = {
        "out": str(arguments.out),
        "format": arguments.format,
        "source_format": dataset.format,
        "rows": rows,
        "left_out": len(dataset.problems),
        "problems": problem_documents(classes),
        "losses": [{"kind": loss.kind, "rows": loss.rows, "first_line": loss.first.line} for loss in lost],
        "sha256": digest,
    }
    Output(arguments.json).show(lines, document)
    return 0
