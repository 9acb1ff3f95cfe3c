"""How many rows of an exported file each trainer would keep, and which rows are at risk; no trainer is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from delift_core.data.formats.base import name_list
from delift_core.export.shapes import SHAPE_NAMES, Shape, inconsistent_rows, null_columns, shape_of_file
from delift_core.export.trainer_rules import TRAINERS, Effect, RowLength, Trainer, Verdict, row_verdicts, why_unreadable

DEFAULT_LIMIT = 4096  # tokens of a trainer's longest row
_BY_SEVERITY: tuple[Effect, ...] = get_args(Effect)


@dataclass(frozen=True, slots=True)
class ChosenAnswers:
    """The chosen answers of one record, if every answer is a row."""

    ends: tuple[int, ...]  # their positions among the turns
    others: int  # how many answers of the record were not chosen
    last: RowLength  # length of the row that ends with the last of them


@dataclass(frozen=True, slots=True)
class Risk:
    """What a trainer does to one row that the file's author may not expect; `row` counts from 0."""

    row: int
    trainer: Trainer
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class TrainerCheck:
    """What a trainer does with a file."""

    trainer: Trainer
    rows: int  # the number of rows in the file
    kept: int  # the number of rows that would be trained on; 0 if the load stops
    note: str  # how the file is read, or why it is not
    risks: tuple[Risk, ...]  # in file order, the most severe one of each row


def check_table(
    records: Sequence[object],
    *,
    limit: int,
    lengths: Sequence[RowLength | None] = (),
    chosen: Sequence[ChosenAnswers] = (),
) -> tuple[TrainerCheck, ...]:
    """Checks a file for each trainer.

    Args:
        records: the file's records as decoded from JSON, in order.
        limit: the trainers' longest row in tokens.
        lengths: the length of each row, None if unknown; empty skips the rules about length.
        chosen: the chosen answers of each record, if records hold several rows. TRL trains these alone, by its recipe;
            the others train every answer.
    """
    shape = shape_of_file(records)
    known = lengths if len(lengths) == len(records) else [None] * len(records)
    uneven, empty = inconsistent_rows(records), null_columns(records)
    of_all: dict[int, list[Verdict]] = {row: [("up to datasets' version", words)] for row, words in uneven.items()}
    of_others = {row: list(found) for row, found in of_all.items()}
    for row, one in enumerate(chosen):
        if one.others:
            what = f"{one.others:,} answers of the record that were not chosen are trained as well"
            of_others.setdefault(row, []).append(("trains more", what))
    own = [one.last for one in chosen] or known
    table = (
        _check(trainer, records, shape, of_all, own, limit)
        if trainer == "TRL"
        else _check(trainer, records, shape, of_others, known, limit)
        for trainer in TRAINERS
    )
    words = f"; null in every row, and so without a type: {name_list(empty)}" if empty else ""
    return tuple(replace(one, note=one.note + words) for one in table)


def _check(
    trainer: Trainer,
    records: Sequence[object],
    shape: Shape,
    known: Mapping[int, Sequence[Verdict]],
    lengths: Sequence[RowLength | None],
    limit: int,
) -> TrainerCheck:
    refused = why_unreadable(trainer, shape)
    if refused:
        return TrainerCheck(trainer, len(records), 0, refused, ())
    risks = []
    for row, (record, length) in enumerate(zip(records, lengths, strict=True)):
        verdicts = row_verdicts(trainer, record, shape, known.get(row, ()), length, limit)
        if verdicts:
            effect, reason = min(verdicts, key=lambda verdict: _BY_SEVERITY.index(verdict[0]))
            risks.append(Risk(row, trainer, effect, reason))
    stops = [risk for risk in risks if risk.effect == "stops the load"]
    if stops:
        note = f"the load stops at {len(stops):,} rows: {stops[0].reason}; fix them, or export in another format"
        return TrainerCheck(trainer, len(records), 0, note, tuple(risks))
    lost = sum(risk.effect == "left out" for risk in risks)
    return TrainerCheck(trainer, len(records), len(records) - lost, f"read as {SHAPE_NAMES[shape.name]}", tuple(risks))
