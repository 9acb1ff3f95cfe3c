"""Reads what a command names: files, hub data sets and column mappings; and says what was wrong in them."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from delift_core.cli.arguments import named_path
from delift_core.cli.terminal import LINE_SECONDS, UsageError, every, note
from delift_core.data import loading
from delift_core.data.formats.preference import Answer
from delift_core.data.loading import Dataset, HubSplit, ReadOptions, Watch, has_answer_choice
from delift_core.data.quality.checks import ISSUE_CLASSES, IssueKind
from delift_core.data.quality.cleaning import (
    FIX_TITLES,
    fix_records,
    fixable_kind,
    leave_out_class,
    leave_out_copies,
    leave_out_shared,
)
from delift_core.data.quality.duplicates import CopyKind
from delift_core.export.containers import container_of, describe_json_columns, json_text_columns
from delift_core.export.conversion import Loss, convert_each, losses
from delift_core.export.writers import describe_nan, render_lines, samples_with_nan, unwritable
from delift_core.samples import (
    ColumnMapping,
    ExportFormat,
    FixableKind,
    Problem,
    ProblemKind,
    Sample,
    ScoredPart,
    Turns,
)
from delift_core.system.callbacks import Progress

_PER_THOUSAND = 1000


@contextmanager
def shown_loading(name: str) -> Iterator[Watch]:
    """A watch for the length of the block; what is loaded in less than a line's time leaves no trace."""
    if not sys.stderr.isatty():
        due = every(LINE_SECONDS, at_once=False)
        yield lambda progress: note(f"{name}, {progress}") if due() else None
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% {bar} {elapsed}, {remaining} left"
    with tqdm(total=_PER_THOUSAND, file=sys.stderr, bar_format=form, leave=False, delay=0.5) as bar:

        def show(progress: Progress) -> None:
            bar.set_description_str(f"{progress.phase} {name}, {progress.message}", refresh=False)
            bar.update(int(_PER_THOUSAND * progress.share) - bar.n)

        yield show


@dataclass(frozen=True, slots=True)
class ProblemClass:
    """Records that were left out for the same reason: how many, and the first of them."""

    kind: ProblemKind
    count: int
    first: Problem


@dataclass(frozen=True, slots=True)
class Tidying:
    """What is done to a data set once it is read: classes to mend in order, then classes and copies to leave out."""

    mend: tuple[FixableKind, ...] = ()
    leave_out: tuple[IssueKind, ...] = ()
    copies: tuple[CopyKind, ...] = ()
    not_in: tuple[str, ...] = ()  # sets whose rows are to be left out, as a command names them

    def __call__(self, dataset: Dataset) -> Dataset:
        """The data set after it; each step is one of its choices, and is said on standard error."""
        for kind in self.mend:
            done = fix_records(dataset, kind)
            note(f"{FIX_TITLES[kind]}: {done.changed:,} records ({kind})")
            dataset = done.dataset
        for left in self.leave_out:
            out = leave_out_class(dataset, left)
            note(f"left out: {out.changed:,} rows ({ISSUE_CLASSES[left].title})")
            dataset = out.dataset
        for copy in self.copies:
            out = leave_out_copies(dataset, copy)
            note(f"left out: {out.changed:,} rows ({copy} copies of rows that are kept)")
            dataset = out.dataset
        for name in self.not_in:
            out = leave_out_shared(dataset, load_source(name, None))
            note(f"left out: {out.changed:,} rows ({name} holds them as well)")
            dataset = out.dataset
        return dataset


def tidying_of(arguments: argparse.Namespace) -> Tidying:
    """What --mend, --leave-out, --leave-out-copies and --not-in ask for."""
    asked = (arguments.mend, arguments.leave_out, arguments.leave_out_copies, arguments.not_in)
    return Tidying(*map(tuple, asked))


def load_source(
    name: str,
    mapping: ColumnMapping | None,
    answer: Answer | None = None,
    turns: Turns = "last",
    scored: ScoredPart = "turn",
    tidying: Tidying | None = None,
) -> Dataset:
    """Loads a file, a folder of files, or a data set of the hub.

    Args:
        name: a path, or hub:owner/name[:split][,config=C][,revision=R][,limit=N].
        answer: which answer of a preference record is to be learnt.
        turns: which assistant turns of a conversation are samples.
        scored: the part of an answer with thoughts that is scored.
        tidying: what is mended and left out then.

    Raises:
        DataError: it cannot be read, or no record can be used.
    """
    path = named_path(name)
    with shown_loading(path.name if path else HubSplit.parse(name).repo_id) as watch:
        read = loading.load_source(name, ReadOptions(mapping, answer, turns, scored), watch=watch)
    note_unread(read)
    return tidying(read) if tidying else read


def ensure_answer_matters(answer: Answer | None, *datasets: Dataset | None) -> None:
    """Refuses --answer where no set has two answers or a mark: it would have no effect.

    Raises:
        UsageError: see above.
    """
    if answer is None or any(has_answer_choice(dataset) for dataset in datasets if dataset is not None):
        return
    what = "no record has two answers, or a mark that says which answers are good"
    raise UsageError(f"--answer {answer} has nothing to choose from: {what}; leave it out")


def problem_classes(problems: Iterable[Problem]) -> tuple[ProblemClass, ...]:
    """The records that could not be used by what is wrong with them, most frequent first."""
    by_kind: dict[ProblemKind, list[Problem]] = {}
    for problem in problems:
        if problem.kind != "file-not-read":
            by_kind.setdefault(problem.kind, []).append(problem)
    classes = [ProblemClass(kind, len(members), members[0]) for kind, members in by_kind.items()]
    return tuple(sorted(classes, key=lambda one: -one.count))


def problem_lines(classes: Sequence[ProblemClass]) -> list[str]:
    """One line for each class of problems."""
    return [f"  left out: {one.count:,} {one.kind}, the first is {one.first}{_mending(one.kind)}" for one in classes]


def _mending(kind: ProblemKind) -> str:
    mendable = fixable_kind(kind)
    return f" (--mend {kind}: {FIX_TITLES[mendable][0].lower()}{FIX_TITLES[mendable][1:]})" if mendable else ""


def problem_documents(classes: Sequence[ProblemClass]) -> list[dict[str, object]]:
    """The same for JSON."""
    return [{"kind": one.kind, "count": one.count, "first": asdict(one.first)} for one in classes]


def note_losses(samples: Sequence[Sample], format: ExportFormat, out: Path) -> tuple[Loss, ...]:
    """Says on standard error, before anything is written, what a format or the file cannot hold of some rows.

    Raises:
        ExportError: a table cannot hold the rows.
    """
    found = losses(convert_each(samples, format)) if format != "same" else ()
    for loss in found:
        note(f"{format} cannot hold everything: {loss}")
    if numbers := samples_with_nan(samples):
        note(describe_nan(numbers))
    columns = () if unwritable(samples, format) else json_text_columns(container_of(out), render_lines(samples, format))
    if columns:
        note(describe_json_columns(columns))
    return found


def note_unread(dataset: Dataset) -> None:
    """Says on standard error which files of a folder were not read."""
    for one in dataset.files_not_read:
        note(f"not read: {one}")
