"""The Curate page: what it shows, what it finds, and that edits reach the log and survive a restart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from hypothesis import given
from hypothesis import strategies as strategy
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.row_reason import row_reason
from delift_core.data.quality.facets import facets
from delift_core.system.access import local_user
from delift_core.workspace import Workspace
from pages.ui.curate import row_table
from pages.ui.curate.reader import named_by_prompt
from pages.ui.curate.row_table import STATE_WORDS, RowFacts, arranged
from pages.ui.shell import state
from pages.ui.shell.state import workspace
from tests.app import app_on

pytestmark = pytest.mark.slow


def curate() -> AppTest:
    at = app_on("curate").run()
    assert not at.exception
    return at


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def lines(at: AppTest) -> list[int]:
    return at.dataframe[0].value["Row"].tolist()


def search(at: AppTest, text: str) -> AppTest:
    return at.text_input(key="curate_search").set_value(text).run()


def select(at: AppTest, *rows: int) -> AppTest:
    at.session_state[at.dataframe[0].key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return at.run()


def changed(at: AppTest, element: Any, **value: str) -> AppTest:
    """A run after the browser has changed the state of an element for which `AppTest` has no actions."""
    states = at._tree.get_widget_states()
    states.widgets.append(WidgetState(id=element.proto.id, **value))
    at = at._run(states)
    assert not at.exception
    return at


def open_row(at: AppTest, row: int) -> AppTest:
    """Clicks the text of a row in the list."""
    selection = {"selection": {"rows": [], "columns": [], "cells": [[row, "Prompt"]]}}
    return changed(at, at.dataframe[0], string_value=json.dumps(selection))


def reader_element(at: AppTest) -> Any:
    return next(one for one in at.get("bidi_component") if "reader" in one.proto.component_name)


def reader(at: AppTest) -> dict[str, Any]:
    """What the browser is given of the open row and those around it."""
    found: dict[str, Any] = json.loads(reader_element(at).proto.json)
    return found


def shown(at: AppTest) -> dict[str, Any]:
    """The open row, as the browser is given it."""
    data = reader(at)
    found: dict[str, Any] = next(row for row in data["rows"] if row["id"] == data["current"])
    return found


def report(at: AppTest, *done: tuple[str, str, str]) -> AppTest:
    """What the browser reports: (action, row that was shown, row shown now) in order."""
    visit, last = reader(at)["done"]
    presses = [["v", last + number, *one] for number, one in enumerate(done, start=1)]
    return changed(at, reader_element(at), json_value=json.dumps({"presses": presses}))


def key(at: AppTest, action: str) -> AppTest:
    """Presses a key while a row is shown: a decision and a step go on to the next row."""
    data = reader(at)
    place = data["queue"].index(data["current"])
    way = {"previous": -1, "keep": 1, "drop": 1, "next": 1}.get(action, 0)
    return report(at, (action, data["current"], data["queue"][place + way]))


def press(at: AppTest, label: str) -> AppTest:
    at = next(button for button in at.button if button.label == label).click().run()
    assert not at.exception
    return at


def restart() -> None:
    """What a new server process would start with."""
    st.cache_resource.clear()
    st.cache_data.clear()


def stored(folder: Path) -> CuratedSelection:
    """The selection as the disk has it, read once the pages have let go of it."""
    restart()
    with Workspace.open(folder) as workspace:
        return open_selection(workspace, "s1")


def test_rows_with_state_rank_and_gain(scored_workspace: Path) -> None:
    at = curate()
    table = at.dataframe[0].value
    curated = stored(scored_workspace)
    selection, pool = curated.record.selection, curated.problem.run.pool
    assert table["Rank"].tolist()[:4] == [1, 2, 3, 4] and table["Rank"].isna().sum() == 8
    assert table["Row"].tolist()[:4] == [pool[position].line for position in selection.chosen]
    assert table["Prompt"].tolist()[:4] == [pool[position].prompt for position in selection.chosen]
    assert table["Gain"].to_numpy()[:4] == pytest.approx(selection.chosen_gains)
    assert [states[0] for states in table["State"]] == ["Chosen"] * 4 + ["Not chosen"] * 8
    assert sorted(table["Row"]) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]


def test_a_search_finds_its_rows_although_a_row_before_them_was_left_out(scored_workspace: Path) -> None:
    at = curate()
    assert lines(search(at, "peru")) == [12]
    assert lines(search(at, "colour of the sky")) in ([2, 7], [7, 2])
    for nowhere in ("la la", "zebra*"):
        assert any("No rows match" in caption.value for caption in search(at, nowhere).caption)


def test_an_edit_counts_at_once_and_survives_a_restart(scored_workspace: Path) -> None:
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    dropped = lines(at)
    select(at, 0, 2)
    press(at, "Keep")
    assert metrics(at)["Rows in the subset"] == "6" and metrics(at)["Kept by hand"] == "2"
    assert [toast.value for toast in at.toast] == ["Kept: 2 rows"]
    assert lines(at) == [dropped[1], *dropped[3:]]
    curated = stored(scored_workspace)
    kept = [curated.problem.run.pool[position].line for position in curated.subset.by_hand]
    assert sorted(kept) == sorted([dropped[0], dropped[2]])
    assert metrics(curate())["Kept by hand"] == "2"


def test_no_row_stays_selected_when_other_rows_take_its_place(scored_workspace: Path) -> None:
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    select(at, 1)
    press(at, "Keep")
    assert next(button for button in at.button if button.label == "Keep").disabled
    assert any("0 rows" in text.value for text in at.markdown)


def test_drop_undo_redo_and_reset(scored_workspace: Path) -> None:
    at = curate()
    select(at, 0)
    press(at, "Drop")
    assert metrics(at)["Dropped by hand"] == "1" and at.dataframe[0].value["State"][0] == ["Dropped by hand"]
    assert metrics(press(at, "Undo"))["Dropped by hand"] == "0"
    assert metrics(press(at, "Redo"))["Dropped by hand"] == "1"
    select(at, 0)
    assert metrics(press(at, "Reset"))["Dropped by hand"] == "0"
    assert at.dataframe[-1].value["Action"].tolist() == ["reset", "drop"]


def test_what_another_visitor_edits_or_takes_back_is_seen_at_the_next_look(scored_workspace: Path) -> None:
    at = curate()
    state_words, opened = at.dataframe[0].value["State"].tolist(), workspace(local_user())
    pool = opened.datasets.load(opened.runs.record("r1").spec.pool_id).samples
    first = next(sample for sample in pool if sample.line == lines(at)[0])
    opened.edits.apply("s1", "drop", [first.id], author="other")
    assert metrics(at.run())["Dropped by hand"] == "1" and at.dataframe[0].value["State"][0] == ["Dropped by hand"]
    opened.edits.undo("s1")
    assert metrics(at.run())["Dropped by hand"] == "0" and at.dataframe[0].value["State"].tolist() == state_words
    opened.edits.redo("s1")
    opened.edits.apply("s1", "note", [first.id], author="other", detail="look again")
    assert metrics(at.run())["Dropped by hand"] == "1" and "look again" in at.dataframe[0].value["Note"].tolist()
    opened.selections.rename("s1", "renamed")
    assert not at.run().exception and "renamed" in at.selectbox(key="selection_picker").options[0]


def test_edits_made_while_a_selection_is_opened_are_not_kept_under_the_version_before(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = curate()
    opened = workspace(local_user())
    dropped = lines(at)[0]
    pool = opened.datasets.load(opened.runs.record("r1").spec.pool_id).samples
    opened.edits.apply("s1", "drop", [next(one.id for one in pool if one.line == dropped)], author="a")
    opened.edits.undo("s1")
    real = state.open_selection

    def meanwhile(*args: object) -> CuratedSelection:
        opened.edits.redo("s1")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(state, "open_selection", meanwhile)
    assert metrics(at.run())["Dropped by hand"] == "1"
    monkeypatch.setattr(state, "open_selection", real)
    opened.edits.undo("s1")
    assert metrics(at.run())["Dropped by hand"] == "0"


def test_a_chosen_row_that_is_kept_and_a_left_out_one_that_is_dropped_say_so(scored_workspace: Path) -> None:
    at = curate()
    select(at, 0)
    press(at, "Keep")
    assert at.dataframe[0].value["State"][0] == ["Kept by hand"]
    assert (metrics(at)["Kept by hand"], metrics(at)["Rows in the subset"]) == ("1", "4")
    (said,) = [toast.value for toast in at.toast]
    assert "already in the subset and will stay in" in said and said.startswith("Kept: row ")
    select(at, 5, 6)
    press(at, "Drop")
    assert [at.dataframe[0].value["State"][row] for row in (5, 6)] == [["Dropped by hand"]] * 2
    assert [toast.value for toast in at.toast] == ["Dropped: 2 rows were already out of the subset and will stay out"]
    select(at, 1, 7)
    press(at, "Drop")
    assert [toast.value for toast in at.toast] == [
        "Dropped: 1 row; 1 row was already out of the subset and will stay out"
    ]
    assert (metrics(at)["Dropped by hand"], metrics(at)["Rows in the subset"]) == ("4", "3")


def test_the_numbers_of_the_tabs_follow_the_search_and_the_filters(scored_workspace: Path) -> None:
    at = search(curate(), "colour of the sky")
    counts = [int(label.rpartition("(")[2].rstrip(")")) for label in at.pills(key="curate_show").options]
    assert counts[0] == counts[1] + counts[2] == 2  # all, chosen, dropped


def test_rows_are_ordered_by_the_length_of_all_responses(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_table, "PAGE_SIZES", (3, 25))
    at = curate()
    at.selectbox(key="curate_sort").set_value("longest").run()
    tokens = stored(scored_workspace).problem.run.response_tokens()
    assert at.dataframe[0].value["Tokens"].tolist() == sorted(tokens.tolist(), reverse=True)[:3]
    assert any(caption.value.startswith("Rows 1 to 3 of 12") for caption in at.caption)


def test_the_list_turns_to_the_row_that_is_read_and_ticks_it(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_table, "PAGE_SIZES", (3, 25))
    at = key(open_row(curate(), 2), "next")
    table = at.dataframe[0]
    assert at.pagination[0].value == 2
    assert at.session_state[table.key]["selection"]["rows"] == [0]


def test_reports_are_taken_once_in_order_each_with_the_row_on_the_screen(scored_workspace: Path) -> None:
    at = curate()
    a, b, c = reader(at)["queue"][:3]
    for presses in (
        [["v", 1, "next", a, b], ["v", 2, "drop", b, c]],
        [["v", 1, "next", a, b], ["v", 2, "drop", b, c], ["v", 3, "keep", c, c]],  # sent again before it was confirmed
        [["w", 1, "undo", c, c]],  # another visit counts from 1
    ):
        at = changed(at, reader_element(at), json_value=json.dumps({"presses": presses}))
        assert reader(at)["done"] == presses[-1][:2]
    curated = stored(scored_workspace)
    with Workspace.open(scored_workspace) as workspace:
        history = workspace.edits.history("s1")
    assert [(edit.action, edit.sample_ids, edit.state) for edit in history] == [
        ("drop", (b,), "applied"),
        ("keep", (c,), "undone"),
    ]
    assert [curated.problem.run.pool[place].id for place in curated.subset.banned] == [b]


def test_a_row_that_an_edit_takes_off_the_list_is_followed_by_the_next_one(scored_workspace: Path) -> None:
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    order = lines(at)
    at = key(open_row(at, 1), "keep")
    assert lines(at) == [order[0], *order[2:]] and shown(at)["place"] == f"row {order[2]}"
    at = report(at, ("drop", reader(at)["current"], reader(at)["queue"][0]))  # stays in the list, goes back
    assert shown(at)["place"] == f"row {order[0]}"
    at = open_row(at, 1)
    kept = reader(at)["current"]
    at = report(at, ("keep", kept, kept))  # off the list, and still open
    assert reader(at)["current"] == kept and reader(at)["at"] is None
    assert shown(key(at, "next"))["place"] == f"row {order[3]}"


def test_another_list_opens_its_first_row(scored_workspace: Path) -> None:
    at = open_row(curate(), 0)
    assert shown(at)["words"] == "Chosen"
    at.pills(key="curate_show").set_value("dropped").run()
    assert shown(at)["place"] == f"row {lines(at)[0]}" and "row" not in at.query_params


def test_rows_that_were_read_are_counted_and_can_be_left_out_also_after_a_restart(scored_workspace: Path) -> None:
    at = curate()
    order = lines(at)
    assert (reader(at)["read"], reader(at)["rows_in_view"]) == (0, 12)
    at = key(key(at, "drop"), "next")
    assert (reader(at)["read"], reader(at)["rows_in_view"]) == (3, 12)  # decided, passed, and the open one
    restart()
    at = curate()
    assert reader(at)["read"] == 3 and at.dataframe[0].value["Read"].tolist() == ["✓"] * 3 + [""] * 9
    at.toggle(key="curate_unread").set_value(True).run()
    assert lines(at) == order[3:]
    at = key(key(at, "keep"), "next")
    assert lines(at) == order[3:]  # the list does not shrink below the reader
    assert (reader(at)["read"], reader(at)["rows_in_view"]) == (6, 12)
    at.toggle(key="curate_unread").set_value(False).run()
    at.toggle(key="curate_unread").set_value(True).run()
    assert lines(at) == order[6:]
    for _ in order[6:]:
        at = key(at, "next") if len(reader(at)["queue"]) > 1 + reader(at)["at"] else at
    at.toggle(key="curate_unread").set_value(False).run()
    at.toggle(key="curate_unread").set_value(True).run()
    assert any("All 12 rows are read" in caption.value for caption in at.caption) and not at.dataframe[0].value.empty


def test_the_browser_holds_rows_around_the_open_one_with_reasons(scored_workspace: Path) -> None:
    at = open_row(curate(), 5)
    data, order = reader(at), lines(at)
    assert [row["place"] for row in data["rows"]] == [f"row {line}" for line in [*order[5:], *order[:5]]]
    assert data["at"] == 5 and data["total"] == 12 and data["queue"].index(data["current"]) == 5
    assert data["rows"][0]["why"]["lead"]


def test_coverage_is_that_of_the_subset(scored_workspace: Path) -> None:
    at = curate()
    select(at, 0)
    press(at, "Drop")
    shown = float(metrics(at)["Coverage"])
    curated = stored(scored_workspace)
    helped = np.fmax(curated.problem.utilities.pool, 0)
    np.fill_diagonal(helped, 0)
    left = curated.record.selection.chosen[1:]
    assert shown == pytest.approx(helped[:, left].max(axis=1).sum(), rel=0.01)


def test_all_matching_rows_are_edited_beyond_the_page(scored_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_table, "PAGE_SIZES", (5, 25))
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    assert len(lines(at)) == 5
    first = lines(at)
    at.pagination[0].set_value(2).run()
    assert len(lines(at)) == 3 and not set(lines(at)) & set(first)
    at.checkbox[0].check().run()
    press(at, "Keep")
    assert metrics(at)["Rows in the subset"] == "12"
    at.pills(key="curate_show").set_value("all").run()
    assert not at.checkbox[0].value


def test_the_reader_shows_texts_as_they_are_and_says_why_in_words_and_numbers(scored_workspace: Path) -> None:
    row = shown(search(curate(), "water wet"))
    assert [turn["text"] for turn in row["turns"]] == ["Is water wet?", "Yes, *very* wet: **100 %** <b>wet</b>."]
    assert row["record"] == '{"instruction":"row 9 of pool"}'
    curated = stored(scored_workspace)
    pool = curated.problem.run.pool
    position = next(place for place, sample in enumerate(pool) if sample.line == 9)
    reason = curated.explained(position)
    words = row_reason(curated, position, reason)
    why = row["why"]
    assert why["lead"] == words.lead and why["numbers"].startswith(curated.as_text(reason, named_by_prompt)[0])
    assert [one["id"] for one in why["helps"]] == [pool[one.position].id for one in words.helps]
    assert all(
        one["text"] == f"“{pool[helped.position].prompt}”"
        for one, helped in zip(why["helps"], words.helps, strict=True)
    )


def test_without_a_selection_the_page_links_to_select(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        workspace.selections.delete("s1")
    at = curate()
    assert [link.proto.page for link in at.get("page_link")][-1] == "select" and not at.dataframe


@given(strategy.data())
def test_arranged_shows_each_row_of_a_state_once_in_order(data: strategy.DataObject) -> None:
    n = data.draw(strategy.integers(1, 12))
    order = np.array(data.draw(strategy.permutations(range(n))))
    k = data.draw(strategy.integers(0, n))
    chosen = np.array(order[:k], dtype=np.int64)
    place, greedy = np.full(n, np.nan), np.empty(n, dtype=np.int64)
    place[chosen], greedy[order] = np.arange(1, k + 1), np.arange(n)
    status = np.array([data.draw(strategy.sampled_from(sorted(STATE_WORDS))) for _ in range(n)])
    gain = np.array(data.draw(strategy.lists(strategy.floats(0, 9), min_size=n, max_size=n)))
    matching = np.array(data.draw(strategy.lists(strategy.booleans(), min_size=n, max_size=n)))
    picked = np.array(data.draw(strategy.lists(strategy.booleans(), min_size=n, max_size=n)))
    tokens = np.array(data.draw(strategy.lists(strategy.integers(0, 9), min_size=n, max_size=n)), dtype=np.int64)
    facts = RowFacts(status, place, greedy, gain, tokens, ~picked, picked, picked)
    for show, wanted in (("picked", picked), ("edited", ~picked)):
        assert arranged(facts, show, "file", matching).tolist() == np.flatnonzero(wanted & matching).tolist()
    assert arranged(facts, "all", "picked", None).tolist() == order.tolist()
    by_gain = arranged(facts, "all", "gain", None)
    assert sorted(by_gain.tolist()) == list(range(n)) and (np.diff(gain[by_gain]) <= 0).all()
    in_subset, out = (set(arranged(facts, show, "gain", None).tolist()) for show in ("chosen", "dropped"))
    assert in_subset | out == set(range(n)) and not in_subset & out


def test_filters_narrow_the_rows(scored_workspace: Path) -> None:
    at = curate()
    key = "filter_response_length"
    options = at.multiselect(key=key).options
    at.multiselect(key=key).set_value([options[0]]).run()
    assert not at.exception
    shown = lines(at)
    run = stored(scored_workspace).problem.run
    facet = next(facet for facet in facets(run.pool, run.alone().tokens) if facet.name == "Response length")
    assert set(shown) == {run.pool[place].line for place in np.flatnonzero(facet.codes == 0)}


def test_a_view_is_a_link(scored_workspace: Path) -> None:
    wanted = stored(scored_workspace).problem.run.pool[5]
    restart()
    at = app_on().run()
    assert at.query_params["run"] == "r1" and at.query_params["selection"] == "s1"
    at = at.switch_page("pages/curate.py")
    at.query_params["row"] = wanted.id
    at.query_params["curate_search"] = "Translate"
    at.run()
    assert not at.exception
    assert wanted.prompt in [turn["text"] for turn in shown(at)["turns"]]
    assert at.text_input(key="curate_search").value == "Translate"


def test_a_row_in_the_address_that_is_not_in_the_pool_is_taken_off(scored_workspace: Path) -> None:
    at = app_on("curate")
    at.query_params["row"] = "stranger"
    at.run()
    assert not at.exception and "row" not in at.query_params


@pytest.mark.slow
def test_the_text_of_a_row_is_changed_in_place_found_and_shown_beside_the_original(scored_workspace: Path) -> None:
    at = key(search(curate(), "dog"), "edit")
    press(at, "Cancel")
    assert not at.text_area
    at = key(at, "edit")
    assert [area.value for area in at.text_area] == ["Translate 'dog' into German.", "Hund."]
    at.text_area[1].set_value("  ")
    press(at, "Save text")
    assert len(at.error) == 1 and len(at.text_area) == 2 and at.text_area[1].value == "  "
    at.text_area[1].set_value("Der Hund.")
    press(at, "Save text")
    assert not at.error and not at.text_area
    shown = "".join(element.proto.body for element in at.get("html"))
    assert "Hund." in shown and "Der " in shown and "text-decoration:underline" in shown
    restart()
    assert lines(search(curate(), "der hund")) == [13]
    curated = stored(scored_workspace)
    assert [sample.response for sample in curated.samples if sample.line == 13] == ["Der Hund."]
    assert [sample.response for sample in curated.problem.run.pool if sample.line == 13] == ["Hund."]


@pytest.mark.slow
def test_tags_notes_and_reasons_are_logged_shown_and_filtered_by(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        pool = workspace.datasets.load(workspace.runs.record("r1").spec.pool_id).samples
        workspace.edits.apply("s1", "tag", [pool[2].id], author="Ann", detail="to check")
    at = select(curate(), 0, 2)
    press(at, "Undo")  # Ann's
    assert at.dataframe[-1].value["State"].tolist()[0].startswith("undone by ")
    press(at, "Redo")
    marked = [lines(at)[0], lines(at)[2]]
    select(at, 0, 2)
    at.text_input(key="bar_why").set_value("two of a kind").run()
    at.selectbox(key="bar_tag").set_value("to check").run()
    at.button(key="bar_tag_button").click().run()
    assert not at.error, [error.value for error in at.error]
    assert [list(tags) for tags in at.dataframe[0].value["Tags"][:3]] == [["to check"], [], ["to check"]]
    assert at.dataframe[-1].value["Why"].tolist() == ["two of a kind", ""] and not at.text_input(key="bar_why").value
    at.multiselect(key="filter_tags").set_value(["to check"]).run()
    assert set(lines(at)) == {*marked, pool[2].line} and at.query_params["filter_tags"] in ("to check", ["to check"])
    at.pills(key="curate_show").set_value("edited").run()
    assert lines(at)[0] == marked[0] and set(lines(at)) == {*marked, pool[2].line}
    select(at, 0)
    at.text_input(key="bar_note").set_value("ask Ann").run()
    at.button(key="bar_note_button").click().run()
    assert stored(scored_workspace).marks.notes == {
        sample.id: "ask Ann" for sample in stored(scored_workspace).problem.run.pool if sample.line == marked[0]
    }


def test_picked_rows_have_a_tab(scored_workspace: Path) -> None:
    pool = stored(scored_workspace).problem.run.pool
    restart()
    at = app_on("curate")
    at.session_state["picks"] = {"r1": (pool[3].id, pool[1].id)}
    at.run()
    at.pills(key="curate_show").set_value("picked").run()
    assert sorted(lines(at)) == sorted([pool[1].line, pool[3].line])


def test_a_filter_is_saved_under_a_name_chosen_again_and_deleted(scored_workspace: Path) -> None:
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    at.multiselect(key="filter_response_length").set_value(
        [at.multiselect(key="filter_response_length").options[0]]
    ).run()
    wanted = lines(search(at, "a"))
    at.text_input(key="filter_name").set_value("short and dropped").run()
    at.button(key="save_filter").click().run()
    restart()
    at = curate()
    assert len(lines(at)) == 12
    at.button(key="use_filter_0").click().run()
    assert not at.exception and lines(at) == wanted and at.query_params["show"] == "dropped"
    at.button(key="delete_filter_0").click().run()
    assert lines(at) == wanted and "delete_filter_0" not in [button.key for button in at.button]


def test_rows_similar_to_one_come_first(scored_workspace: Path) -> None:
    at = key(search(curate(), "water wet"), "similar")
    search(at, "")
    run = stored(scored_workspace).problem.run
    embeddings = run.embeddings()[: len(run.pool)]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    own = next(place for place, sample in enumerate(run.pool) if sample.line == 9)
    nearest = np.argsort(-(unit @ unit[own]))
    assert lines(at)[:2] == [run.pool[place].line for place in nearest[:2]] and lines(at)[0] == 9
    assert "similar" in at.query_params
    press(at, "Usual order")
    assert "similar" not in at.query_params


def test_keys_decide_go_on_and_go_back(scored_workspace: Path) -> None:
    at = curate()
    order = lines(at)
    at = key(at, "drop")
    assert shown(at)["place"] == f"row {order[1]}" and not at.toast
    at = key(at, "previous")
    assert shown(at)["words"] == "Dropped by hand" and reader(at)["can_undo"]
    at = key(at, "undo")
    assert shown(at)["words"] == "Chosen" and reader(at)["said"] == "Undone: drop 1 row" and reader(at)["can_redo"]
    at = key(at, "redo")
    assert shown(at)["words"] == "Dropped by hand"
    at = key(at, "reset")
    assert shown(at)["words"] == "Chosen" and shown(at)["place"] == f"row {order[0]}"


def test_a_row_left_out_names_the_chosen_row_that_does_the_same_job(scored_workspace: Path) -> None:
    curated = stored(scored_workspace)
    chosen, pool = set(curated.record.selection.chosen.tolist()), curated.problem.run.pool
    reasons = (row_reason(curated, place, curated.explained(place)) for place in range(len(pool)))
    position, reason = next((at, one) for at, one in enumerate(reasons) if one.same_job is not None)
    assert position not in chosen and reason.same_job in chosen
    at = curate()
    at.query_params["row"] = pool[position].id
    at.run()
    same = shown(at)["why"]["same"]
    assert same["id"] == pool[reason.same_job].id and same["words"] == "Chosen"
    assert [turn["text"] for turn in same["turns"]] == [message.content for message in pool[reason.same_job].messages]
    at = report(at, ("show", pool[position].id, same["id"]))  # a click on it
    assert shown(at)["id"] == same["id"]


def test_the_subset_is_made_of_what_its_edits_left(scored_workspace: Path) -> None:
    at = app_on("curate")
    at.query_params["composition"] = "true"
    at.run()
    assert not at.exception
    before = [caption.value for caption in at.caption]
    press(select(at, 0), "Drop")
    after = [caption.value for caption in at.caption]
    told = [[text for text in texts if "the subset" in text] for texts in (before, after)]
    assert told[0] and told[1] and told[0] != told[1]


def test_what_the_model_reads_of_the_open_row(scored_workspace: Path) -> None:
    at = curate()
    before = len(at.code)
    at.toggle(key="curate_model_text").set_value(True).run()
    assert not at.exception
    shown = [block.value for block in at.code][before:]
    assert shown[0] == "<s>system\nBe brief.</s>" and len(shown) == 3
