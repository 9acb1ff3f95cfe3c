"""`inspect` and `convert`: what a file holds, and the same in another format. No model is needed."""

import argparse
from collections import Counter
from dataclasses import asdict

from delift_core.cli.sources import (
    ensure_answer_matters,
    load_source,
    note_losses,
    problem_classes,
    problem_documents,
    problem_lines,
    tidying_of,
)
from delift_core.cli.terminal import Output
from delift_core.data.formats.base import name_list
from delift_core.data.loading import Fields, fields_of
from delift_core.export.containers import write_rows
from delift_core.export.shapes import describe_media
from delift_core.export.writers import render_lines
from delift_core.samples import ColumnMapping, Dataset


def inspect(arguments: argparse.Namespace) -> int:
    """Prints rows, format, repeats, problems by class, and what to look at: health, copies, rows of another set."""
    from delift_core.cli.inspect import inspect_rows  # with numpy and word vectors, which `convert` does without

    dataset = load_source(arguments.file, arguments.map, arguments.answer, tidying=tidying_of(arguments))
    ensure_answer_matters(arguments.answer, dataset)
    classes = problem_classes(dataset.problems)
    turns = Counter(len(sample.messages) for sample in dataset.samples)
    repeats = len(dataset) - len({sample.content_hash for sample in dataset.samples})
    columns = dataset.mapping
    mapped = f" (prompt from {_joined(columns)}, response from {columns.response!r})" if columns else ""
    fields = fields_of(dataset, by_hand=arguments.map is not None)
    look = inspect_rows(dataset, arguments.near, arguments.against)
    media = describe_media(dataset.samples)
    lines = [
        f"{arguments.file}: {len(dataset):,} rows in {dataset.format} format{mapped}, "
        f"{dataset.records_left_out:,} records left out",
        *_file_lines(dataset),
        *problem_lines(classes),
        *([f"images and the like: {media}"] if media else []),
        f"repeats: {repeats:,} rows have the same conversation as an earlier one",
        f"turns: {', '.join(f'{count:,} rows of {length}' for length, count in sorted(turns.items())[:8])}",
        *_field_lines(fields),
        *look.lines(),
    ]
    document = {
        "file": arguments.file,
        "format": dataset.format,
        "mapping": asdict(columns) if columns else None,
        "rows": len(dataset),
        "left_out": dataset.records_left_out,
        "files": [{"file": name, "rows": rows, "left_out": left} for name, rows, left in _by_file(dataset)],
        "not_read": [
            {"file": one.source, "reason": one.message, "remedy": one.remedy} for one in dataset.files_not_read
        ],
        "problems": problem_documents(classes),
        "media": media or None,
        "repeats": repeats,
        "turns": {str(length): count for length, count in sorted(turns.items())},
        "content_hash": dataset.content_hash,
        "prompt_columns": list(fields.prompt),
        "marks": list(fields.labels),
        "unread_columns": list(fields.unread),
        **look.document(),
    }
    Output(arguments.json).show(lines, document)
    return 0


def _by_file(dataset: Dataset) -> list[tuple[str, int, int]]:
    """(name, rows, records left out) of each file that was read, by name."""
    rows = Counter(sample.source for sample in dataset.samples)
    left = Counter(problem.source for problem in dataset.problems if problem.kind != "file-not-read")
    return [(name, rows[name], left[name]) for name in sorted({*rows, *left})]


def _file_lines(dataset: Dataset) -> list[str]:
    """Rows by file for a folder; what was not read of it is said when it is loaded."""
    files = _by_file(dataset)
    if len(files) < 2 and not dataset.files_not_read:
        return []
    return [f"  file {name}: {rows:,} rows" + (f", {left:,} left out" if left else "") for name, rows, left in files]


def _joined(columns: ColumnMapping) -> str:
    return " + ".join(map(repr, (columns.prompt, *columns.parts)))


def _field_lines(fields: Fields) -> list[str]:
    """What was read from which fields, where that is not plain from the format."""
    lines = []
    if len(fields.prompt) > 1:
        lines.append(f"prompt: joined from {name_list(fields.prompt)}, in this order")
    if fields.labels:
        lines.append(f"marks: {name_list(fields.labels)} says which answers are good")
    if fields.unread:
        lines.append(f"not read: {name_list(fields.unread)} (kept in the record, no part of the conversation)")
    return lines


def convert(arguments: argparse.Namespace) -> int:
    """Loads a file and writes all its rows."""
    dataset = load_source(arguments.file, arguments.map, arguments.answer, tidying=tidying_of(arguments))
    ensure_answer_matters(arguments.answer, dataset)
    classes = problem_classes(dataset.problems)
    lost = note_losses(dataset.samples, arguments.format, arguments.out)
    written = write_rows(arguments.out, render_lines(dataset.samples, arguments.format), formulas=arguments.formulas)
    lines = [
        f"{arguments.out}: {written.rows:,} rows written as {arguments.format} (read as {dataset.format}), "
        f"{dataset.records_left_out:,} records left out",
        *problem_lines(classes),
    ]
    document = {
        "out": str(arguments.out),
        "format": arguments.format,
        "source_format": dataset.format,
        "rows": written.rows,
        "left_out": dataset.records_left_out,
        "problems": problem_documents(classes),
        "losses": [{"kind": loss.kind, "rows": loss.rows, "first_line": loss.first.line} for loss in lost],
        "json_columns": list(written.json_columns),
        "sha256": written.sha256,
    }
    Output(arguments.json).show(lines, document)
    return 0
