"""MT-Bench records: the turns of a user, with the answers beside them or in a file of their own.

The answers are those of a model (`choices`, as in FastChat's reference answers) or else the hints of the question
itself (`reference`). Questions without answers, and answers without their questions, have nothing to learn from.
"""

from collections.abc import Mapping

from delift_core.data.formats.base import RecordError, end_at_response, require_text
from delift_core.samples import Message

ANSWERS = "choices"


def detect(record: Mapping[str, object]) -> bool:
    """Whether a record holds the turns of a user as texts, or answers to such turns."""
    return is_question(record) or is_answer(record)


def is_question(record: object) -> bool:
    """Whether a record holds questions, with or without answers."""
    turns = record.get("turns") if isinstance(record, Mapping) and "question_id" in record else None
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, str) for turn in turns)


def is_answer(record: object) -> bool:
    """Whether a record holds answers alone, named after their question."""
    if not isinstance(record, Mapping) or "turns" in record or "question_id" not in record:
        return False
    return _first_choice(record) is not None


def parse(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads questions and answers in turn, as many as there are of both.

    Raises:
        RecordError: no answers, no questions, or a value that is not text.
    """
    if not is_question(record):
        remedy = "Load both files at once: give the folder that they are in."
        what = "these answers stand in another file than their questions"
        raise RecordError("empty-prompt", "question_id", what, remedy)
    choice = _first_choice(record)
    field = f"{ANSWERS}[0].turns" if choice is not None else "reference"
    answers = choice if choice is not None else record.get("reference")
    if not isinstance(answers, list) or not answers:
        remedy = "Load them with their answers: give the folder that both files are in."
        raise RecordError("no-assistant-turn", "reference", "the questions have no answers", remedy)
    questions = record["turns"]
    messages = []
    for at, (question, answer) in enumerate(zip(questions, answers, strict=False)):  # type: ignore[call-overload]
        messages.append(Message("user", require_text(question, f"turns[{at}]")))
        messages.append(Message("assistant", require_text(answer, f"{field}[{at}]")))
    while len(messages) > 2 and not messages[-1].content.strip():
        del messages[-2:]
    return end_at_response(messages, field)


def _first_choice(record: Mapping[str, object]) -> list[object] | None:
    choices = record.get(ANSWERS)
    first = choices[0] if isinstance(choices, list) and choices else None
    turns = first.get("turns") if isinstance(first, Mapping) else None
    return turns if isinstance(turns, list) else None
