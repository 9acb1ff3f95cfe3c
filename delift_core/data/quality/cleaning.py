"""What a curator does about a class of problems: mend all its records, or leave rows out; each gives a new data set.

The earlier data set stays as it is, so that every choice can be taken back, and a data set names its choices, so that
they can be made again on the same source. Knows data sets; knows nothing of files, the workspace or pages.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from delift_core.data.formats import RecordError
from delift_core.data.loading.json_records import DECODER
from delift_core.data.loading.raw_records import EXCERPT_CHARACTERS
from delift_core.data.loading.record_reader import RecordReparser
from delift_core.data.quality.checks import CLASSES, Finding, HealthKind, health, record_id
from delift_core.data.quality.duplicates import CopyKind, copies_of, copy_groups, overlaps
from delift_core.data.quality.fixes import (
    as_text,
    decoded,
    encodable,
    in_order,
    masked,
    renamed,
    unmarked,
    up_to_answer,
)
from delift_core.samples import Choice, Dataset, Mendable, ParsedRecord, Problem, ProblemKind, Sample, by_record

MEND_WORDS: dict[Mendable, str] = {
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
_OF_TEXT: dict[Mendable, Callable[[str], str]] = {
    "template-residue": unmarked,
    "personal-data": masked,
    "encoding-damage": decoded,
    "odd-turns": in_order,
    "trailing-turns": up_to_answer,
}
_COPY_WORDS: dict[CopyKind, str] = {
    "exact": "Duplicate of a row that is kept",
    "near": "Duplicate of a row that is kept",
    "semantic": "Paraphrase of a row that is kept",
}
_OF_PROBLEMS: tuple[Mendable, ...] = ("not-text", "bad-encoding")


@dataclass(frozen=True, slots=True)
class Remedied:
    """A data set after a remedy, and how many records it changed."""

    dataset: Dataset
    changed: int


def can_mend(kind: HealthKind | ProblemKind) -> Mendable | None:
    """The kind itself, where its records can be mended without asking about each."""
    return next((mendable for mendable in MEND_WORDS if mendable == kind), None)


def offered(finding: Finding, rows: int) -> Mendable | None:
    """What mends a class of the health report; nothing where half of the rows hold markers, which part their turns."""
    if finding.kind == "template-residue" and 2 * len(finding.positions) >= rows:
        return None
    return can_mend(finding.kind)


def mend(dataset: Dataset, kind: Mendable) -> Remedied:
    """Mends every record of a class that can be; records that were left out come back where they now can be used.

    Rows that are not changed keep their id, their text and their place.
    """
    if kind == "repeated-prompt":
        return _keep_longest(dataset)
    reread = RecordReparser(dataset)
    if kind in _OF_PROBLEMS:
        return _mend_problems(dataset, kind, reread)
    change = _new_ids(dataset) if kind == "repeated-id" else _OF_TEXT[kind]
    found: list[Sample | ParsedRecord] = []
    changed = 0
    for rows in by_record(dataset.samples):
        whole = dataset.samples[rows[-1]]
        raw = change(whole.raw)
        read = reread(raw, whole.source, whole.line) if raw != whole.raw else None
        changed += read is not None and not isinstance(read, RecordError)
        unchanged = read is None or isinstance(read, RecordError)
        found += [dataset.samples[at] for at in rows] if unchanged or isinstance(read, RecordError | None) else read
    return Remedied(_with(dataset, found, dataset.problems, Choice(kind)) if changed else dataset, changed)


def leave_out(dataset: Dataset, positions: Iterable[int], reason: str) -> Dataset:
    """The data set without some rows, which join those that were left out, so that none is lost without a word.

    Args:
        reason: why, without a full stop.
    """
    return _leave_out(dataset, positions, reason, None)


def leave_out_class(dataset: Dataset, kind: HealthKind) -> Remedied:
    """Leaves the rows of a class of the health report out."""
    positions = next((one.positions for one in health(dataset.samples).findings if one.kind == kind), ())
    if not positions:
        return Remedied(dataset, 0)
    return Remedied(leave_out(dataset, positions, CLASSES[kind].title), len(positions))


def leave_out_copies(dataset: Dataset, kind: CopyKind) -> Remedied:
    """Leaves out the rows that are copies of one that is kept: exact ones, near ones too, or those in other words."""
    groups = copy_groups(dataset.samples, near=1) if kind == "exact" else copy_groups(dataset.samples)
    if kind == "semantic":
        from delift_core.data.quality.paraphrases import semantic_groups

        groups = semantic_groups(dataset.samples, groups)
    copies = copies_of(groups)
    return Remedied(leave_out(dataset, copies, _COPY_WORDS[kind]) if copies else dataset, len(copies))


def leave_out_shared(dataset: Dataset, others: Dataset) -> Remedied:
    """Leaves out the rows whose prompt another set holds as well, or that say the same as a row of it."""
    from delift_core.data.quality.paraphrases import semantic_overlaps

    found = overlaps(dataset.samples, others.samples)
    known = {one.position for one in found}
    shared = known | {one.position for one in semantic_overlaps(dataset.samples, others.samples, known)}
    if not shared:
        return Remedied(dataset, 0)
    return Remedied(leave_out(dataset, sorted(shared), f"Also in {others.name}"), len(shared))


def again(dataset: Dataset, choices: Sequence[Choice]) -> Dataset:
    """Makes the choices of another data set on one that was just read; the same source gives the same data set."""
    for choice in choices:
        if choice.remedy is not None:
            dataset = mend(dataset, choice.remedy).dataset
            continue
        gone = set(choice.sample_ids)
        positions = [at for at, sample in enumerate(dataset.samples) if sample.id in gone]
        dataset = leave_out(dataset, positions, choice.reason)
    return dataset


def _leave_out(dataset: Dataset, positions: Iterable[int], reason: str, remedy: Mendable | None) -> Dataset:
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


def _keep_longest(dataset: Dataset) -> Remedied:
    """Of the rows that ask the same the one with the longest answer stays, of equals the first."""
    asked = next((one.positions for one in health(dataset.samples).findings if one.kind == "repeated-prompt"), ())
    best: dict[tuple[tuple[str, str], ...], int] = {}
    key_of = {
        at: tuple((turn.role, turn.content.strip()) for turn in dataset.samples[at].messages[:-1]) for at in asked
    }
    for at, key in key_of.items():
        if key not in best or len(dataset.samples[at].response) > len(dataset.samples[best[key]].response):
            best[key] = at
    records = {(dataset.samples[at].source, dataset.samples[at].line) for at in best.values()}
    gone = [at for at in asked if (dataset.samples[at].source, dataset.samples[at].line) not in records]
    reason = "Another row has the same prompt and a longer answer"
    return Remedied(_leave_out(dataset, gone, reason, "repeated-prompt"), len(gone))


def _mend_problems(dataset: Dataset, kind: Mendable, reread: RecordReparser) -> Remedied:
    """Records of a class come back, where they can be read once they are mended, at their own place in the file."""
    back: list[ParsedRecord] = []
    left: list[Problem] = []
    changed = 0
    for problem in dataset.problems:
        read = _fix_problem(problem, kind, reread) if problem.kind == kind else None
        if read is None or isinstance(read, RecordError):
            left.append(problem)
        else:
            back += read
            changed += 1
    if not changed:
        return Remedied(dataset, 0)
    merged: list[Sample | ParsedRecord] = [*dataset.samples, *back]
    rank = {source: at for at, source in enumerate(dict.fromkeys(one.source for one in merged))}
    merged.sort(key=lambda one: (rank[one.source], one.line))  # stable: the turns of a record stay in order
    return Remedied(_with(dataset, merged, left, Choice(kind)), changed)


def _fix_problem(problem: Problem, kind: Mendable, reread: RecordReparser) -> list[ParsedRecord] | RecordError | None:
    try:
        DECODER.decode(problem.raw)
    except (ValueError, RecursionError):
        return None
    raw = as_text(problem.raw, reread.parse) if kind == "not-text" else encodable(problem.raw)
    return reread(raw, problem.source, problem.line)


def _new_ids(dataset: Dataset) -> Callable[[str], str]:
    """Renames the second and later records of an id: "x-2", or the next number that is free."""
    ids = [record_id(DECODER.decode(dataset.samples[rows[-1]].raw)) for rows in by_record(dataset.samples)]
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
            return renamed(raw, next(numbers))
        new = f"{own}-{seen[own]}"
        while new in taken:
            new += "-2"
        taken.add(new)
        return renamed(raw, new)

    return change


def _with(
    dataset: Dataset, found: Sequence[Sample | ParsedRecord], problems: Iterable[Problem], choice: Choice
) -> Dataset:
    """The data set with other samples; those that are new get ids that no other has."""
    samples = tuple(_with_own_ids(found))
    return replace(dataset, samples=samples, problems=tuple(problems), choices=(*dataset.choices, choice))


def _with_own_ids(found: Sequence[Sample | ParsedRecord]) -> Iterator[Sample]:
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
