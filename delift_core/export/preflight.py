"""Checks of a subset before it is exported."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from delift_core.curation.curate import CuratedSelection
from delift_core.data.loading.json_records import DECODER
from delift_core.errors import ExportError
from delift_core.export.containers import Container, describe_json_columns, json_text_columns
from delift_core.export.conversion import losses
from delift_core.export.shapes import describe_media
from delift_core.export.trainer_rules import RowLength
from delift_core.export.trainers import ChosenAnswers, TrainerCheck, check_table
from delift_core.export.writers import describe_nan, render_lines, samples_with_nan, unwritable
from delift_core.samples import ExportFormat, Sample, positions_by_record
from delift_core.system.amounts import row_count
from delift_core.system.check import Check


def exported_samples(curated: CuratedSelection) -> tuple[Sample, ...]:
    """The samples that are exported, in pool file order; a record is whole even if its last answer was not scored."""
    longer = {(one.source, one.line, one.raw): one for one in curated.problem.run.left_out}
    found = (curated.samples[position] for position in exported_positions(curated))
    both = ((one, longer.get((one.source, one.line, one.raw), one)) for one in found)
    return tuple(max(pair, key=lambda one: len(one.messages)) for pair in both)


def exported_positions(curated: CuratedSelection) -> tuple[int, ...]:
    """Positions of the exported samples, ascending; for each record with a chosen turn, that of its last row."""
    subset = set(curated.subset.positions.tolist())
    return tuple(sorted(turns[-1] for turns in positions_by_record(curated.samples) if subset.intersection(turns)))


def preflight_checks(
    curated: CuratedSelection, format: ExportFormat, container: Container = "jsonl"
) -> tuple[Check, ...]:
    """Checks a subset for an export; only the first two checks can prevent it."""
    samples = exported_samples(curated)
    return (
        Check("Rows in the subset", bool(samples), _row_counts(curated, len(samples))),
        _can_be_written(samples, format, container),
        _no_losses(samples, format),
        _json_numbers(samples),
        *_objects_as_text(samples, format, container),
        *_media(samples),
        _budget_used(curated),
        _no_repeats(samples),
        _no_truncation(curated),
        _all_scored(curated),
        _pairs_scored(curated),
        _texts_as_scored(curated),
    )


def exported_records(curated: CuratedSelection, format: ExportFormat) -> tuple[object, ...]:
    """The decoded records of an export in a format, in order.

    Raises:
        ExportError: the format cannot hold one of the rows.
    """
    return tuple(DECODER.decode(line) for line in render_lines(exported_samples(curated), format))


def trainer_checks(curated: CuratedSelection, format: ExportFormat, limit: int) -> tuple[TrainerCheck, ...]:
    """What each trainer would do with the exported file; `Risk.row` is an index into `exported_samples`.

    Args:
        limit: the trainers' longest row, in tokens of the model that computed the utilities.

    Raises:
        ExportError: the format cannot hold one of the rows.
    """
    alone = curated.problem.run.alone()
    lengths = [RowLength(int(alone.prompt_tokens[at]), int(alone.tokens[at])) for at in exported_positions(curated)]
    records = exported_records(curated, format)
    return check_table(records, limit=limit, lengths=lengths, chosen=chosen_answers(curated))


def chosen_answers(curated: CuratedSelection) -> tuple[ChosenAnswers, ...]:
    """The chosen answers of each exported record, in order; empty if no record has several rows."""
    alone, subset = curated.problem.run.alone(), set(curated.subset.positions.tolist())
    found = []
    for turns in positions_by_record(curated.samples):
        own = [at for at in turns if at in subset]
        if own:
            ends = tuple(len(curated.samples[at].messages) - 1 for at in own)
            length = RowLength(int(alone.prompt_tokens[own[-1]]), int(alone.tokens[own[-1]]))
            found.append((turns[-1], ChosenAnswers(ends, len(turns) - len(own), length)))
    written = tuple(chosen for _, chosen in sorted(found, key=lambda one: one[0]))
    every = max(map(len, positions_by_record(curated.samples)), default=1) > 1
    return written if every else ()


def _row_counts(curated: CuratedSelection, written: int) -> str:
    chosen, pool = len(curated.subset.positions), len(curated.problem.run.pool)
    if chosen == written:
        return f"{written:,} of {pool:,}"
    return f"{chosen:,} answers of {pool:,}, in {written:,} records, each exported once and whole"


def _can_be_written(samples: tuple[Sample, ...], format: ExportFormat, container: Container) -> Check:
    label = "Rows can be exported"
    refused = unwritable(samples, format)
    if not refused:
        try:
            json_text_columns(container, render_lines(samples, format))
        except ExportError as error:
            return Check(label, False, str(error))
        return Check(label, True, f"all {len(samples):,}")
    first = refused[0]
    return Check(label, False, f"{len(refused):,} cannot; the first is {first.sample.place}: {first.reason}")


def _no_losses(samples: Sequence[Sample], format: ExportFormat) -> Check:
    label = "Nothing lost in conversion"
    if format == "same":
        return Check(label, True, "records are exported unchanged")
    found = losses(samples, format)
    if not found:
        return Check(label, True, "every part of every record is exported")
    return Check(label, False, f"{'; '.join(map(str, found))}")


def _json_numbers(samples: Sequence[Sample]) -> Check:
    label, found = "Numbers valid in JSON", samples_with_nan(samples)
    if not found:
        return Check(label, True, "no NaN or Infinity")
    return Check(label, False, describe_nan(found))


def _objects_as_text(samples: Sequence[Sample], format: ExportFormat, container: Container) -> Iterator[Check]:
    try:
        columns = json_text_columns(container, render_lines(samples, format))
    except ExportError:  # reported by `_can_be_written`
        return
    if columns:
        yield Check("Objects fit the table", False, describe_json_columns(columns))


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


def _texts_as_scored(curated: CuratedSelection) -> Check:
    scored = curated.problem.run.pool
    changed = sum(scored[at].raw != curated.samples[at].raw for at in exported_positions(curated))
    detail = f"{changed:,} rows were edited after scoring; their scores belong to the old texts" if changed else "none"
    return Check("Text edits after scoring", not changed, detail)
