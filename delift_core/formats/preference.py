"""Preference records: a preferred and a rejected answer side by side, or one answer marked as good or bad (KTO).

Fine-tuning learns one answer, so which one is the reader's stated choice; without it such a record is not read. Forms:
a prompt (text or turns, or LLaMA-Factory's instruction and input, or a list of turns) beside `chosen` and `rejected`;
whole conversations under both; and a prompt/completion record with a true-or-false `label`, or any record with
LLaMA-Factory's `kto_tag`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from delift_core.formats.alpaca import JOIN
from delift_core.formats.base import RecordError, end_at_response, optional_text, require_text
from delift_core.formats.cells import turns_in_text
from delift_core.formats.templates import turns_of_text
from delift_core.formats.turns import LIST_KEYS, is_turn_list, parse_turns, with_system
from delift_core.samples import Message

Answer = Literal["chosen", "rejected"]
PROMPT_KEYS = ("prompt", "instruction", "question", "query", "input")
MARKS = ("label", "kto_tag")


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record holds two answers to choose from, or one that is marked as good or bad."""
    if "chosen" in record and "rejected" in record:
        return True
    if isinstance(record.get("kto_tag"), bool):
        return True
    return isinstance(record.get("label"), bool) and "prompt" in record and "completion" in record


def parse(
    record: Mapping[str, object], answer: Answer, parse_rest: Callable[[Mapping[str, object]], tuple[Message, ...]]
) -> tuple[Message, ...]:
    """Reads the conversation that ends with the answer that was chosen to be learnt.

    Args:
        answer: which one.
        parse_rest: reads a marked record once its mark is taken off.

    Raises:
        RecordError: the record has no such answer, no prompt, or a value that is not text.
    """
    if "chosen" not in record or "rejected" not in record:
        _check_mark(record, answer)
        return parse_rest({key: value for key, value in record.items() if key not in MARKS})
    given = _turns_of_text(record[answer], record)
    turns = parse_turns([given], answer) if isinstance(given, Mapping) else None
    if isinstance(given, list | tuple):
        turns = parse_turns(given, answer)
    if turns is None:
        turns = [Message("assistant", require_text(given, answer))]
    # Whole conversations repeat the prompt, which then stands in the record twice.
    before = [] if any(turn.role == "user" for turn in turns) else _prompt(record, answer)
    system = next((text for key in ("system", "system_prompt") if (text := optional_text(record.get(key), key))), None)
    return end_at_response(with_system(system, [*before, *turns]), answer)


def no_choice() -> RecordError:
    """Builds the error for a preference record when no answer was chosen."""
    what = "the record has a preferred and a rejected answer, and none was chosen to be learnt"
    return RecordError("no-choice", "", what, "Choose one: --answer chosen or --answer rejected, or on the Data page.")


def _check_mark(record: Mapping[str, object], answer: Answer) -> None:
    mark = next((key for key in reversed(MARKS) if isinstance(record.get(key), bool)), MARKS[0])
    if record.get(mark) is not (answer == "chosen"):
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
    found = next((key for key in PROMPT_KEYS if record.get(key)), None)
    if found is None:
        remedy = "Give the prompt as a field or as turns, or remove the record."
        raise RecordError("empty-prompt", answer, "no prompt stands beside the answers", remedy)
    prompt = turns_in_text(record[found])
    if isinstance(prompt, list | tuple):
        return parse_turns(prompt, found, answered=False)
    text = require_text(record[found], found)
    extra = optional_text(record.get("input"), "input") if found == "instruction" else None
    return [Message("user", text if extra is None else text + JOIN + extra)]
