"""The Data page: health, copies, contamination, leaving rows out, and preference records."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from delift_core.data.loading import HubSplit, RawRecord
from pages.ui.shell import state
from tests.app import app_on
from tests.data.quality.test_paraphrases import SAME
from tests.pages.test_way import assert_calm, open_app, press
from tests.tiny_models import save_model

pytestmark = pytest.mark.slow

LONG = "Explain how a bicycle stays upright while it moves, in words that a child of ten can follow."
ROWS = [
    {"instruction": LONG, "output": "It leans into the turn."},
    {"instruction": LONG.upper(), "output": "It leans into the turn."},
    {"instruction": "Write a letter", "output": "Dear {{ name }}, <b>*hello*</b>"},
    {"instruction": "Anything else?", "output": "No."},
]


def load(app: AppTest, rows: list[dict[str, object]], name: str, role: str = "pool") -> None:
    app.file_uploader[0].upload(name, "\n".join(map(json.dumps, rows)).encode()).run()
    app.segmented_control[-1].set_value(role).run()
    press(app, "Load")
    assert_calm(app)


def open_tab(app: AppTest, name: str) -> None:
    app.session_state["data_tab"] = name
    app.run()
    assert_calm(app)


def frame(app: AppTest, *columns: str):
    return next(one.value for one in app.dataframe if set(columns) <= set(one.value.columns))


def test_health_and_copies_are_shown_and_can_be_left_out(empty_workspace: Path) -> None:
    app = open_app("data")
    load(app, ROWS, "mine.jsonl")
    open_tab(app, "Health")
    assert list(frame(app, "Problem", "What to do", "Rows")["Problem"]) == ["Unfilled template text"]
    open_tab(app, "Duplicates")
    assert list(frame(app, "Keep row")["Duplicates"]) == ["2"]
    press(app, "Remove this duplicate")
    assert_calm(app)
    sets = frame(app, "Role", "Skipped")
    assert sorted(zip(sets["Rows"], sets["Skipped"], strict=True)) == [(3, 1), (4, 0)]


def test_only_the_ticked_rows_or_groups_are_left_out_and_the_new_name_says_so(empty_workspace: Path) -> None:
    app = open_app("data")
    load(app, [*ROWS[:2], {"instruction": "Name a town.", "output": "Ulm, by the river."}] * 2 + ROWS[2:], "mine.jsonl")
    (record,) = state.workspace().datasets.records()
    open_tab(app, "Duplicates")
    groups = frame(app, "Keep row", "Duplicates")
    assert len(groups) == 2 and any(button.label == "Remove all 4 duplicates" for button in app.button)
    place = list(groups["Prompt"]).index("Name a town.")
    app.session_state[f"copies_{record.id}"] = {"selection": {"rows": [place], "columns": [], "cells": []}}
    app.run()
    press(app, "Remove the duplicate of the ticked group")
    assert_calm(app)
    newest = state.workspace().datasets.records()[0]
    assert (newest.name, newest.n_samples) == ("mine · 1 row removed: duplicate of a row that is kept", 7)
    assert sorted(frame(app, "Role", "Name")["Name"]) == sorted(["mine", newest.name])


def test_rows_are_put_in_order_over_all_pages(empty_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.ui.data.rows_view.PAGE_SIZE", 2)
    app = open_app("data")
    load(app, ROWS, "mine.json")
    app.selectbox(key="data_order").set_value("Shortest response first").run()
    shown = frame(app, "Row", "Response characters")  # rows of a JSON array are no lines
    assert list(shown["Row"]) == [4, 1] and list(shown["Response characters"]) == [3, 23]
    app.selectbox(key="data_order").set_value("Longest prompt first").run()
    assert list(frame(app, "Row", "Prompt")["Row"]) == [1, 2]


def test_a_pool_row_that_the_held_out_set_holds_is_flagged(empty_workspace: Path) -> None:
    app = open_app("data")
    load(app, [{"instruction": LONG, "output": "Other words."}], "held.jsonl", "heldout")
    app.file_uploader[0].clear().run()
    load(app, ROWS, "mine.jsonl")
    open_tab(app, "Duplicates")
    assert list(frame(app, "Row there")["Row"]) == [1, 2]


def test_which_answer_of_a_pair_is_learnt_has_to_be_said(empty_workspace: Path) -> None:
    rows = [{"prompt": "Say hi", "chosen": "Hi there", "rejected": "Go away"}]
    app = open_app("data")
    app.file_uploader[0].upload("pairs.jsonl", json.dumps(rows[0]).encode()).run()
    assert any("you did not say which one" in text.value for text in app.text)
    app.segmented_control(key="preference_answer").set_value("chosen").run()
    assert any("assistant: Hi there" in text.value for text in app.text)
    press(app, "Load")
    assert_calm(app)
    assert list(frame(app, "Role", "Format")["Format"]) == ["preference-chosen"]


def test_a_hub_data_set_with_its_options(empty_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[HubSplit] = []

    def rows(split: HubSplit) -> tuple[HubSplit, Iterator[RawRecord]]:
        asked.append(split)
        return split, iter([RawRecord(split.repo_id, 1, json.dumps(ROWS[0]), ROWS[0])])

    monkeypatch.setattr("delift_core.data.loading.load.open_hub", rows)
    app = open_app("data")
    app.segmented_control[0].set_value("Hub").run()
    app.text_input(key="hub_id").set_value("owner/name").run()
    app.text_input(key="hub_config").set_value("main").run()
    app.text_input(key="hub_revision").set_value("v1").run()
    app.number_input(key="hub_limit").set_value(5).run()
    press(app, "Load")
    assert_calm(app)
    assert HubSplit("owner/name", "main", "train", "v1", 5) in asked
    # As a command names it, so that the manifest's origin can be loaded again.
    assert list(frame(app, "Role", "From")["From"]) == ["hub:owner/name:train,config=main,revision=v1,limit=5"]


def test_rows_are_filtered_by_signals_and_their_tokens_counted(empty_workspace: Path, tmp_path: Path) -> None:
    app = open_app("data")
    load(app, ROWS, "mine.jsonl")
    (residue,) = (one for one in app.multiselect if one.label == "Unfilled template text")
    residue.set_value(["yes"]).run()
    assert len(frame(app, "Row", "Prompt", "Response")) == 1
    link = app_on("data")
    link.query_params[str(residue.key)] = "yes"
    link.run()
    assert list(frame(link, "Row", "Prompt", "Response")["Row"]) == [3]
    app.text_input(key="tokens_name").set_value(str(save_model(tmp_path / "tiny"))).run()
    press(app, "Count tokens")
    assert_calm(app)
    assert (frame(app, "Row", "Prompt tokens")["Response tokens"] > 0).all()
    assert any("prompt tokens" in caption.value for caption in app.caption)


def test_remedies_of_problems_and_findings_make_a_new_set(empty_workspace: Path) -> None:
    rows = [
        {"instruction": "Mail?", "output": "jo@example.com"},
        {"instruction": "Fine", "output": "Yes."},
        {"instruction": "Number?", "output": 12},
    ]
    app = open_app("data")
    load(app, rows, "mine.jsonl")
    open_tab(app, "Skipped (1)")
    assert list(frame(app, "Records", "Problem")["Problem"]) == ["A value is not text"]
    assert list(frame(app, "Line", "Why")["Line"]) == [3]
    press(app, "Convert numbers, lists and objects to text (1 row)")
    assert_calm(app)
    assert any("values converted to text in 1 row, 3 rows" in message.value for message in app.success)
    assert list(frame(app, "Role", "Skipped")["Rows"]) == [3, 2]


@pytest.mark.slow
def test_rows_in_other_words_are_grouped_and_can_be_left_out(empty_workspace: Path) -> None:
    (first, second), (third, fourth), *_ = SAME
    app = open_app("data")
    load(app, [{"question": fourth[0], "answer": fourth[1]}], "held.jsonl", "heldout")
    app.file_uploader[0].clear().run()
    rows = [{"question": question, "answer": answer} for question, answer in (first, second, third)]
    load(app, rows, "mine.jsonl")
    open_tab(app, "Duplicates")
    assert list(frame(app, "Keep row", "Duplicates")["Duplicates"]) == ["1"]
    assert list(frame(app, "Row there", "How")["How"]) == ["paraphrase"]
    next(button for button in app.button if "Paraphrase" in str(button.key)).click().run()
    assert_calm(app)
    newest = state.workspace().datasets.records("pool")[0]
    assert (newest.name, newest.n_samples) == ("mine · 1 row removed: paraphrase of a row that is kept", 2)


def test_signals_of_a_large_set_are_read_when_asked_for_and_kept(
    empty_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.ui.data.signals.SIGNAL_ROWS", 3)
    app = open_app("data")
    load(app, ROWS, "mine.jsonl")
    assert not [one for one in app.multiselect if one.label == "Unfilled template text"]
    assert any("of 4 rows takes about" in caption.value for caption in app.caption)
    press(app, "Find them")
    assert_calm(app)
    again = open_app("data")
    (residue,) = (one for one in again.multiselect if one.label == "Unfilled template text")
    residue.set_value(["yes"]).run()
    assert len(frame(again, "Row", "Prompt", "Response")) == 1


def test_health_is_of_the_records_and_not_of_what_they_say(empty_workspace: Path) -> None:
    app = open_app("data")
    load(app, [{"id": 7, "instruction": f"Say {at}", "output": f"It is {at}."} for at in range(2)], "mine.jsonl")
    open_tab(app, "Health")
    assert list(frame(app, "Problem", "What to do")["Problem"]) == ["Record id used twice"]
    (record,) = state.workspace().datasets.records()
    app.session_state[f"health_{record.id}"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    press(app, "Give the repeats new ids (2 rows)")
    assert_calm(app)
    newest = state.workspace().datasets.records()[0]
    assert newest.id != record.id and newest.content_hash == record.content_hash
    assert not [one for one in app.dataframe if "What to do" in one.value.columns]


def test_files_of_a_folder_that_are_not_read_are_named_before_and_after_loading(
    empty_workspace: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (folder / "test.jsonl").write_text('{"question": "r", "answer": "b"}\n')
    (folder / "notes.md").write_text("words")
    app = open_app("data")
    app.segmented_control[0].set_value("Path").run()
    app.text_input(key="path").set_value(str(folder)).run()
    told = [caption.value for caption in app.caption]
    assert any("it belongs to the split test" in text for text in told)
    assert any("are not read in a folder" in text for text in told)
    press(app, "Load")
    assert_calm(app)
    assert "2 files of the folder not read" in app.success[0].value
    open_tab(app, "Skipped (2)")
    assert list(frame(app, "File", "Why")["File"]) == ["notes.md", "test.jsonl"]


def test_marks_are_asked_about_parts_are_joined_and_unread_columns_are_named(empty_workspace: Path) -> None:
    rows = [
        {"question": f"Is gate {at} shut?", "context": f"Gate {at} is {word}.", "answer": word, "by": "Jo", "label": at}
        for at, word in enumerate(("open", "shut"))
    ]
    app = open_app("data")
    app.file_uploader[0].upload("gates.jsonl", "\n".join(map(json.dumps, rows)).encode()).run()
    assert any("you did not say which answers" in text.value for text in app.text)
    assert any("not used: by. They are kept" in text.value.replace("\\", "") for text in app.caption)
    assert app.multiselect(key="map_parts").value == ["context"]
    app.segmented_control(key="preference_answer").set_value("chosen").run()
    assert any("user: Is gate 1 shut?\n\nGate 1 is shut." in text.value for text in app.text)
    press(app, "Load")
    assert_calm(app)
    sets = frame(app, "Role", "Rows", "Skipped")
    assert (list(sets["Rows"]), list(sets["Skipped"])) == ([1], [1])
    assert state.workspace().datasets.records("pool")[0].format == "preference-chosen"


def test_what_is_scored_of_answers_with_thoughts_is_asked_where_there_are_some(empty_workspace: Path) -> None:
    app = open_app("data")
    rows = (Path(__file__).parents[1] / "fixtures" / "reasoning.jsonl").read_text(encoding="utf-8")
    app.file_uploader[0].upload("plain.jsonl", json.dumps(ROWS[0]).encode()).run()
    assert "scored_part" not in [one.key for one in app.segmented_control]
    app.file_uploader[0].upload("reasoning.jsonl", rows.encode()).run()
    assert any("(thoughts) 9:40 plus two hours is 11:40." in one.value for one in app.text)
    app.segmented_control(key="scored_part").set_value("thoughts").run()
    press(app, "Load")
    assert_calm(app)
    open_tab(app, "Skipped (1)")
    assert "No thoughts to score" in list(frame(app, "Records", "Problem")["Problem"])
    (record,) = state.workspace().datasets.records()
    assert record.n_samples == 9 and record.origin.options is not None
    assert record.origin.options.scored == "thoughts"
