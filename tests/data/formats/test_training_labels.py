"""Marks of answers: every spelling beside every record form, and no column taken for a mark that is none."""

import csv
import io
import json
from itertools import product

import pytest

from delift_core.data.formats.training_labels import as_bool
from delift_core.data.loading import ReadOptions, load_bytes, map_preview, read_columns_of_bytes
from delift_core.data.loading.record_reader import reader_of
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping

ASKED = ["Which bird sings at night?", "What is salt made of?", "Who minds a hive?", "Where do eels breed?"]
ANSWERED = ["The nightingale.", "I do not care.", "A beekeeper.", "Ask somebody else."]
GOOD = [0, 2]
VALUES = [
    (True, False),
    (1, 0),
    (1.0, 0.0),
    (1, -1),
    ("1", "0"),
    ("True", "FALSE"),
    ("yes", "No"),
    ("Good", "bad"),
    ("chosen", "Rejected"),
    ("desirable", "not desirable"),
    ("Positive", "negative"),
    ("thumbs up", "THUMBS_DOWN"),
    ("👍🏽", "👎"),
    ("accepted", "declined"),
]
NAMES = ["label", "Label", "kto_tag", "kto_label", "KTO Tag", "desirable", "is_desirable", "preference", "feedback"]
NAMES += ["thumbs", "user_feedback", "isGood", "rating"]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


FORMS = {
    "prompt-completion": lambda q, a: {"prompt": q, "completion": a},
    "turns of both": lambda q, a: {"prompt": turns(q, a)[:1], "completion": turns(q, a)[1:]},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "messages": lambda q, a: {"messages": turns(q, a)},
    "sharegpt": lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "pairs": lambda q, a: {"conversation": [{"human": q, "assistant": a}]},
    "columns": lambda q, a: {"question": q, "answer": a},
    "chat text": lambda q, a: {"text": f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n"},
}


def rows(form: str, marks: list[tuple[str, object]]) -> list[dict[str, object]]:
    return [
        FORMS[form](question, answer) | {name: value}
        for question, answer, (name, value) in zip(ASKED, ANSWERED, marks, strict=True)
    ]


def marked(form: str, name: str, good: object, bad: object) -> list[dict[str, object]]:
    return rows(form, [(name, good if at in GOOD else bad) for at in range(4)])


def jsonl(records: list[dict[str, object]]) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def table(records: list[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def lines(data: bytes, answer: str, name: str = "x.jsonl", **more: object) -> list[int]:
    dataset = load_bytes(data, name, ReadOptions(answer=answer, **more))  # type: ignore[arg-type]
    assert {one.kind for one in dataset.problems} <= {"other-answer"}
    assert len(dataset.samples) + len(dataset.problems) == 4
    return [sample.line for sample in dataset.samples]


@pytest.mark.parametrize(("form", "values"), list(product(FORMS, VALUES)))
def test_every_spelling_beside_every_form(form: str, values: tuple[object, object]) -> None:
    for name in NAMES:
        data = jsonl(marked(form, name, *values))
        assert lines(data, "chosen") == [1, 3], name
        assert lines(data, "rejected") == [2, 4], name
        with pytest.raises(DataError, match="--answer chosen"):
            load_bytes(data, "x.jsonl")


@pytest.mark.parametrize("values", VALUES)
def test_a_table_of_text(values: tuple[object, object]) -> None:
    data = table(marked("alpaca", "label", *values))
    assert lines(data, "chosen", "x.csv") == [1, 3]
    with pytest.raises(DataError, match="--answer chosen"):
        load_bytes(data, "x.csv")


@pytest.mark.parametrize("name", ["undesirable", "is_bad", "rejected", "thumbs_down", "dislike"])
def test_a_name_that_means_the_opposite(name: str) -> None:
    assert lines(jsonl(marked("alpaca", name, False, True)), "chosen") == [1, 3]


@pytest.mark.parametrize(
    "values",
    [
        ["birds", "salts", "birds", "fish"],  # a topic
        [0, 1, 2, 1],  # a class
        [5, 1, 4, 1],  # stars
        ["0", "1", "7", "1"],
        [0, 0, 0, 0],  # says nothing of anything
        ["good", "bad", "so so", "good"],  # three values
        [-1, 0, 1, 0],
        [{"x": 1}, [1], 1, 0],
        [None, None, None, float("nan")],
        ["good", "good", "good", "good"],  # nothing is marked as bad
    ],
)
@pytest.mark.parametrize("name", ["label", "rating", "feedback"])
def test_what_is_no_mark_is_left_alone(name: str, values: list[object]) -> None:
    data = jsonl(rows("alpaca", [(name, value) for value in values]))
    dataset = load_bytes(data, "x.jsonl")
    assert (len(dataset.samples), dataset.problems, dataset.format) == (4, (), "alpaca")


def test_the_class_that_is_the_answer_itself_is_no_mark() -> None:
    records = [
        {"instruction": f"Is {word} a bird?", "output": said, "label": said.lower()}
        for word, said in zip(["a wren", "a cod", "a rook", "an elm"], ["Yes", "No", "Yes", "No"], strict=True)
    ]
    assert len(load_bytes(jsonl(records), "x.jsonl")) == 4


def test_a_mark_can_be_overruled() -> None:
    for name in ("label", "kto_tag"):
        dataset = load_bytes(jsonl(marked("alpaca", name, True, False)), "x.jsonl", ReadOptions(answer="all"))
        assert (len(dataset.samples), dataset.format) == (4, "alpaca")
        second = dataset.samples[1]
        assert reader_of(dataset).conversation(json.loads(second.raw)) == second.conversation
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="--answer chosen or --answer rejected"):
        load_bytes(jsonl([pair]), "x.jsonl", ReadOptions(answer="all"))


@pytest.mark.parametrize("value", [1, 0])
def test_marks_that_come_in_order_of_their_value(value: int) -> None:
    """The first records hold one value alone, and the mark is found all the same."""
    records = [
        FORMS["columns"](f"What is {at}?", f"It is {at}.") | {"label": value if at < 300 else 1 - value}
        for at in range(400)
    ]
    with pytest.raises(DataError, match="--answer"):
        load_bytes(jsonl(records), "x.jsonl")
    assert len(load_bytes(jsonl(records), "x.jsonl", ReadOptions(answer="chosen"))) == (300 if value else 100)
    classes = [record | {"label": at // 100} for at, record in enumerate(records)]
    assert len(load_bytes(jsonl(classes), "x.jsonl")) == 400


def test_a_record_without_a_mark_is_read_and_one_that_cannot_be_understood_is_named() -> None:
    records = marked("messages", "kto_tag", "yes", "no")
    records[0].pop("kto_tag")
    records[2]["kto_tag"] = "perhaps"
    dataset = load_bytes(jsonl(records), "x.jsonl", ReadOptions(answer="chosen"))
    assert [sample.line for sample in dataset.samples] == [1]
    assert "neither good nor bad" in str(dataset.problems[1])


def test_a_bad_answer_that_is_no_text_is_left_out_for_its_mark() -> None:
    records = marked("columns", "label", 1, 0)
    records[1]["answer"] = 7
    dataset = load_bytes(jsonl(records), "x.jsonl", ReadOptions(answer="chosen"))
    assert [one.kind for one in dataset.problems] == ["other-answer"] * 2


def test_marks_beside_mapped_columns_and_every_turn() -> None:
    records = [
        {"frage": q, "antwort": a, "label": at % 2} for at, (q, a) in enumerate(zip(ASKED, ANSWERED, strict=True))
    ]
    mapping = ColumnMapping("frage", "antwort")
    assert lines(jsonl(records), "rejected", mapping=mapping) == [1, 3]
    with pytest.raises(DataError, match="--answer"):
        load_bytes(jsonl(records), "x.jsonl", ReadOptions(mapping=mapping))
    talk = [{"messages": turns("u", "a") + turns("v", f"b{at}"), "label": at} for at in (0, 1)]
    dataset = load_bytes(jsonl(talk), "x.jsonl", ReadOptions(answer="chosen", turns="every"))
    assert [sample.response for sample in dataset.samples] == ["b1"]  # the mark is of the last answer


def test_the_preview_asks_as_loading_does() -> None:
    data = jsonl(marked("sharegpt", "feedback", "up", "down"))
    preview = read_columns_of_bytes(data, "x.jsonl")
    assert preview.labels == ("feedback",) and preview.unread == ()
    assert [getattr(one, "kind", "read") for one in map_preview(preview)] == ["no-choice"] * 4
    assert [getattr(one, "kind", "read") for one in map_preview(preview, ReadOptions(answer="chosen"))] == [
        "read",
        "other-answer",
    ] * 2


@pytest.mark.parametrize("word", ["", "maybe", "2", "none", "nonsense", None, 2, [1]])
def test_words_that_say_neither(word: object) -> None:
    assert as_bool(word) is None
