"""Records that are spread over a source, joined: MT-Bench questions with their answers, messages into conversations."""

from collections.abc import Mapping, Sequence

from delift_core.data.formats.chat_records import MT_BENCH_ANSWERS, is_mt_bench_answer, is_mt_bench_question
from delift_core.data.formats.platform_records import (
    ORDER_KEYS,
    conversation_id,
    is_single_message,
    is_thread,
    message_id,
    parent_id,
)
from delift_core.data.loading.json_scanner import value_spans
from delift_core.data.loading.raw_records import RawRecord, Records, dump


def join_answers(records: Records) -> Records:
    """Joins MT-Bench questions and answers by `question_id`; other records pass unchanged.

    Questions come after all other records, in order, then the answers without a question.
    """
    questions: list[RawRecord] = []
    answers: dict[str, RawRecord] = {}
    for item in records:
        if isinstance(item, RawRecord) and is_mt_bench_question(item.value):
            questions.append(item)
        elif isinstance(item, RawRecord) and is_mt_bench_answer(item.value):
            if (name := _question_id(item)) in answers:
                yield item
            answers.setdefault(name, item)
        else:
            yield item
    for question in questions:
        answer = answers.pop(_question_id(question), None)
        yield question if answer is None else _with_answers(question, answer)
    yield from answers.values()


def join_messages(records: Records) -> Records:
    """Joins records that are single messages into one record a conversation; other records pass unchanged.

    A conversation is a tree of messages that name their parent, or the messages with the same conversation id, in the
    order of their turn numbers. Its record holds the messages' JSON unchanged and has the line of the first of them.
    Conversations come after all other records.
    """
    messages: list[RawRecord] = []
    for item in records:
        if isinstance(item, RawRecord) and is_single_message(item.value):
            messages.append(item)
        else:
            yield item
    groups: dict[str, list[RawRecord]] = {}
    roots = _roots(messages)
    for at, message in enumerate(messages):
        groups.setdefault(roots[at], []).append(message)
    yield from map(_conversation, groups.values())


def _roots(messages: Sequence[RawRecord]) -> list[str]:
    """An identifier of each message's conversation."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    parents = {name: parent_id(value) for value in values if (name := message_id(value)) is not None}
    found = []
    for value in values:
        at = message_id(value)
        if at is None:
            found.append(f"conversation {conversation_id(value)}")
            continue
        seen = set()
        while (parent := parents[at]) in parents and at not in seen:
            seen.add(at)
            at = str(parent)
        found.append(f"thread {at}")
    return found


def _conversation(messages: Sequence[RawRecord]) -> RawRecord:
    first = messages[0]
    values = [record.value for record in messages]
    key = "thread" if is_thread(values) else "messages"
    if key == "messages":
        messages = _sort_turns(messages)
    name = conversation_id(first.value) if isinstance(first.value, Mapping) else None
    raw = f'{{"conversation_id": {dump(name)}, "{key}": [{", ".join(one.raw for one in messages)}]}}'
    value = {"conversation_id": name, key: [one.value for one in messages]}
    return RawRecord(first.source, first.line, raw, value)


def _sort_turns(messages: Sequence[RawRecord]) -> Sequence[RawRecord]:
    """Sorts messages by turn number, if each has one."""
    values = [record.value if isinstance(record.value, Mapping) else {} for record in messages]
    key = next((key for key in ORDER_KEYS if all(type(value.get(key)) in (int, float) for value in values)), None)
    if key is None:
        return messages
    order = sorted(range(len(messages)), key=lambda at: values[at][key])
    return [messages[at] for at in order]


def _question_id(record: RawRecord) -> str:
    return repr(record.value.get("question_id")) if isinstance(record.value, Mapping) else ""


def _with_answers(question: RawRecord, answer: RawRecord) -> RawRecord:
    """A question with the answers of its answer record, their JSON unchanged."""
    own, others = question.value, answer.value
    if not isinstance(own, Mapping) or not isinstance(others, Mapping) or MT_BENCH_ANSWERS in own:
        return question
    span = next(span for span in value_spans(answer.raw) if span.path == MT_BENCH_ANSWERS)
    raw = f'{question.raw.rstrip()[:-1]}, "{MT_BENCH_ANSWERS}": {answer.raw[span.start : span.end]}}}'
    return RawRecord(question.source, question.line, raw, {**own, MT_BENCH_ANSWERS: others[MT_BENCH_ANSWERS]})
