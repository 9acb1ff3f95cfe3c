"""The check table: what each trainer does with awkward rows, rule by rule, and the recipes made for a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.export.recipes import recipes
from delift_core.export.shapes import shape_of_file
from delift_core.export.trainer_rules import TRAINERS, RowLength
from delift_core.export.trainers import check_table

ALPACA = {"instruction": "q", "input": "", "output": "a"}


def chat(*turns: tuple[str, object], **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **more}


GOOD = chat(("system", "s"), ("user", "u"), ("assistant", "a"))


def verdicts(record: object, *, good: object = GOOD, count: int = 3) -> dict[str, str]:
    """What each trainer does with a record that stands first among good ones; "kept" where it says nothing."""
    table = check_table([record, *[good] * count], limit=100)
    return {check.trainer: next((risk.effect for risk in check.risks if risk.row == 0), "kept") for check in table}


@pytest.mark.parametrize(
    ("record", "trl", "llama_factory", "axolotl"),
    [
        (chat(("user", "u"), ("assistant", "a")), "kept", "kept", "kept"),
        # A system turn that is not first, two questions in a row, an answer first, a question last.
        (chat(("user", "u"), ("system", "s"), ("assistant", "a")), "up to the chat template", "left out", "up to"),
        (chat(("user", "u"), ("user", "v"), ("assistant", "a")), "up to the chat template", "left out", "up to"),
        (chat(("assistant", "a"), ("user", "u"), ("assistant", "a")), "up to the chat template", "left out", "up to"),
        (chat(("user", "u"), ("assistant", "a"), ("user", "v")), "kept", "left out", "kept"),
        # A role word that the file does not use otherwise.
        (chat(("human", "u"), ("gpt", "a")), "kept", "left out", "kept"),
        (chat(("user", "u"), ("assistant", None), ("tool", "r"), ("assistant", "a")), "kept", "stops", "up to"),
        (
            chat(("user", [{"type": "text", "text": "u"}]), ("assistant", "a")),
            "up to datasets",
            "stops",
            "up to datasets",
        ),
        (chat(("user", "u")), "stops the load", "left out", "left out"),
        ({"messages": []}, "stops the load", "left out", "left out"),
        (ALPACA, "stops the load", "stops the load", "stops the load"),
        (chat(("user", "u"), ("assistant", "a"), tools=[{"n": 1}]), "kept", "loses a field", "kept"),
    ],
)
def test_chat_rows(record: object, trl: str, llama_factory: str, axolotl: str) -> None:
    found = verdicts(record)
    for trainer, expected in zip(TRAINERS, (trl, llama_factory, axolotl), strict=True):
        assert found[trainer].startswith(expected), (trainer, found)


@pytest.mark.parametrize(
    ("change", "trl", "llama_factory", "axolotl"),
    [
        ({"input": None}, "kept", "kept", "kept"),
        ({"output": {"n": 1}}, "stops the load", "left out", "stops the load"),
        ({"output": ""}, "kept", "kept", "left out"),
        ({"instruction": 3}, "stops the load", "stops the load", "up to datasets' version"),
        ({"history": [["q", "a"]]}, "kept", "kept", "loses a field"),
        (GOOD, "stops the load", "left out", "stops the load"),
    ],
)
def test_alpaca_rows(change: dict[str, object], trl: str, llama_factory: str, axolotl: str) -> None:
    record = change if change is GOOD else ALPACA | change
    assert list(verdicts(record, good=ALPACA).values()) == [trl, llama_factory, axolotl]


def test_length_is_cut_or_left_out_as_each_trainer_does() -> None:
    lengths = [RowLength(50, 50), RowLength(60, 60), RowLength(100, 10), None]
    table = check_table([ALPACA] * 4, limit=100, lengths=lengths)
    effects = {check.trainer: [(risk.row, risk.effect) for risk in check.risks] for check in table}
    assert effects == {
        "TRL": [(1, "cut"), (2, "left out")],
        "LLaMA-Factory": [(1, "cut"), (2, "cut")],
        "Axolotl": [(1, "left out"), (2, "left out")],
    }
    assert [check.kept for check in table] == [3, 4, 2]


def test_where_the_load_stops_the_account_says_so() -> None:
    table = check_table([ALPACA, GOOD, ALPACA], limit=9)
    assert [check.kept for check in table] == [0, 2, 0]
    assert table[0].note.startswith("the load stops at 1 rows: the record is of another shape")


def test_a_file_that_a_trainer_cannot_read_keeps_nothing_and_gets_no_recipe() -> None:
    turns = {"prompt": GOOD["messages"], "completion": [{"role": "assistant", "content": "a"}]}
    table = check_table([turns, turns], limit=100)
    assert [check.kept for check in table] == [2, 0, 0]
    assert "messages" in table[1].note
    assert [recipe.trainer for recipe in recipes(shape_of_file([turns]), "x.jsonl", 100)] == ["TRL"]
    assert [check.kept for check in check_table([{"letter": "all"}], limit=9)] == [0, 0, 0]
    assert [check.rows for check in check_table([], limit=9)] == [0, 0, 0]


def test_recipes_name_every_column_that_occurs() -> None:
    rows = [ALPACA, ALPACA | {"system": "s", "history": [["q", "a"]]}]
    made = {recipe.trainer: recipe.text for recipe in recipes(shape_of_file(rows), "my set.jsonl", 512)}
    entry = json.loads(made["LLaMA-Factory"])["my set"]
    expected = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}
    assert entry == {"file_name": "my set.jsonl", "columns": expected | {"system": "system"}}
    assert "sequence_len: 512" in made["Axolotl"] and "excess_length_strategy: raise" in made["Axolotl"]
    assert "field_system" in made["Axolotl"] and "max_length=512" in made["TRL"]


def test_the_tags_are_the_words_of_the_file() -> None:
    turns = [("system", "s"), ("human", "u"), ("gpt", "a"), ("observation", "o"), ("gpt", "b")]
    row = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    made = {recipe.trainer: recipe.text for recipe in recipes(shape_of_file([row]), "x.jsonl", 64)}
    tags = json.loads(made["LLaMA-Factory"])["x"]["tags"]
    assert (tags["user_tag"], tags["assistant_tag"], tags["observation_tag"]) == ("human", "gpt", "observation")
    assert (tags["role_tag"], tags["content_tag"], tags["system_tag"]) == ("from", "value", "system")


def test_the_script_for_trl_makes_what_trl_reads() -> None:
    """The function in it is run; the trainer is not."""
    turns = [("human", "u"), ("gpt", "a"), ("human", "thanks")]
    rows = [
        {"conversations": [{"from": role, "value": text} for role, text in turns], "system": "s"},
        ALPACA | {"input": "x", "history": [["q0", "a0"]], "system": "s"},
        {"question": "q", "answer": "a"},
    ]
    made = []
    for row in rows:
        (text,) = (one.text for one in recipes(shape_of_file([row]), "x.jsonl", 64) if one.trainer == "TRL")
        scope: dict[str, object] = {}
        start = min(text.index(mark) for mark in ("ROLES = ", "def split") if mark in text)
        exec(text[start : text.index("\ndata = ")], scope)
        made.append(scope["split"](row))  # type: ignore[operator]
    system = {"role": "system", "content": "s"}
    answer = [{"role": "assistant", "content": "a"}]
    earlier = [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a0"}]
    assert made == [
        {"prompt": [system, {"role": "user", "content": "u"}], "completion": answer},
        {"prompt": [system, *earlier, {"role": "user", "content": "q\n\nx"}], "completion": answer},
        {"prompt": [{"role": "user", "content": "q"}], "completion": answer},
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "conversations", "role", "from", "content", "value", "prompt", "completion"])
            | st.sampled_from(["instruction", "input", "output", "text", "tools", "history", "system", "question"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("record", [{"prompt": None, "completion": None}, {"prompt": [], "completion": None}])
def test_a_prompt_or_completion_that_is_neither_text_nor_turns_stops_trl(record: dict[str, object]) -> None:
    check = check_table([record], limit=10)[0]
    assert (check.trainer, check.kept) == ("TRL", 0)
    assert [risk.effect for risk in check.risks] == ["stops the load"]


@given(st.lists(json_values, max_size=5))
def test_any_file_gets_an_account_that_adds_up(records: list[object]) -> None:
    for check in check_table(records, limit=10):
        assert 0 <= check.kept <= check.rows == len(records)
        rows = [risk.row for risk in check.risks]
        assert rows == sorted(set(rows))
    recipes(shape_of_file(records), "x.jsonl", 10)


def test_plain_text_is_trained_on_whole_and_cut_where_it_is_long() -> None:
    rows = [{"text": "short"}, {"text": "a long one"}]
    table = check_table(rows, limit=9, lengths=[RowLength(1, 2), RowLength(5, 9)])
    assert [(check.kept, [risk.effect for risk in check.risks]) for check in table] == [(2, ["cut"])] * 3
    assert [check.kept for check in check_table([*rows, {"text": None, "n": 1}], limit=9)] == [0, 0, 0]
    made = {recipe.trainer: recipe.text for recipe in recipes(shape_of_file(rows), "x.jsonl", 64)}
    assert "completion_only_loss" not in made["TRL"] and "type: completion" in made["Axolotl"]
    assert json.loads(made["LLaMA-Factory"])["x"]["columns"] == {"prompt": "text"}


def pictured(images: object, text: str = "<image>What is it?") -> dict[str, object]:
    return chat(("user", text), ("assistant", "a"), images=images)


@pytest.mark.parametrize(
    ("record", "llama_factory"),
    [
        (pictured(["a.jpg"]), "up to the model"),
        (pictured(["a.jpg", "b.jpg"]), "stops the load"),
        (pictured(["a.jpg"], "What is it?"), "stops the load"),
        (chat(("user", "<video>u"), ("assistant", "a"), video="a.mp4"), "up to the model"),
        (pictured([]), "kept"),
    ],
)
def test_pictures_beside_the_text(record: dict[str, object], llama_factory: str) -> None:
    found = verdicts(record)
    assert found["LLaMA-Factory"] == llama_factory
    assert found["TRL"] == found["Axolotl"] == ("kept" if llama_factory == "kept" else "loses a field")


def test_recipes_name_the_columns_of_pictures() -> None:
    made = {one.trainer: one.text for one in recipes(shape_of_file([pictured(["a.jpg"])]), "x.jsonl", 100)}
    assert json.loads(made["LLaMA-Factory"])["x"]["columns"] == {"messages": "messages", "images": "images"}
    flat = {"prompt": "p", "completion": "c", "image": "a.jpg"}
    made = {one.trainer: one.text for one in recipes(shape_of_file([flat]), "x.jsonl", 100)}
    assert json.loads(made["LLaMA-Factory"])["x"]["columns"]["images"] == "image"
    assert "remove_columns(['image'])" in made["TRL"]


def calling(arguments: dict[str, object]) -> dict[str, object]:
    call = {"function": {"name": "f", "arguments": arguments}}
    turns = chat(("user", "u"), ("assistant", ""), ("tool", "r"), ("assistant", "a"))
    turns["messages"][1]["tool_calls"] = [call]  # type: ignore[index]
    return turns


@pytest.mark.parametrize(
    ("odd", "good", "words"),
    [
        (calling({"time": "one"}), calling({"time": 1}), "arguments.time` differs in type"),
        (calling({"place": 2}), calling({"time": 1}), "function.arguments` differs in keys"),
        (ALPACA | {"n": "one"}, ALPACA | {"n": 1}, "`n` differs in type"),
        (ALPACA | {"meta": {"a": 1}}, ALPACA | {"meta": {"b": 1}}, "`meta` differs in keys"),
        (
            GOOD | {"tools": [{"x": {}}]},
            GOOD | {"tools": [{"x": {"y": 1}}]},
            "`tools[].x` differs in keys",
        ),
    ],
)
def test_values_that_an_older_datasets_cannot_hold(odd: dict[str, object], good: dict[str, object], words: str) -> None:
    for check in check_table([odd, good, good], limit=100):
        if check.trainer != "LLaMA-Factory" or "tools" not in odd:
            (reason,) = (risk.reason for risk in check.risks if risk.row == 0)
            assert words in reason and "datasets before 4.7" in reason
            assert check.kept == 3
    trl = next(one.text for one in recipes(shape_of_file([odd, good]), "x.jsonl", 100) if one.trainer == "TRL")
    assert "# Needs datasets 4.7 or later" in trl


def test_fields_that_turns_or_rows_lack_are_no_risk() -> None:
    named = chat(("user", "u"), ("assistant", "a"), id=None)
    named["messages"][1]["name"] = "x"  # type: ignore[index]
    table = check_table([named, GOOD, GOOD | {"n": 1}, GOOD | {"n": 2.5}], limit=100)
    assert [check.risks for check in table] == [(), (), ()]
    assert all("null in every row, and so without a type: id" in check.note for check in table)
