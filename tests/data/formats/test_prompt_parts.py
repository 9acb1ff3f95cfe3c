"""Parts of the prompt in columns of their own: joined in a stated order, or refused; what is missing is missing."""

import json

import pytest

from delift_core.data.loading import ReadOptions, fields_of, load_bytes, read_columns_of_bytes
from delift_core.data.loading.record_reader import reader_of
from delift_core.data.quality.checks import find_issues
from delift_core.data.quality.cleaning import fix_records
from delift_core.data.quality.fixes import convert_to_text
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping

NAN = float("nan")


def load(*records: object, **more: object):  # type: ignore[no-untyped-def]
    return load_bytes("\n".join(map(json.dumps, records)).encode(), "x.jsonl", ReadOptions(**more))  # type: ignore[arg-type]


def texts(record: object) -> list[str]:
    return [message.content for message in load(record).samples[0].messages]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"question": "Who?", "context": "Ann did it.", "answer": "Ann"}, ["Who?\n\nAnn did it.", "Ann"]),
        ({"answer": "Ann", "context": "Ann did it.", "question": "Who?"}, ["Who?\n\nAnn did it.", "Ann"]),
        ({"Question": "Who?", "Context": "C", "Answer": "Ann"}, ["Who?\n\nC", "Ann"]),
        ({"instruction": "i", "input": "x", "response": "r"}, ["i\n\nx", "r"]),
        ({"instruction": "i", "context": "x", "output": "r"}, ["i\n\nx", "r"]),
        ({"instruction": "i", "input": "x", "context": "c", "output": "r"}, ["i\n\nx\n\nc", "r"]),
        ({"instruction": "i", "question": "q", "answer": "r"}, ["i\n\nq", "r"]),
        ({"prompt": "p", "input": "x", "output": "r"}, ["p\n\nx", "r"]),
        ({"prompt": "p", "input": "x", "completion": "r"}, ["p\n\nx", "r"]),
        ({"prompt": "p", "completion": "r", "system_prompt": "s"}, ["s", "p", "r"]),
        ({"instruction": "p", "output": "r", "system_prompt": "s"}, ["s", "p", "r"]),
        ({"query": "q", "passage": "x", "response": "r"}, ["q\n\nx", "r"]),
        ({"question": "q", "choices": "a or b", "answer": "a"}, ["q\n\na or b", "a"]),
        ({"question": "q", "history": [["h", "g"]], "answer": "a"}, ["h", "g", "q", "a"]),
        ({"prompt": "q", "history": [{"role": "user", "content": "h"}, {"role": "assistant", "content": "g"}],
          "completion": "a"}, ["h", "g", "q", "a"]),
        ({"question": "q", "history": "they had met", "answer": "a"}, ["q\n\nthey had met", "a"]),
        # Nothing to join: missing, blank, or in the prompt already.
        ({"question": "q", "context": None, "answer": "a"}, ["q", "a"]),
        ({"question": "q", "context": NAN, "answer": "a"}, ["q", "a"]),
        ({"question": "q", "context": " ", "options": [], "answer": "a"}, ["q", "a"]),
        ({"prompt": "By an old tale: who?", "context": "an old tale", "response": "a"}, ["By an old tale: who?", "a"]),
    ],
)  # fmt: skip
def test_what_the_prompt_is_made_of(record: object, expected: list[str]) -> None:
    assert texts(record) == expected


def test_preference_records_have_their_parts() -> None:
    record = {"question": "q", "context": "c", "chosen": "a", "rejected": "b"}
    assert [one.content for one in load(record, answer="chosen").samples[0].messages] == ["q\n\nc", "a"]


def test_a_part_that_is_no_text_is_refused_with_the_way_out() -> None:
    record = {"question": "Which?", "choices": ["one", "two"], "answer": "two"}
    with pytest.raises(DataError, match="--map prompt=COL,response=COL"):
        load(record)
    assert [one.content for one in load(record, mapping=ColumnMapping("question", "answer")).samples[0].messages] == [
        "Which?", "two"
    ]  # fmt: skip


TALES = [
    {"question": "Who came first?", "scroll": f"The {who} came before the rest.", "answer": who}
    for who in ("fox", "owl", "hen")
]


def test_a_column_that_may_belong_to_the_prompt_is_not_passed_over() -> None:
    with pytest.raises(DataError, match="scroll.*--map prompt=question,response=answer,context=scroll"):
        load(*TALES)
    joined = load(*TALES, mapping=ColumnMapping("question", "answer", None, ("scroll",)))
    assert joined.samples[0].prompt == "Who came first?\n\nThe fox came before the rest."
    assert len(load(*TALES, mapping=ColumnMapping("question", "answer"))) == 3


@pytest.mark.parametrize(
    "more",
    [
        {"explanation": "It is said that so it was {}"},  # goes with the answer
        {"id": "row-{}"},
        {"link": "tales/{}.txt"},
        {"written": "2019-04-0{}"},
        {"scroll": "the same old words"},  # tells nothing apart
    ],
)
def test_columns_that_are_no_part_are_no_reason_to_refuse(more: dict[str, str]) -> None:
    rows = [
        {"question": "Who came first?", "answer": who, **{key: value.format(who) for key, value in more.items()}}
        for who in ("fox", "owl", "hen")
    ]
    assert len(load(*rows)) == 3


def test_the_remedy_for_one_prompt_with_many_answers_sees_the_parts() -> None:
    rows = [{"question": "How many?", "context": f"There are {at} ships.", "answer": f"{at}"} for at in range(4)]
    dataset = load(*rows)
    assert "repeated-prompt" not in {one.kind for one in find_issues(dataset.samples).findings}
    assert fix_records(dataset, "repeated-prompt").changed == 0


def test_columns_that_are_not_read_are_named() -> None:
    rows = [{"id": 1, "question": "q", "context": "c", "answer": "a", "topic": "t", "note": None}]
    data = json.dumps(rows[0]).encode()
    assert read_columns_of_bytes(data, "x.jsonl").unread == ("id", "topic")
    fields = fields_of(load(*rows))
    assert (fields.prompt, fields.labels, fields.unread) == (("question", "context"), (), ("id", "topic"))


@pytest.mark.parametrize("missing", [None, NAN])
@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "i", "output": "o", "input": None, "system": None, "history": None},
        {"prompt": "i", "completion": "o", "context": None, "system": None},
        {"question": "i", "answer": "o", "context": None, "system_prompt": None},
        {"messages": [{"role": "user", "content": "i", "value": None},
                      {"role": "assistant", "content": "o", "tool_calls": None}], "system": None},
        {"conversations": [{"from": "human", "value": "i", "role": None}, {"from": "gpt", "value": "o"}]},
        {"instruction": "i", "output": "o", "chosen": None, "rejected": None, "kto_tag": None, "messages": None},
        {"question": "i", "answer": "o", "instruction": None, "output": None, "prompt": None, "completion": None},
    ],
)  # fmt: skip
def test_null_nan_and_absent_mean_missing(record: object, missing: object) -> None:
    def fill(value: object) -> object:
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list) else missing if value is None else value

    assert texts(fill(record)) == ["i", "o"]


CALLS = [{"id": "c", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": NAN}, {"content": ""}, {"content": " \n"}])
def test_a_tool_call_beside_a_missing_or_an_empty_text(content: dict[str, object]) -> None:
    turns = [
        {"role": "user", "content": "When is high tide?"},
        {"role": "assistant", "tool_calls": CALLS, **content},
        {"role": "tool", "content": "at six"},
        {"role": "assistant", "content": "At six."},
    ]
    assert texts({"messages": turns})[1] == '{"name": "tide", "arguments": {}}'
    assert load({"messages": turns}, text_only=True).samples[0].messages[1].content == json.dumps(CALLS)


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity", "-Infinity"])
def test_no_remedy_makes_text_of_what_is_no_value(value: str) -> None:
    read = reader_of(load({"instruction": "i", "output": "o"})).conversation
    raw = f'{{"instruction": "i", "output": {value}}}'
    assert convert_to_text(raw, read) == raw
    assert "NaN" not in convert_to_text('{"instruction": "i", "output": [1, NaN]}', read)
