"""Preference records: a chosen and a rejected answer, or one answer labelled as good or bad (KTO).

Such a record is read only if the caller says which answer is to be learnt. `chosen` and `rejected` hold an answer with
the prompt beside them, or whole conversations; a labelled answer may be a record of any other format.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from delift_core.data.formats.base import (
    LIST_KEYS,
    PROMPT_KEYS,
    RecordError,
    end_at_response,
    has_fields,
    is_missing,
    require_text,
)
from delift_core.data.formats.chat_text import split_turns
from delift_core.data.formats.flat_records import part_columns, prompt_turns
from delift_core.data.formats.training_labels import definite_label, read_label
from delift_core.data.formats.turn_spellings import parse_if_turns
from delift_core.data.formats.turns import add_system, is_turn_list, parse_turns, record_system_text
from delift_core.samples import Message

Answer = Literal["chosen", "rejected", "all"]
"""The answers to learn; "all" reads every answer and takes no field for a label."""


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record holds two answers to choose from, or one that is labelled as good or bad."""
    return has_pair(record) or definite_label(record) is not None


def has_pair(record: Mapping[str, object]) -> bool:
    """Whether a record has a chosen and a rejected answer."""
    return has_fields(record, ("chosen", "rejected"))


def without_label(record: Mapping[str, object]) -> Mapping[str, object]:
    """The record without its definite label, if it has one."""
    label = None if has_pair(record) else definite_label(record)
    return record if label is None else {key: value for key, value in record.items() if key != label}


def parse(
    record: Mapping[str, object], answer: Answer, parse_rest: Callable[[Mapping[str, object]], tuple[Message, ...]]
) -> tuple[Message, ...]:
    """Reads the conversation that ends with the answer to learn.

    Args:
        answer: the answer to learn.
        parse_rest: reads a record with one answer, its label removed.

    Raises:
        RecordError: the record has no such answer, no prompt, or a value that is not text.
    """
    if not has_pair(record):
        label = definite_label(record)
        if label is not None:
            check_label(label, record[label], answer)
        return parse_rest(without_label(record))
    if answer == "all":
        raise no_choice_error()
    given = _decode_answer(record[answer], record)
    if isinstance(given, Mapping | list | tuple):
        turns = parse_turns([given] if isinstance(given, Mapping) else given, answer)
    else:
        turns = [Message("assistant", require_text(given, answer))]
    # A whole conversation repeats the prompt that is beside the answers.
    before = [] if any(turn.role == "user" for turn in turns) else _prompt(record, answer)
    context = [replace(turn, trained=False) for turn in before]
    return end_at_response(add_system(record_system_text(record), [*context, *turns]), answer)


def no_choice_error(label: str = "") -> RecordError:
    """Builds the error for a preference record if the caller did not say which answer to learn.

    Args:
        label: the field that labels the answer; "" for a record with two answers.
    """
    if label:
        what = "the answer is marked as good or bad, and you did not say which answers to learn"
        remedy = "Choose: --answer chosen or rejected, or all if the field is no mark; or on the Data page."
        return RecordError("no-choice", label, what, remedy)
    what = "the record has a preferred and a rejected answer, and you did not say which one to learn"
    return RecordError("no-choice", "", what, "Choose one: --answer chosen or --answer rejected, or on the Data page.")


def check_label(label: str, value: object, answer: Answer) -> None:
    """Raises a `RecordError` for a labelled answer that is not to be learnt, or whose label is neither good nor bad."""
    value_says = read_label(label, value)
    if answer == "all" or value_says is None:
        return
    if value_says == "other":
        what = f"the mark {str(value)[:40]!r} says neither good nor bad, as the marks of the other records do"
        remedy = "Write the mark as true or false, or read every answer with --answer all."
        raise RecordError("other-answer", label, what, remedy)
    if (value_says == "good") is not (answer == "chosen"):
        what = f"the answer is not marked as {answer}"
        raise RecordError("other-answer", label, what, "It is left out, since the other answers were chosen.")


def _decode_answer(given: object, record: Mapping[str, object]) -> object:
    """An answer, or the turns in it: a JSON list or, without a prompt in the record, a chat template (Anthropic)."""
    found = parse_if_turns(given)
    if isinstance(found, str) and not any(record.get(key) for key in (*PROMPT_KEYS, *LIST_KEYS)):
        return split_turns(found) or given
    return found


def _prompt(record: Mapping[str, object], answer: Answer) -> list[Message]:
    for key in LIST_KEYS:
        if is_turn_list(parse_if_turns(record.get(key))):
            return parse_turns(parse_if_turns(record[key]), key)
    found = next((key for key in PROMPT_KEYS if record.get(key) and not is_missing(record[key])), None)
    if found is None:
        remedy = "Give the prompt as a field or as turns, or remove the record."
        raise RecordError("empty-prompt", answer, "there is no prompt beside the answers", remedy)
    prompt = parse_if_turns(record[found])
    if isinstance(prompt, list | tuple):
        return parse_turns(prompt, found)
    return prompt_turns(record, found, part_columns(record, found, answer))
