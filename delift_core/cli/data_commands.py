"""`inspect` and `convert`: what a file holds, and the same in another format. No model is needed."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

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
from delift_core.data.loading import Dataset, Fields, fields_of
from delift_core.data.quality.checks import Finding, HealthReport, find_issues
from delift_core.data.quality.cleaning import FIX_TITLES, suggested_fix
from delift_core.data.quality.duplicates import (
    MIN_SIMILARITY,
    CopyGroup,
    CopyKind,
    Overlap,
    copied_positions,
    copy_groups,
    overlaps,
    semantic_groups,
    semantic_overlaps,
)
from delift_core.errors import DataError
from delift_core.export.containers import write_rows
from delift_core.export.shapes import describe_media
from delift_core.export.writers import render_lines
from delift_core.models.prompts import format_arguments
from delift_core.samples import ColumnMapping, Sample


def inspect(arguments: argparse.Namespace) -> int:
    """Prints rows, format, repeats, problems by class, and what to look at: health, copies, rows of another set."""
    dataset = _load(arguments)
    ensure_answer_matters(arguments.answer, dataset)
    classes = problem_classes(dataset.problems)
    turns = Counter(len(sample.messages) for sample in dataset.samples)
    repeats = len(dataset) - len({sample.content_hash for sample in dataset.samples})
    columns = dataset.mapping
    mapped = f" (prompt from {_joined(columns)}, response from {columns.response!r})" if columns else ""
    fields = fields_of(dataset)
    look = _inspect_rows(dataset, arguments.near, arguments.against)
    media = describe_media(dataset.samples)
    read = _read_by_model(dataset, arguments) if arguments.model else None
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
        *(read.lines if read else ()),
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
        **(read.document if read else {}),
    }
    Output(arguments.json).show(lines, document)
    return 0


@dataclass(frozen=True, slots=True)
class _ReadByModel:
    """What a model reads of a file: lines for a terminal, and the same for JSON."""

    lines: Sequence[str]
    document: Mapping[str, object]


def _read_by_model(dataset: Dataset, arguments: argparse.Namespace) -> _ReadByModel:
    """The tokens of all rows, and one row as the model reads it."""
    from delift_core.curation.model_text import ModelReader

    reader = ModelReader(arguments.model, arguments.template, format_arguments(arguments.chat_template_kwargs))
    row = _numbered(dataset, arguments.row or 1)
    example = _numbered(dataset, arguments.example) if arguments.example else None
    summary, text = reader.summarise(dataset.samples), reader.read(row, example)
    lines = [
        f"tokens for {arguments.model}: {summary.prompt_tokens:,} of prompts, {summary.response_tokens:,} scored"
        + (f", {summary.thought_tokens:,} of them thoughts" if summary.thought_tokens else ""),
        *(f"  {caution}" for caution in summary.rendering.cautions),
        *([f"  {summary.refused:,} rows cannot be scored: {summary.reason}"] if summary.refused else []),
        f"what {arguments.model} reads of {row.place}" + (f" after {example.place}:" if example else ":"),
        *text.lines,
    ]
    document = {"model": arguments.model, **asdict(summary), "text": asdict(text)}
    return _ReadByModel(lines, document)


def _numbered(dataset: Dataset, number: int) -> Sample:
    """The sample with a number in the file."""
    found = next((sample for sample in dataset.samples if sample.line == number), None)
    if found is None:
        raise DataError(f"{dataset.name} has no usable row {number:,}; `inspect` names the rows that were left out")
    return found


def _load(arguments: argparse.Namespace) -> Dataset:
    tidying, scored = tidying_of(arguments), arguments.score_part
    return load_source(arguments.file, arguments.map, arguments.answer, scored=scored, tidying=tidying)


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


QUICK_ROWS = 20_000  # beyond, near copies are looked for on request only
NAMED_LINES = 8
_KIND_WORDS: dict[CopyKind, str] = {
    "exact": "exact",
    "near": "{share:.0%} similar",
    "semantic": "paraphrase, similarity {share:.2f}",
}


@dataclass(frozen=True, slots=True)
class _InspectReport:
    """The findings; `others` are the samples of the set compared with, None where none was named."""

    samples: Sequence[Sample]
    health: HealthReport
    near: float
    groups: tuple[CopyGroup, ...]
    others: Sequence[Sample] | None
    overlaps: tuple[Overlap, ...]

    def lines(self) -> list[str]:
        """For people."""
        mix = ", ".join(f"{one.rows:,} {one.format or 'mapped'}" for one in self.health.formats)
        copies = copied_positions(self.groups)
        kind = "exact copies" if self.near >= 1 else f"copies (at least {self.near:.0%} similar, or paraphrases)"
        lines = [f"formats: {mix}"] if len(self.health.formats) > 1 else []
        for one in self.health.findings:
            words = one.issue_class
            lines.append(
                f"look at: {len(one.positions):,} × {words.title} ({self._named(one.positions)}). {words.remedy} "
                f"({_remedies(one, len(self.samples))})"
            )
        lines.append(f"copies: {len(copies):,} rows are {kind} of {len(self.groups):,} others")
        for group in self.groups[:NAMED_LINES]:
            kept = self.samples[group.kept].line
            similarity = _KIND_WORDS[group.kind].format(share=group.similarity)
            lines.append(f"  keep row {kept}, {group.reason}; its copies: {self._named(group.copies)} ({similarity})")
        if self.others is not None:
            shared = self._named([one.position for one in self.overlaps])
            lines.append(f"shared: {len(self.overlaps):,} rows have a prompt that the other set holds too ({shared})")
            told = [one for one in self.overlaps if one.kind == "semantic"]
            if told:
                named = self._named([one.position for one in told])
                lines.append(f"  of them {len(told):,} are paraphrases ({named}): read them before you decide")
        return lines

    def document(self) -> dict[str, object]:
        """For JSON; rows are named by id and line."""
        return {
            "formats": {one.format or "mapped": one.rows for one in self.health.formats},
            "health": [
                {
                    "kind": one.kind,
                    "title": one.issue_class.title,
                    "remedy": one.issue_class.remedy,
                    "mend": suggested_fix(one, len(self.samples)),
                    "count": len(one.positions),
                    "rows": self._rows(one.positions),
                }
                for one in self.health.findings
            ],
            "near": self.near,
            "copies": [
                {
                    "kind": one.kind,
                    "keep": self._rows([one.kept])[0],
                    "copies": self._rows(one.copies),
                    "similarity": one.similarity,
                    "reason": one.reason,
                }
                for one in self.groups
            ],
            "shared": None
            if self.others is None
            else [
                {
                    "row": self._rows([one.position])[0],
                    "other_line": self.others[one.other].line,
                    "kind": one.kind,
                    "similarity": one.similarity,
                }
                for one in self.overlaps
            ],
        }

    def _rows(self, positions: Iterable[int]) -> list[dict[str, object]]:
        return [{"id": self.samples[at].id, "line": self.samples[at].line} for at in positions]

    def _named(self, positions: Sequence[int]) -> str:
        lines = ", ".join(str(self.samples[at].line) for at in positions[:NAMED_LINES])
        more = f" and {len(positions) - NAMED_LINES:,} more" if len(positions) > NAMED_LINES else ""
        return (f"line {lines}" if lines else "none") + more


def _remedies(finding: Finding, rows: int) -> str:
    kind, mendable = finding.kind, suggested_fix(finding, rows)
    mending = f"--mend {kind}: {FIX_TITLES[mendable][0].lower()}{FIX_TITLES[mendable][1:]}; " if mendable else ""
    return f"{mending}--leave-out {kind}"


def _inspect_rows(dataset: Dataset, near: float | None, against: str | None) -> _InspectReport:
    """Looks through a data set.

    Args:
        near: see `copy_groups`; None takes what is quick enough for its size. Below 1, rows of one meaning are looked
            for as well.
        against: file or hub data set to compare with.
    """
    share = near if near is not None else MIN_SIMILARITY if len(dataset) <= QUICK_ROWS else 1.0
    others = load_source(against, None).samples if against else None
    shared = overlaps(dataset.samples, others, share) if others is not None else ()
    groups = copy_groups(dataset.samples, share)
    if share < 1:
        groups += semantic_groups(dataset.samples, groups)
        known = {one.position for one in shared}
        shared += semantic_overlaps(dataset.samples, others or (), known)
    return _InspectReport(dataset.samples, find_issues(dataset.samples), share, groups, others, shared)


def convert(arguments: argparse.Namespace) -> int:
    """Loads a file and writes all its rows."""
    dataset = _load(arguments)
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
