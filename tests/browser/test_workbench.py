"""The workbench in a real Chromium: reasons, pins, texts, tags, filters, comparisons, two visitors, a restart."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from delift_core.curation.curate import open_selection
from delift_core.workspace import Workspace
from tests.browser.conftest import AppServer, open_first_row, reader_of, tick_first_row
from tests.browser.worked import lay_out_as_a_grid
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]


@pytest.fixture(scope="module", autouse=True)
def row(app_server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fills the workspace before the first visitor makes the server open it; id of the row whose record has texts."""
    make_scored_workspace(app_server.workspace, tmp_path_factory.mktemp("model") / "model")
    lay_out_as_a_grid(app_server.workspace)
    with Workspace.open(app_server.workspace) as workspace:
        return open_selection(workspace, "s1").samples[-1].id


def test_a_dropped_row_is_read_pinned_the_rest_chosen_again_and_both_compared(page: Page, settled: Settled) -> None:
    page.goto("/curate?show=dropped")
    settled(page)
    reader = open_first_row(page, settled)
    expect(reader.locator(".lead")).to_have_text(re.compile("^Left out"))
    address = page.url
    assert "row=" in address
    page.reload()  # the address carries the view, the open row included
    settled(page)
    expect(reader.locator(".lead")).to_have_text(re.compile("^Left out"))
    title = reader.get_by_role("heading", level=2)
    first = title.inner_text()
    reader.get_by_role("button", name="Keep").click()
    expect(title).not_to_have_text(first)  # it goes on
    settled(page)
    for key, said in (("u", "Undone"), ("d", "Dropped"), ("u", "Undone"), ("k", "Kept")):
        page.keyboard.press(key)
        expect(reader.get_by_role("status")).to_have_text(re.compile(f"^{said}: "))
        settled(page)
    page.get_by_text("Edited (1)").click()
    settled(page)
    expect(title).to_have_text(first)
    expect(reader.get_by_text("Kept by hand", exact=True)).to_be_visible()
    page.keyboard.press("a")
    expect(page.get_by_text("Re-optimised around your edits")).to_be_visible()
    settled(page)
    expect(page.get_by_role("combobox", name="Selection")).to_have_value("first · round 2 · 4 chosen")
    expect(page.get_by_text("Edit history (1)")).to_be_visible()  # the one edit of four that counts
    page.goto("/compare")
    settled(page)
    expect(page.get_by_text("Only in A (1)")).to_be_visible()  # five rows, with the pinned one, against four
    expect(page.get_by_text("Only in B (0)")).to_be_visible()
    expect(page.get_by_role("img", name="Map of 12 rows")).to_be_visible()
    assert "selection=s2" in page.url


def test_two_visitors_see_each_others_edits_and_lose_none(page: Page, somebody_else: Page, settled: Settled) -> None:
    for visitor in (page, somebody_else):
        visitor.goto("/curate?selection=s1&show=chosen")
        settled(visitor)
    before = edits_shown(page)
    tick_first_row(page, settled)
    expect(somebody_else.get_by_text("0 rows ticked")).to_be_visible()  # a choice of rows is the visitor's own
    page.keyboard.press("d")  # the row on the screen
    settled(page)
    somebody_else.reload()  # the list of chosen rows is another one now
    settled(somebody_else)
    tick_first_row(somebody_else, settled)
    somebody_else.keyboard.press("k")
    settled(somebody_else)
    for visitor in (page, somebody_else):
        visitor.reload()
        settled(visitor)
        expect(visitor.get_by_text("Edit history")).to_be_visible()
        assert edits_shown(visitor) == before + 2


def test_two_visitors_have_picks_of_their_own_and_the_edits_of_both_are_kept(
    page: Page, somebody_else: Page, settled: Settled
) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    before = edits_shown(page)
    for visitor, lines in ((page, "1, 2"), (somebody_else, "9")):
        visitor.goto("/explore?view=Map&selection=s1")
        settled(visitor)
        visitor.get_by_role("textbox", name="Pick by row number").fill(lines)
        visitor.keyboard.press("Enter")
        settled(visitor)
    expect(page.locator(".st-key-picked_rows")).to_contain_text("Rows 1, 2")
    expect(somebody_else.locator(".st-key-picked_rows")).to_contain_text("Rows 9")
    page.get_by_role("button", name="Drop Shortcut").click()
    expect(page.get_by_text(re.compile("^Dropped: "))).to_be_visible()
    somebody_else.get_by_role("button", name="Keep Shortcut").click()
    expect(somebody_else.get_by_text("Kept: row 9")).to_be_visible()
    for visitor, count in ((page, 2), (somebody_else, 1)):
        settled(visitor)
        visitor.get_by_role("link", name="Curate", exact=True).click()
        expect(visitor.get_by_text(f"From map ({count})")).to_be_visible()
        settled(visitor)
    assert edits_shown(page) == edits_shown(somebody_else) == before + 2


def test_a_text_a_tag_and_a_named_filter_outlive_the_server_and_are_undone_after_it(
    page: Page, app_server: AppServer, settled: Settled, row: str
) -> None:
    page.goto(f"/curate?selection=s1&row={row}")
    settled(page)
    reader = reader_of(page)
    reader.get_by_role("button", name="Edit text").click()
    field = reader.get_by_role("textbox", name="output")
    expect(field).to_have_value("Hund.")
    field.fill("Der Hund.")
    reader.get_by_role("button", name="Save text").click()
    expect(reader.get_by_text(re.compile("^Original · "))).to_be_visible()
    settled(page)
    expect(reader.locator("span[style*=underline]")).to_have_text("Der ")  # what was added is marked, and nothing else
    reader.get_by_text("Tag or note").click()
    reader.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("a tag has 1 to")).to_be_visible()  # a refusal is said, and the row stays open
    settled(page)
    reader.get_by_role("combobox", name="Tag").fill("german")
    page.keyboard.press("Enter")
    settled(page)
    reader.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Tagged: 1 row")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("combobox", name="Tags").click()
    page.get_by_role("option", name="german").click()
    expect(page.get_by_text("Tick all 1 rows")).to_be_visible()
    settled(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Saved").click()
    page.get_by_role("textbox", name="Save this view as").fill("my tag")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved: my tag")).to_be_visible()
    settled(page)

    app_server.stop()
    app_server.start()
    page.goto("/curate?selection=s1")
    settled(page)
    page.get_by_role("button", name="Saved (1)").click()
    page.get_by_role("button", name="my tag", exact=True).click()
    expect(page.get_by_text("Tick all 1 rows")).to_be_visible()
    settled(page)
    assert "filter_tags=german" in page.url
    page.keyboard.press("Escape")
    for key, said in (("u", "Undone: tag"), ("u", "Undone: edit text of"), ("y", "Redone: edit text of")):
        page.keyboard.press(key)
        expect(page.get_by_text(f"{said} 1 row")).to_be_visible()
        settled(page)
    page.goto(f"/curate?selection=s1&row={row}")
    settled(page)
    expect(reader.get_by_text(re.compile("^Original · "))).to_be_visible()
    expect(reader.get_by_text("german", exact=True)).to_have_count(0)


def edits_shown(page: Page) -> int:
    """The number beside the history."""
    return int(page.get_by_text("Edit history").inner_text().partition("(")[2].rstrip(")"))
