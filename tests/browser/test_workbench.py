"""The curator's workbench in a real Chromium: a reason, a pinned row, a second choice, a comparison, two visitors."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import AppServer
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]


@pytest.fixture(scope="module", autouse=True)
def scored(app_server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fills the workspace before the first visitor makes the server open it."""
    make_scored_workspace(app_server.workspace, tmp_path_factory.mktemp("model") / "model")


def test_a_dropped_row_is_read_pinned_the_rest_chosen_again_and_both_compared(page: Page, settled: Settled) -> None:
    page.goto("/curate?show=dropped")
    settled(page)
    pick_first_row(page, settled)
    page.keyboard.press("o")
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("Left out")).to_be_visible()
    expect(drawer.get_by_text("This row")).to_be_visible()
    address = page.url
    assert "row=" in address
    page.reload()  # the address carries the view, the open row included
    settled(page)
    expect(drawer.get_by_text("Left out")).to_be_visible()
    drawer.get_by_role("button", name="Keep").click()
    settled(page)
    expect(drawer.get_by_text("Pinned")).to_be_visible()  # it stays open over an edit
    for key, said in (("u", "Took back"), ("d", "Dropped"), ("u", "Took back"), ("k", "Kept")):
        page.keyboard.press(key)
        expect(page.get_by_text(f"{said}: ").first).to_be_visible()  # a message beside the drawer, not in its place
        settled(page)
        expect(drawer.get_by_text("This row", exact=True)).to_be_visible()
    expect(drawer.get_by_text("Pinned")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    settled(page)
    page.keyboard.press("a")
    expect(page.get_by_text("Chosen again around your edits")).to_be_visible()
    settled(page)
    expect(page.get_by_role("combobox", name="Selection")).to_have_value("first · round 2 · 4 rows")
    expect(
        page.get_by_text("History of edits (1)")
    ).to_be_visible()  # of four edits, the one that counts is carried over
    page.goto("/compare")
    settled(page)
    expect(page.get_by_text("Only in A (1)")).to_be_visible()  # five rows, with the pinned one, against four
    expect(page.get_by_text("Only in B (0)")).to_be_visible()
    expect(page.get_by_role("img", name="Map of 12 samples")).to_be_visible()
    assert "selection=s2" in page.url


def test_two_visitors_see_each_others_edits_and_lose_none(
    page: Page, browser: Browser, app_server: AppServer, settled: Settled
) -> None:
    other = browser.new_context(base_url=app_server.url, viewport={"width": 1280, "height": 900}).new_page()
    for visitor in (page, other):
        visitor.goto("/curate?selection=s1&show=chosen")
        settled(visitor)
    before = edits_shown(page)
    pick_first_row(page, settled)
    expect(other.get_by_text("0 rows selected")).to_be_visible()  # a choice of rows is the visitor's own
    page.keyboard.press("d")
    settled(page)
    other.reload()  # the list of chosen rows is another one now
    settled(other)
    pick_first_row(other, settled)
    other.keyboard.press("k")
    settled(other)
    for visitor in (page, other):
        visitor.reload()
        settled(visitor)
        expect(visitor.get_by_text("History of edits")).to_be_visible()
        assert edits_shown(visitor) == before + 2
    other.context.close()


def pick_first_row(page: Page, settled: Settled) -> None:
    """Ticks the first row of the table, which is drawn on a canvas, and waits until the buttons know."""
    page.locator(".dvn-scroller").first.click(position={"x": 15, "y": 33 + 16})
    expect(page.get_by_text("1 row selected")).to_be_visible()
    settled(page)


def edits_shown(page: Page) -> int:
    """The number beside the history."""
    return int(page.get_by_text("History of edits").inner_text().partition("(")[2].rstrip(")"))
