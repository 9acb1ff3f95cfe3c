"""Records of one file that belong to those of another: MT-Bench's questions and the answers beside them."""

from collections.abc import Iterator, Mapping

from delift_core.formats.mt_bench import ANSWERS, is_answer, is_question
from delift_core.samples import Problem
from delift_core.sources.records import RawRecord


def with_answers(records: Iterator[RawRecord | Problem]) -> Iterator[RawRecord | Problem]:
    """Puts the answers of a folder's files behind their questions, by `question_id`; all else passes as it comes.

    Questions come last, in order; answers to none come behind them, so that they are told of.
    """
    questions: list[RawRecord] = []
    answers: dict[str, RawRecord] = {}
    for item in records:
        if isinstance(item, RawRecord) and is_question(item.value):
            questions.append(item)
        elif isinstance(item, RawRecord) and is_answer(item.value):
            name = _name(item)
            if name in answers:
                yield item
            answers.setdefault(name, item)
        else:
            yield item
    for question in questions:
        answer = answers.pop(_name(question), None)
        yield question if answer is None else _joined(question, answer)
    yield from answers.values()


def _name(record: RawRecord) -> str:
    return repr(record.value.get("question_id")) if isinstance(record.value, Mapping) else ""


def _joined(question: RawRecord, answer: RawRecord) -> RawRecord:
    """A question with the answers as they stand in their own record."""
    if not isinstance(question.value, Mapping) or not isinstance(answer.value, Mapping) or ANSWERS in question.value:
        return question
    from delift_core.places import places  # which reads the decoder of this package

    place = next(place for place in places(answer.raw) if place.path == ANSWERS)
    raw = f'{question.raw.rstrip()[:-1]}, "{ANSWERS}": {answer.raw[place.start : place.end]}}}'
    return RawRecord(question.source, question.line, raw, {**question.value, ANSWERS: answer.value[ANSWERS]})
