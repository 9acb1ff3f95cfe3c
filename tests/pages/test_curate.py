"""The Curate page: what it shows, what it finds, and that edits reach the log and survive a restart."""

from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from hypothesis import given
from hypothesis import strategies as strategy
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.data.quality.facets import facets
from delift_core.system.access import local_user
from delift_core.workspace import Workspace
from pages.ui.curate import row_table
from pages.ui.curate.row_drawer import named_by_prompt
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
    at = press(select(curate(), 2), "Open")
    at.button(key="drawer_next").click().run()
    table = at.dataframe[0]
    assert at.pagination[0].value == 2
    assert at.session_state[table.key]["selection"]["rows"] == [0]


def test_keys_are_taken_once_in_order_each_with_the_row_on_the_screen() -> None:
    at = AppTest.from_function(_press)
    for presses, done in (
        ([["v", 1, "next", "a"], ["v", 2, "drop", "a"]], [("next", "a"), ("drop", "a")]),
        ([["v", 2, "drop", "a"], ["v", 3, "keep", "b"]], [("keep", "b")]),
        ([["w", 1, "undo", "c"]], [("undo", "c")]),
    ):
        at.session_state["presses"] = presses
        at.run()
        assert at.session_state["acts"] == done


def _press() -> None:
    import streamlit as st

    from pages.ui.curate.row_keys import take_presses

    st.session_state["acts"] = []
    take_presses(st.session_state["presses"], lambda action, row: st.session_state["acts"].append((action, row)))


def test_a_row_that_an_edit_takes_off_the_list_has_a_next_row_still(scored_workspace: Path) -> None:
    at = curate()
    at.pills(key="curate_show").set_value("dropped").run()
    order = lines(at)
    press(select(at, 1), "Open")
    next(button for button in at.button if str(button.key).startswith("drawer_keep_")).click().run()
    assert lines(at) == [order[0], *order[2:]]
    at.button(key="drawer_next").click().run()
    assert any(f"row {order[2]} " in caption.value.replace("\\", "") for caption in at.caption)


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


def test_the_drawer_shows_texts_as_they_are_and_says_why(scored_workspace: Path) -> None:
    at = search(curate(), "water wet")
    press(select(at, 0), "Open")
    texts = [text.value for text in at.text]
    assert "Is water wet?" in texts and "Yes, *very* wet: **100 %** <b>wet</b>." in texts
    assert at.code[0].value == '{"instruction":"row 9 of pool"}'
    shown = " ".join(text.value for text in at.markdown).replace("\\", "")
    curated = stored(scored_workspace)
    position = next(place for place, sample in enumerate(curated.problem.run.pool) if sample.line == 9)
    why, named = curated.reason_naming(position, named_by_prompt)
    assert why in shown
    beside = curated.problem.run.pool[next(other for other in named if other != position)]
    assert {message.content for message in beside.messages} <= set(texts)


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
    facts = RowFacts(status, place, greedy, gain, tokens, ~picked, picked)
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
    assert wanted.prompt in [text.value for text in at.text]
    assert at.text_input(key="curate_search").value == "Translate"


def test_a_row_in_the_address_that_is_not_in_the_pool_is_taken_off(scored_workspace: Path) -> None:
    at = app_on("curate")
    at.query_params["row"] = "stranger"
    at.run()
    assert not at.exception and "row" not in at.query_params


def open_first(at: AppTest, shown: str) -> AppTest:
    return press(select(search(at, shown), 0), "Open")


@pytest.mark.slow
def test_the_text_of_a_row_is_changed_in_place_found_and_shown_beside_the_original(scored_workspace: Path) -> None:
    at = press(open_first(curate(), "dog"), "Edit text")
    press(at, "Cancel")
    assert not at.text_area
    press(at, "Edit text")
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
    press(at, "Add")
    assert not at.error, [error.value for error in at.error]
    assert [list(tags) for tags in at.dataframe[0].value["Tags"][:3]] == [["to check"], [], ["to check"]]
    assert at.dataframe[-1].value["Why"].tolist() == ["two of a kind", ""] and not at.text_input(key="bar_why").value
    at.multiselect(key="filter_tags").set_value(["to check"]).run()
    assert set(lines(at)) == {*marked, pool[2].line} and at.query_params["filter_tags"] in ("to check", ["to check"])
    at.pills(key="curate_show").set_value("edited").run()
    assert lines(at)[0] == marked[0] and set(lines(at)) == {*marked, pool[2].line}
    select(at, 0)
    at.text_input(key="bar_note").set_value("ask Ann").run()
    press(at, "Save note")
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
    at = open_first(curate(), "water wet")
    press(at, "Similar rows")
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


def test_the_drawer_goes_on_to_the_next_row_and_stays_open_over_an_edit(scored_workspace: Path) -> None:
    at = press(select(curate(), 0), "Open")
    order = lines(at)
    at.button(key="drawer_next").click().run()
    assert any(f"row {order[1]} " in caption.value.replace("\\", "") for caption in at.caption)
    next(button for button in at.button if str(button.key).startswith("drawer_drop_")).click().run()
    assert any("Always excluded" in caption.value for caption in at.caption)
    at.button(key="drawer_undo").click().run()
    assert not any("Always excluded" in caption.value for caption in at.caption)
    assert at.button(key="drawer_previous").disabled is False


def test_a_row_left_out_is_read_beside_the_chosen_row_that_covers_it(scored_workspace: Path) -> None:
    curated = stored(scored_workspace)
    chosen = set(curated.record.selection.chosen.tolist())
    whys = enumerate(curated.reasons_naming())
    position, named = next(
        (at, named) for at, (_, named) in whys if at not in chosen and set(named) & chosen and named[0] not in chosen
    )
    at = curate()
    at.query_params["row"] = curated.problem.run.pool[position].id
    at.run()
    beside = at.button_group(key=f"beside_{position}")
    assert beside.value in chosen and beside.options[0].endswith(", chosen") and len(beside.options) == len(named)


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
