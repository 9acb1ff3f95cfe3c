"""Cleans a data set: fixes all records of a class, or leaves rows out. Each step returns a new data set.

A data set lists the steps as its `choices`, so that they can be undone, and repeated on the same source.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from delift_core.data.loading import Choice, Dataset
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.raw_records import EXCERPT_CHARACTERS, RawRecord
from delift_core.data.loading.record_reader import RecordReader, reader_of
from delift_core.data.quality.checks import ISSUE_CLASSES, Finding, IssueKind, find_issues, record_id
from delift_core.data.quality.duplicates import (
    CopyKind,
    copied_positions,
    copy_groups,
    overlaps,
    semantic_groups,
    semantic_overlaps,
)
from delift_core.data.quality.fixes import (
    convert_to_text,
    drop_trailing_turns,
    fix_encoding,
    mask_personal_data,
    remove_markers,
    reorder_turns,
    replace_id,
    replace_surrogates,
)
from delift_core.samples import FixableKind, ParsedRecord, Problem, ProblemKind, Sample, positions_by_record

FIX_TITLES: dict[FixableKind, str] = {
    "not-text": "Convert numbers, lists and objects to text",
    "bad-encoding": "Replace broken characters with \ufffd",
    "repeated-prompt": "Keep the longest answer to each prompt",
    "repeated-id": "Give the repeats new ids",
    "template-residue": "Remove the markers",
    "personal-data": "Mask personal data",
    "encoding-damage": "Repair the damaged characters",
    "odd-turns": "Put the turns in order",
    "trailing-turns": "Remove the turns after the answer",
}
_TEXT_FIXES: dict[FixableKind, Callable[[str], str]] = {
    "template-residue": remove_markers,
    "personal-data": mask_personal_data,
    "encoding-damage": fix_encoding,
    "odd-turns": reorder_turns,
    "trailing-turns": drop_trailing_turns,
}
_COPY_REASONS: dict[CopyKind, str] = {
    "exact": "Duplicate of a row that is kept",
    "near": "Duplicate of a row that is kept",
    "semantic": "Paraphrase of a row that is kept",
}
_PROBLEM_KINDS: tuple[FixableKind, ...] = ("not-text", "bad-encoding")


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """A cleaned data set, and how many records were changed or left out."""

    dataset: Dataset
    changed: int


def fixable_kind(kind: IssueKind | ProblemKind) -> FixableKind | None:
    """The kind, if its records can be fixed automatically; else None."""
    return next((mendable for mendable in FIX_TITLES if mendable == kind), None)


def suggested_fix(finding: Finding, rows: int) -> FixableKind | None:
    """The fix for a class of issues, if any; none for markers in half of the rows or more, which separate turns."""
    if finding.kind == "template-residue" and 2 * len(finding.positions) >= rows:
        return None
    return fixable_kind(finding.kind)


def fix_records(dataset: Dataset, kind: FixableKind) -> CleaningResult:
    """Fixes all records of a class; records that were left out return if they can now be used.

    Unchanged rows keep their id, text and position.
    """
    if kind == "repeated-prompt":
        return _keep_longest(dataset)
    reader = reader_of(dataset)
    if kind in _PROBLEM_KINDS:
        return _fix_problems(dataset, kind, reader)
    change = _id_renamer(dataset) if kind == "repeated-id" else _TEXT_FIXES[kind]
    found: list[Sample | ParsedRecord] = []
    changed = 0
    for rows in positions_by_record(dataset.samples):
        whole = dataset.samples[rows[-1]]
        raw = change(whole.raw)
        read = _read(reader, raw, whole) if raw != whole.raw else None
        changed += not isinstance(read, Problem | None)
        found += [dataset.samples[at] for at in rows] if isinstance(read, Problem | None) else read
    return CleaningResult(
        _with_samples(dataset, found, dataset.problems, Choice(kind)) if changed else dataset, changed
    )


def leave_out(dataset: Dataset, positions: Iterable[int], reason: str, remedy: FixableKind | None = None) -> Dataset:
    """Leaves rows out; they become problems of the data set.

    Args:
        reason: without a full stop.
        remedy: the fix that leaves them out, if it is one.
    """
    gone = set(positions)
    if not gone:
        return dataset
    left = [sample for at, sample in enumerate(dataset.samples) if at in gone]
    problems = [
        Problem(
            kind="left-out-by-choice",
            source=sample.source,
            line=sample.line,
            field="",
            message=reason,
            remedy="Load the source again to get it back.",
            excerpt=sample.raw[:EXCERPT_CHARACTERS],
            raw=sample.raw,
        )
        for sample in left
    ]
    kept = tuple(sample for at, sample in enumerate(dataset.samples) if at not in gone)
    choice = Choice(remedy) if remedy else Choice(None, tuple(sample.id for sample in left), reason)
    return replace(dataset, samples=kept, problems=(*dataset.problems, *problems), choices=(*dataset.choices, choice))


def leave_out_class(dataset: Dataset, kind: IssueKind) -> CleaningResult:
    """Leaves out the rows with issues of a class."""
    positions = next((one.positions for one in find_issues(dataset.samples).findings if one.kind == kind), ())
    if not positions:
        return CleaningResult(dataset, 0)
    return CleaningResult(leave_out(dataset, positions, ISSUE_CLASSES[kind].title), len(positions))


def leave_out_copies(dataset: Dataset, kind: CopyKind) -> CleaningResult:
    """Leaves out copies of rows that are kept: exact copies, near copies as well, or paraphrases."""
    groups = copy_groups(dataset.samples, near=1) if kind == "exact" else copy_groups(dataset.samples)
    if kind == "semantic":
        groups = semantic_groups(dataset.samples, groups)
    copies = copied_positions(groups)
    return CleaningResult(leave_out(dataset, copies, _COPY_REASONS[kind]) if copies else dataset, len(copies))


def leave_out_shared(dataset: Dataset, others: Dataset) -> CleaningResult:
    """Leaves out the rows whose prompt is also in another set, or that paraphrase a row of it."""
    found = overlaps(dataset.samples, others.samples)
    known = {one.position for one in found}
    shared = known | {one.position for one in semantic_overlaps(dataset.samples, others.samples, known)}
    if not shared:
        return CleaningResult(dataset, 0)
    return CleaningResult(leave_out(dataset, sorted(shared), f"Also in {others.name}"), len(shared))


def apply_choices(dataset: Dataset, choices: Sequence[Choice]) -> Dataset:
    """Repeats the choices of an earlier data set on one that was just read from the same source."""
    for choice in choices:
        if choice.remedy is not None:
            dataset = fix_records(dataset, choice.remedy).dataset
            continue
        gone = set(choice.sample_ids)
        positions = [at for at, sample in enumerate(dataset.samples) if sample.id in gone]
        dataset = leave_out(dataset, positions, choice.reason)
    return dataset


def _keep_longest(dataset: Dataset) -> CleaningResult:
    """Keeps the row with the longest answer to each prompt, ties to the first."""
    asked = next((one.positions for one in find_issues(dataset.samples).findings if one.kind == "repeated-prompt"), ())
    best: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    key_of = {
        at: (one.tools, tuple((turn.role, turn.content.strip()) for turn in one.messages[:-1]))
        for at, one in ((at, dataset.samples[at]) for at in asked)
    }
    for at, key in key_of.items():
        if key not in best or len(dataset.samples[at].response) > len(dataset.samples[best[key]].response):
            best[key] = at
    records = {(dataset.samples[at].source, dataset.samples[at].line) for at in best.values()}
    gone = [at for at in asked if (dataset.samples[at].source, dataset.samples[at].line) not in records]
    reason = "Another row has the same prompt and a longer answer"
    return CleaningResult(leave_out(dataset, gone, reason, "repeated-prompt"), len(gone))


def _fix_problems(dataset: Dataset, kind: FixableKind, reader: RecordReader) -> CleaningResult:
    """Returns records that can be read once they are fixed to their position in the file."""
    back: list[ParsedRecord] = []
    left: list[Problem] = []
    changed = 0
    for problem in dataset.problems:
        read = _fix_problem(problem, kind, reader) if problem.kind == kind else None
        if read is None or isinstance(read, Problem):
            left.append(problem)
        else:
            back += read
            changed += 1
    if not changed:
        return CleaningResult(dataset, 0)
    merged: list[Sample | ParsedRecord] = [*dataset.samples, *back]
    rank = {source: at for at, source in enumerate(dict.fromkeys(one.source for one in merged))}
    merged.sort(key=lambda one: (rank[one.source], one.line))  # stable: the turns of a record stay in order
    return CleaningResult(_with_samples(dataset, merged, left, Choice(kind)), changed)


def _fix_problem(problem: Problem, kind: FixableKind, reader: RecordReader) -> list[ParsedRecord] | Problem | None:
    try:
        DECODER.decode(problem.raw)
    except (ValueError, RecursionError):
        return None
    raw = convert_to_text(problem.raw, reader.conversation) if kind == "not-text" else replace_surrogates(problem.raw)
    return _read(reader, raw, problem)


def _read(reader: RecordReader, raw: str, place: Sample | Problem) -> list[ParsedRecord] | Problem:
    """The rows of a changed record, or why it cannot be used."""
    return reader.read(RawRecord(place.source, place.line, raw, DECODER.decode(raw)))


def _id_renamer(dataset: Dataset) -> Callable[[str], str]:
    """A function that gives the second and later records with an id a new one: "x-2", or the next free number."""
    ids = [record_id(DECODER.decode(dataset.samples[rows[-1]].raw)) for rows in positions_by_record(dataset.samples)]
    taken = set(ids)
    numbers = iter(range(max((one for one in ids if isinstance(one, int)), default=0) + 1, 2**63))
    seen: Counter[str | int] = Counter()

    def change(raw: str) -> str:
        own = record_id(DECODER.decode(raw))
        if own is None:
            return raw
        seen[own] += 1
        if seen[own] == 1:
            return raw
        if isinstance(own, int):
            return replace_id(raw, next(numbers))
        new = f"{own}-{seen[own]}"
        while new in taken:
            new += "-2"
        taken.add(new)
        return replace_id(raw, new)

    return change


def _with_samples(
    dataset: Dataset, found: Sequence[Sample | ParsedRecord], problems: Iterable[Problem], choice: Choice
) -> Dataset:
    """The data set with other samples; new ones get unique ids."""
    samples = tuple(_assign_ids(found))
    return replace(dataset, samples=samples, problems=tuple(problems), choices=(*dataset.choices, choice))


def _assign_ids(found: Sequence[Sample | ParsedRecord]) -> Iterator[Sample]:
    taken = {one.id for one in found if isinstance(one, Sample)}
    for one in found:
        if isinstance(one, Sample):
            yield one
            continue
        sample = one.as_sample("")
        stem = sample.content_hash[:12]
        name, count = stem, 1
        while name in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name)
        yield replace(sample, id=name)
