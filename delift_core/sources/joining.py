"""Records that belong together: MT-Bench's questions and answers, and the messages of one conversation."""

from collections.abc import Iterator, Mapping, Sequence

from delift_core.formats.mt_bench import ANSWERS, is_answer, is_question
from delift_core.formats.threads import ORDER_KEYS, conversation_of, id_of, is_message, is_thread, parent_of
from delift_core.samples import Problem
from delift_core.sources.records import RawRecord, dump


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


def with_threads(records: Iterator[RawRecord | Problem]) -> Iterator[RawRecord | Problem]:
    """Puts messages that are records of their own together, a record for each conversation; all else passes on.

    A conversation is a tree of messages that name the one they answer, or the messages that name the same conversation,
    in the order of their turns. Its record holds theirs as they are, has the line of its first message, and comes
    behind the records that are no messages.
    """
    messages: list[RawRecord] = []
    for item in records:
        if isinstance(item, RawRecord) and is_message(item.value):
            messages.append(item)
        else:
            yield item
    groups: dict[str, list[RawRecord]] = {}
    roots = _roots(messages)
    for at, message in enumerate(messages):
        groups.setdefault(roots[at], []).append(message)
    yield from map(_conversation, groups.values())


def _roots(messages: Sequence[RawRecord]) -> list[str]:
    """What names the conversation of each message."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    parents = {name: parent_of(value) for value in values if (name := id_of(value)) is not None}
    found = []
    for value in values:
        here = id_of(value)
        if here is None:
            found.append(f"conversation {conversation_of(value)}")
            continue
        seen = set()
        while (parent := parents[here]) in parents and here not in seen:
            seen.add(here)
            here = str(parent)
        found.append(f"thread {here}")
    return found


def _conversation(messages: Sequence[RawRecord]) -> RawRecord:
    first = messages[0]
    values = [record.value for record in messages]
    key = "thread" if is_thread(values) else "messages"
    if key == "messages":
        messages = _in_order(messages)
    name = conversation_of(first.value) if isinstance(first.value, Mapping) else None
    raw = f'{{"conversation_id": {dump(name)}, "{key}": [{", ".join(one.raw for one in messages)}]}}'
    value = {"conversation_id": name, key: [one.value for one in messages]}
    return RawRecord(first.source, first.line, raw, value)


def _in_order(messages: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """By the number of their turn where each has one, else as they come."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    key = next((key for key in ORDER_KEYS if all(type(value.get(key)) in (int, float) for value in values)), None)
    if key is None:
        return messages
    order = sorted(range(len(messages)), key=lambda at: values[at][key])
    return [messages[at] for at in order]


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
