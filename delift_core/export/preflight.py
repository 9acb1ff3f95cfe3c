"""What an export would write, and checks of it before it is written."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from delift_core.curation.curate import CuratedSelection
from delift_core.data.formats import RecordError
from delift_core.data.loading.json_scanner import DECODER
from delift_core.errors import ExportError
from delift_core.export.containers import Container, describe_json_columns, json_text_columns
from delift_core.export.conversion import ConvertedRecord, Loss, convert_each, losses
from delift_core.export.shapes import Shape, describe_media, shape_of_file
from delift_core.export.trainer_rules import RowLength
from delift_core.export.trainers import ChosenAnswers, TrainerCheck, check_table
from delift_core.export.writers import Unwritable, describe_nan, refuse, render_lines, samples_with_nan
from delift_core.samples import ExportFormat, Sample, positions_by_record
from delift_core.system.texts import Check, row_count

_T = TypeVar("_T")


@dataclass(frozen=True)
class ExportDraft:
    """What an export of a selection writes in a format. Everything is worked out once, when it is first asked for."""

    curated: CuratedSelection
    format: ExportFormat

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Pool positions of the exported samples, ascending; for each record with a chosen turn, that of its last."""
        subset = set(self.curated.subset.positions.tolist())
        records = positions_by_record(self.curated.samples)
        return tuple(sorted(turns[-1] for turns in records if subset.intersection(turns)))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The exported samples, in pool file order; a record is whole even if its last answer was not scored."""
        longer = {(one.source, one.line, one.raw): one for one in self.curated.problem.run.left_out}
        found = (self.curated.samples[position] for position in self.positions)
        both = ((one, longer.get((one.source, one.line, one.raw), one)) for one in found)
        return tuple(max(pair, key=lambda one: len(one.messages)) for pair in both)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file as JSON, each with its newline.

        Raises:
            ExportError: the format cannot hold one of the rows.
        """
        refuse(self.refused, len(self.samples), self.format)
        return tuple(f"{record.line}\n" for _, record in self._converted if isinstance(record, ConvertedRecord))

    @cached_property
    def records(self) -> tuple[object, ...]:
        """The decoded records of the file, in order.

        Raises:
            ExportError: the format cannot hold one of the rows.
        """
        return tuple(map(DECODER.decode, self.lines))

    @cached_property
    def shape(self) -> Shape:
        """How the records of the file look as a whole.

        Raises:
            ExportError: the format cannot hold one of the rows.
        """
        return shape_of_file(self.records)

    @cached_property
    def refused(self) -> tuple[Unwritable, ...]:
        """The samples that the format cannot hold."""
        return tuple(
            Unwritable(sample, str(record)) for sample, record in self._converted if isinstance(record, RecordError)
        )

    @cached_property
    def written_hashes(self) -> dict[str, str]:
        """For each sample of which the format cannot hold the whole conversation, the hash of what is written."""
        written = ((sample.id, record) for sample, record in self._converted if isinstance(record, ConvertedRecord))
        return {sample_id: record.content_hash for sample_id, record in written if record.content_hash}

    @cached_property
    def losses(self) -> tuple[Loss, ...]:
        """What the format cannot hold of the samples, most frequent first."""
        return losses(self._converted)

    @cached_property
    def chosen_answers(self) -> tuple[ChosenAnswers, ...]:
        """The chosen answers of each exported record, in order; empty if no record has several rows."""
        curated = self.curated
        alone, subset = curated.problem.run.measures(), set(curated.subset.positions.tolist())
        records, found = positions_by_record(curated.samples), []
        for turns in records:
            own = [at for at in turns if at in subset]
            if own:
                ends = tuple(len(curated.samples[at].messages) - 1 for at in own)
                length = RowLength(int(alone.prompt_tokens[own[-1]]), int(alone.tokens[own[-1]]))
                found.append((turns[-1], ChosenAnswers(ends, len(turns) - len(own), length)))
        written = tuple(chosen for _, chosen in sorted(found, key=lambda one: one[0]))
        return written if max(map(len, records), default=1) > 1 else ()

    def preview(self, limit: int = 3) -> tuple[str, ...]:
        """The first lines of the file, without newlines.

        Raises:
            ExportError: the format cannot hold one of these rows.
        """
        return tuple(line.rstrip("\n") for line in render_lines(self.samples[:limit], self.format))

    def checks(self, container: Container = "jsonl") -> tuple[Check, ...]:
        """Checks of the subset; only the first two can prevent the export."""
        return self._remembered(container, lambda: _preflight_checks(self, container))

    def trainer_checks(self, limit: int) -> tuple[TrainerCheck, ...]:
        """What each trainer would do with the file; `Risk.row` is an index into `samples`.

        Args:
            limit: the trainers' longest row, in tokens of the model that computed the utilities.

        Raises:
            ExportError: the format cannot hold one of the rows.
        """
        return self._remembered(limit, lambda: self._trainer_checks(limit))

    def _trainer_checks(self, limit: int) -> tuple[TrainerCheck, ...]:
        alone = self.curated.problem.run.measures()
        lengths = [RowLength(int(alone.prompt_tokens[at]), int(alone.tokens[at])) for at in self.positions]
        return check_table(self.records, limit=limit, lengths=lengths, chosen=self.chosen_answers)

    @cached_property
    def _converted(self) -> tuple[tuple[Sample, ConvertedRecord | RecordError], ...]:
        return tuple(convert_each(self.samples, self.format))

    def _remembered(self, key: object, make: Callable[[], _T]) -> _T:
        if key not in self._made:
            self._made[key] = make()
        found: _T = self._made[key]
        return found

    @cached_property
    def _made(self) -> dict[object, Any]:
        """Checks by container, and trainers' checks by limit."""
        return {}


def _preflight_checks(draft: ExportDraft, container: Container) -> tuple[Check, ...]:
    curated, samples = draft.curated, draft.samples
    return (
        Check("Rows in the subset", bool(samples), _row_counts(curated, len(samples))),
        *_table_checks(draft, container),
        *_media(samples),
        _budget_used(curated),
        _no_repeats(samples),
        _no_truncation(curated),
        _all_scored(curated),
        _pairs_scored(curated),
        _texts_as_scored(draft),
        *_as_read(draft),
    )


def _as_read(draft: ExportDraft) -> Iterator[Check]:
    """Whether a trainer with the model's chat template shows the model what was scored."""
    rendering = draft.curated.problem.run.record.rendering
    if not rendering.template:  # scored by an earlier version
        return
    cautions = rendering.cautions
    yield Check("Chat template", not cautions, "; ".join(cautions) or "the model's own, and it holds all of every row")
    if rendering.arguments in ("object", "text") and not draft.refused:
        wrong: type = str if rendering.arguments == "object" else dict
        rows = sum(any(isinstance(one, wrong) for one in _call_arguments(record)) for record in draft.records)
        needs = "objects" if rendering.arguments == "object" else "text"
        other = "text" if rendering.arguments == "object" else "objects"
        words = f"{row_count(rows)} with {other}, where the model's chat template needs {needs}"
        yield Check("Arguments of tool calls", not rows, words if rows else f"{needs}, as the chat template needs them")


def _call_arguments(value: object) -> Iterator[object]:
    """The arguments of the tool calls in a record."""
    if isinstance(value, Mapping):
        calls = value.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function", call) if isinstance(call, Mapping) else None
            if isinstance(function, Mapping) and "arguments" in function:
                yield function["arguments"]
    if isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _call_arguments(one)


def _row_counts(curated: CuratedSelection, written: int) -> str:
    chosen, pool = len(curated.subset.positions), len(curated.problem.run.pool)
    if chosen == written:
        return f"{written:,} of {pool:,}"
    return f"{chosen:,} answers of {pool:,}, in {written:,} records, each exported once and whole"


def _table_checks(draft: ExportDraft, container: Container) -> Iterator[Check]:
    """Whether the file can be written, and what is lost in it."""
    label = "Rows can be exported"
    columns: tuple[str, ...] = ()
    if draft.refused:
        first = draft.refused[0]
        words = f"{len(draft.refused):,} cannot; the first is {first.sample.place}: {first.reason}"
        yield Check(label, False, words)
    else:
        try:
            columns = json_text_columns(container, draft.lines)
            yield Check(label, True, f"all {len(draft.samples):,}")
        except ExportError as error:
            yield Check(label, False, str(error))
    yield _no_losses(draft)
    yield _json_numbers(draft.samples)
    if columns:
        yield Check("Objects fit the table", False, describe_json_columns(columns))


def _no_losses(draft: ExportDraft) -> Check:
    label = "Nothing lost in conversion"
    if draft.format == "same":
        return Check(label, True, "records are exported unchanged")
    if not draft.losses:
        return Check(label, True, "every part of every record is exported")
    return Check(label, False, "; ".join(map(str, draft.losses)))


def _json_numbers(samples: Sequence[Sample]) -> Check:
    label, found = "Numbers valid in JSON", samples_with_nan(samples)
    if not found:
        return Check(label, True, "no NaN or Infinity")
    return Check(label, False, describe_nan(found))


def _media(samples: Sequence[Sample]) -> Iterator[Check]:
    words = describe_media(samples)
    if words:
        yield Check("Text only", False, words)


def _budget_used(curated: CuratedSelection) -> Check:
    selection = curated.record.selection
    chosen, useful = len(selection.chosen), int(np.count_nonzero(selection.chosen_gains > 0))
    label = "Every row adds something"
    if chosen <= useful:
        return Check(label, True, f"all {chosen:,} chosen rows added coverage when they were chosen")
    if selection.method != "delift":
        return Check(label, False, f"{chosen - useful:,} rows add nothing to what the rows before them cover")
    return Check(label, False, f"{useful:,} rows cover everything; the other {chosen - useful:,} only fill the budget")


def _no_repeats(samples: Iterable[Sample]) -> Check:
    counts = Counter(sample.content_hash for sample in samples)
    repeats = sum(count - 1 for count in counts.values())
    detail = f"{repeats:,} rows repeat another row of the subset" if repeats else "none"
    return Check("Duplicates", not repeats, detail)


def _no_truncation(curated: CuratedSelection) -> Check:
    cut = curated.problem.run.record.truncated
    detail = f"{cut:,} prompts were cut at the start to fit the model's context" if cut else "no prompt was cut"
    return Check("Prompts fit the context", not cut, detail)


def _all_scored(curated: CuratedSelection) -> Check:
    left_out = len(curated.problem.run.left_out)
    detail = f"{row_count(left_out)} could not be scored, and so not be chosen" if left_out else "all"
    return Check("Rows scored", not left_out, detail)


def _pairs_scored(curated: CuratedSelection) -> Check:
    label, matrix, bar = "Pairs scored", curated.problem.partial, curated.error_bar
    if matrix is None or matrix.complete:
        return Check(label, True, "all")
    if bar is None:
        share = (len(matrix.held_out.values) + len(matrix.fitted.values)) / matrix.plan.options
        return Check(label, False, f"{share:.0%} of them, too few to estimate what the others would change")
    return Check(label, bar.enough, bar.sentence)


def _texts_as_scored(draft: ExportDraft) -> Check:
    scored, now = draft.curated.problem.run.pool, draft.curated.samples
    changed = sum(scored[at].raw != now[at].raw for at in draft.positions)
    detail = f"{changed:,} rows were edited after scoring; their scores belong to the old texts" if changed else "none"
    return Check("Text edits after scoring", not changed, detail)
