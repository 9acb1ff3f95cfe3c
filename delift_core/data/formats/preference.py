"""Preference records: a preferred and a rejected answer side by side, or one answer marked as good or bad (KTO).

Fine-tuning learns one answer, so which one is the reader's stated choice; without it such a record is not read. Forms:
a prompt (text with its parts, or turns) beside `chosen` and `rejected`; whole conversations under both; and a record of
any other form with a mark of its own (see `marks`). What a whole source's values say of its marks is found in
`sources.marking`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from delift_core.data.formats.base import RecordError, any_present, end_at_response, is_missing, require_text
from delift_core.data.formats.chat_text import turns_of_text
from delift_core.data.formats.prompt_parts import part_names, prompt_turns
from delift_core.data.formats.training_marks import sure_mark, verdict
from delift_core.data.formats.turn_spellings import turns_in_text
from delift_core.data.formats.turns import LIST_KEYS, is_turn_list, parse_turns, system_of, with_system
from delift_core.samples import Message

# "all": no mark says what is to be learnt.
Answer = Literal["chosen", "rejected", "all"]
PROMPT_KEYS = ("prompt", "instruction", "question", "query", "input")


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record holds two answers to choose from, or one that is marked as good or bad."""
    return has_pair(record) or sure_mark(record) is not None


def has_pair(record: Mapping[str, object]) -> bool:
    """Whether a record holds two answers."""
    return any_present(record, ("chosen", "rejected"))


def unmarked(record: Mapping[str, object]) -> Mapping[str, object]:
    """The record without a field that can be nothing but its mark."""
    mark = None if has_pair(record) else sure_mark(record)
    return record if mark is None else {key: value for key, value in record.items() if key != mark}


def parse(
    record: Mapping[str, object],
    answer: Answer,
    parse_rest: Callable[[Mapping[str, object]], tuple[Message, ...]],
) -> tuple[Message, ...]:
    """Reads the conversation that ends with the answer that was chosen to be learnt.

    Args:
        answer: which one.
        parse_rest: reads a record without two answers, once its mark is taken off.

    Raises:
        RecordError: the record has no such answer, no prompt, or a value that is not text.
    """
    if not has_pair(record):
        mark = sure_mark(record)
        if mark is not None:
            check_mark(mark, record[mark], answer)
        return parse_rest(unmarked(record))
    if answer == "all":
        raise no_choice()
    given = _turns_of_text(record[answer], record)
    turns = parse_turns([given], answer) if isinstance(given, Mapping) else None
    if isinstance(given, list | tuple):
        turns = parse_turns(given, answer)
    if turns is None:
        turns = [Message("assistant", require_text(given, answer))]
    # Whole conversations repeat the prompt, which then stands in the record twice.
    before = [] if any(turn.role == "user" for turn in turns) else _prompt(record, answer)
    context = [replace(turn, trained=False) for turn in before]
    return end_at_response(with_system(system_of(record), [*context, *turns]), answer)


def no_choice(mark: str = "") -> RecordError:
    """Builds the error for a preference record when no answer was chosen.

    Args:
        mark: the field that marks the answer; "" for a record with two answers.
    """
    if mark:
        what = "the answer is marked as good or bad, and it was not said which answers are to be learnt"
        remedy = (
            "Choose: --answer chosen, --answer rejected, or --answer all where the field says something else; "
            "or on the Data page."
        )
        return RecordError("no-choice", mark, what, remedy)
    what = "the record has a preferred and a rejected answer, and none was chosen to be learnt"
    return RecordError("no-choice", "", what, "Choose one: --answer chosen or --answer rejected, or on the Data page.")


def check_mark(mark: str, value: object, answer: Answer) -> None:
    """Refuses a marked answer that was not asked for.

    Raises:
        RecordError: it is the other answer, or its mark says neither.
    """
    says = verdict(mark, value)
    if answer == "all" or says is None:
        return
    if says == "other":
        what = f"the mark {str(value)[:40]!r} says neither good nor bad, as the marks of the other records do"
        remedy = "Write the mark as true or false, or read every answer with --answer all."
        raise RecordError("other-answer", mark, what, remedy)
    if (says == "good") is not (answer == "chosen"):
        what = f"the answer is not marked as {answer}"
        raise RecordError("other-answer", mark, what, "It is left out, since the other answers were asked for.")


def _turns_of_text(given: object, record: Mapping[str, object]) -> object:
    """The turns of an answer that is a text of them; without a prompt beside it the text may have the markers of a
    chat template, as Anthropic's have.
    """
    found = turns_in_text(given)
    if isinstance(found, str) and not any(record.get(key) for key in (*PROMPT_KEYS, *LIST_KEYS)):
        return turns_of_text(found) or given
    return found


def _prompt(record: Mapping[str, object], answer: Answer) -> list[Message]:
    for key in LIST_KEYS:
        if is_turn_list(turns_in_text(record.get(key))):
            return parse_turns(turns_in_text(record[key]), key, answered=False)
    found = next((key for key in PROMPT_KEYS if record.get(key) and not is_missing(record[key])), None)
    if found is None:
        remedy = "Give the prompt as a field or as turns, or remove the record."
        raise RecordError("empty-prompt", answer, "no prompt stands beside the answers", remedy)
    prompt = turns_in_text(record[found])
    if isinstance(prompt, list | tuple):
        return parse_turns(prompt, found, answered=False)
    return prompt_turns(record, found, part_names(record, found, answer))
