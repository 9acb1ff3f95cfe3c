"""Records of another kind: messages of one conversation are put together, all else is named in a line."""

import json
from typing import Any

import pytest

from delift_core.data.loading import Dataset, load_bytes
from delift_core.data.quality.checks import find_issues
from delift_core.errors import DataError
from delift_core.export.writers import render_lines


def load(rows: list[Any], name: str = "x.jsonl") -> Dataset:
    return load_bytes("\n".join(json.dumps(row) for row in rows).encode(), name)


def turns(dataset: Dataset) -> list[list[str]]:
    return [[message.content for message in sample.messages] for sample in dataset.samples]


def message(own: str, parent: str | None, role: str, text: str, **more: object) -> dict[str, object]:
    return {"message_id": own, "parent_id": parent, "role": role, "text": text, "message_tree_id": own[0], **more}


TREES = [
    message("a", None, "prompter", "How old is the oak?"),
    message("a1", "a", "assistant", "Old.", rank=2),
    message("b", None, "prompter", "And the elm?", rank=None),
    message("a2", "a", "assistant", "Two hundred years.", rank=0),
    message("a3", "a", "assistant", "Deleted.", rank=-1, deleted=True),
    message("a4", "a2", "prompter", "Sure?", rank=None),
    message("a5", "a4", "assistant", "Yes, by its rings."),
    message("b1", "b", "assistant", "Younger."),
]


@pytest.mark.parametrize("rows", [TREES, TREES[::-1]])
def test_messages_that_answer_each_other_are_threads_along_the_best_replies(rows: list[Any]) -> None:
    dataset = load(rows)
    best = ["How old is the oak?", "Two hundred years.", "Sure?", "Yes, by its rings."]
    assert sorted(turns(dataset)) == sorted([["And the elm?", "Younger."], best])
    found = {finding.kind: len(finding.positions) for finding in find_issues(dataset.samples).findings}
    assert found["other-replies"] == 1
    again = load_bytes("".join(render_lines(dataset.samples, "same")).encode(), "y.jsonl")
    assert turns(again) == turns(dataset)


def test_no_message_of_a_file_is_lost() -> None:
    rows = [*TREES, message("z", "gone", "assistant", "Whose reply?"), message("y", "y", "prompter", "Round?")]
    dataset = load(rows)
    raws = [*(sample.raw for sample in dataset.samples), *(problem.raw for problem in dataset.problems)]
    assert all(any(str(row["text"]) in raw for raw in raws) for row in rows)
    assert {problem.kind for problem in dataset.problems} <= {"empty-prompt", "no-assistant-turn"}


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_messages_that_name_their_conversation_are_put_together_in_order(name: str) -> None:
    rows = [
        {"conversation_id": 7, "turn": 1, "role": "assistant", "content": "b"},
        {"conversation_id": 8, "turn": 0, "role": "user", "content": "c"},
        {"conversation_id": 7, "turn": 0, "role": "user", "content": "a"},
        {"conversation_id": 8, "turn": 1, "role": "assistant", "content": "d"},
    ]
    data = json.dumps(rows) if name == "x.json" else "\n".join(map(json.dumps, rows))
    dataset = load_bytes(data.encode(), name)
    assert turns(dataset) == [["a", "b"], ["c", "d"]]
    assert [sample.line for sample in dataset.samples] == [1, 2]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "A fine film to see.", "label": 1}, "a label"),
        ({"text": "A fine film to see.", "label": "pos", "id": 3}, "a label"),
        ({"text": "A fine film to see.", "sentiment": "good"}, "a label"),
        ({"text": "Good day to you.", "translation": "Guten Tag"}, "translation"),
        ({"text": "Good day to you.", "de": "Guten Tag"}, "'de'"),
        ({"text": "Good day to you.", "vec": [0.5] * 16}, "'vec'"),
        ({"text": "Anna lives in Rome.", "entities": [{"start": 0, "end": 4, "label": "PER"}]}, "entities"),
        ({"text": "A long text of words.", "summary": "Words."}, "summary"),
        ({"tokens": ["Anna", "runs"], "ner_tags": [1, 0]}, "a label each"),
        ({"translation": {"en": "yes", "de": "ja"}}, "translations"),
        ({"role": "user", "content": "Hello there."}, "without the id of its conversation"),
        ({"role": "user", "text": "Hello there."}, "without the id of its conversation"),
        ({"speaker": "Anna", "text": "Hello over there."}, "without the id of its conversation"),
        ({"question": "Who?", "answers": {"text": ["Me"], "start": [0]}}, "a list of answers"),
        ({"prompt": "Only a prompt."}, "without an answer"),
        ({"custom_id": "1", "response": {"body": {"choices": []}}}, "batch"),
        ({"id": 1, "data": {"text": "x"}, "annotations": [{"result": [{"type": "choices"}]}]}, "Label Studio"),
        ({"fields": {"text": "x"}, "responses": {"rating": [{"value": 3}]}}, "Argilla"),
        ({"conversation_a": [], "conversation_b": [], "winner": "a"}, "two conversations"),
        ({"n": 1, "list": [1]}, "no known format has these fields"),
    ],
)
def test_a_record_of_another_kind_is_named_with_what_to_do(row: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        load([row, row])
    words = str(caught.value)
    assert said in words and "\n" not in words and "map two columns by hand" not in words


def test_two_texts_can_be_mapped_and_that_is_said() -> None:
    with pytest.raises(DataError, match="map two columns by hand"):
        load([{"left": "some words", "right": "other words"}])


def test_among_plain_texts_a_record_of_another_kind_is_left_out_by_name() -> None:
    dataset = load([{"text": "A plain text of words."}] * 3 + [{"text": "A film to see.", "label": 0}])
    assert dataset.format == "text" and len(dataset) == 3
    assert [problem.line for problem in dataset.problems] == [4]


@pytest.mark.parametrize(
    "more",
    [
        {"url": "u", "timestamp": "2031", "title": "The title", "score": 0.5, "token_count": 5},
        {"meta": {"set": "x"}, "id": 3, "lang": "en", "source": "web", "author": "A. N. Other"},
        {"label": None, "embedding": []},
    ],
)
def test_plain_texts_with_fields_about_them_stay_plain_texts(more: dict[str, object]) -> None:
    assert load([{"text": "A plain text of words.", **more}]).format == "text"


THOUGHTS = [
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "so"}]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "thinking": "so"}]},
    {
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "a"}],
            },
        ]
    },
    {"question": "q", "Complex_CoT": "so", "answer": "a"},
    {"instruction": "q", "output": "a", "reasoning": "so"},
]


@pytest.mark.parametrize("row", THOUGHTS)
def test_thoughts_beside_an_answer_are_counted_as_scored_or_as_not_read(row: dict[str, object]) -> None:
    samples = load([row]).samples
    kinds = {finding.kind for finding in find_issues(samples).findings}
    if "reasoning" in row:  # may be an explanation of the answer
        assert "unread-thoughts" in kinds and not samples[0].messages[-1].thoughts
    else:
        assert "thoughts" in kinds and samples[0].messages[-1].thoughts == "so"


def test_an_answer_that_thinks_in_its_text_or_not_at_all_is_as_it_is() -> None:
    row = {"instruction": "q", "output": "<think>so</think>a", "reasoning": ""}
    found = load([row]).samples
    assert found[0].response == "<think>so</think>a"
    assert {finding.kind for finding in find_issues(found).findings} == {"thoughts"}
    plain = load([{"instruction": "q", "output": "a", "reasoning": ""}]).samples
    assert not find_issues(plain).findings
