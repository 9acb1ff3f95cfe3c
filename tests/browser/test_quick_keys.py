"""Reading rows by the keyboard in a real Chromium: keys in quick succession, similar rows, the tick in the list."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from delift_core.curation.curate import open_selection
from delift_core.workspace import Workspace
from tests.browser.conftest import AppServer, open_first_row
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]
BETWEEN_MS = 120


@pytest.fixture(scope="module", autouse=True)
def order(app_server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Fills the workspace before the first visitor makes the server open it; lines of the rows in pick order."""
    make_scored_workspace(app_server.workspace, tmp_path_factory.mktemp("model") / "model")
    with Workspace.open(app_server.workspace) as workspace:
        curated = open_selection(workspace, "s1")
        return [curated.samples[position].line for position in curated.record.selection.greedy.order]


def test_no_key_is_lost_and_each_means_the_row_on_the_screen(page: Page, settled: Settled, order: list[int]) -> None:
    drawer = open_first(page, settled)
    for _ in range(5):
        page.keyboard.press("n")
        page.wait_for_timeout(BETWEEN_MS)
    settled(page)
    assert line_of(drawer) == order[5]
    page.keyboard.press("n")
    page.wait_for_timeout(BETWEEN_MS)
    seen = line_of(drawer)
    page.keyboard.press("d")
    expect(page.get_by_text(re.compile(rf"Dropped: row {seen}\b"))).to_be_visible()
    settled(page)
    assert line_of(drawer) == order[6]
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    settled(page)
    page.reload()
    settled(page)
    page.get_by_text("Edited (1)").click()
    settled(page)
    assert drawer_of_only_row(page, settled) == seen


def test_the_ticked_row_follows_the_row_that_was_read(page: Page, settled: Settled, order: list[int]) -> None:
    drawer = open_first(page, settled)
    for _ in range(3):
        page.keyboard.press("n")
    settled(page)
    assert line_of(drawer) == order[3]
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(page.get_by_text("1 row ticked")).to_be_visible()
    settled(page)
    page.keyboard.press("k")
    expect(page.get_by_text(re.compile(rf"Kept: row {order[3]}\b"))).to_be_visible()


def test_similar_rows_are_listed_first(page: Page, settled: Settled, order: list[int]) -> None:
    drawer = open_first(page, settled)
    drawer.get_by_role("button", name="Similar rows").click()
    expect(drawer).to_have_count(0)
    expect(page.get_by_text(f"Most similar to row {order[0]} first")).to_be_visible()
    settled(page)
    assert "similar=" in page.url and "row=" not in page.url


@pytest.mark.parametrize(
    ("address", "table", "control"),
    [("/data", 1, "Filter"), ("/curate?selection=s1", 0, "Filter")],
)
def test_a_tables_toolbar_lies_on_nothing_that_is_pressed(
    page: Page, settled: Settled, address: str, table: int, control: str
) -> None:
    page.goto(address)
    settled(page)
    page.locator(".dvn-scroller").nth(table).click(position={"x": 15, "y": 33 + 16})
    settled(page)
    page.keyboard.press("Escape")
    settled(page)
    page.locator(".dvn-scroller").nth(table).hover()
    free_of_toolbars(page, page.get_by_role("button", name=control, exact=False).first)


def test_the_toolbar_of_quotas_leaves_the_list_of_groups_free(page: Page, settled: Settled) -> None:
    page.goto("/select?quotas_shown=true")
    settled(page)
    groups = page.get_by_role("combobox", name="Group by")
    groups.click()
    page.get_by_role("option", name="Cluster").click()
    settled(page)
    page.get_by_test_id("stDataFrame").filter(has=page.get_by_label(re.compile("quotas"))).hover()
    free_of_toolbars(page, groups)


def free_of_toolbars(page: Page, control: Locator) -> None:
    """The whole height of a control belongs to it, the right half too."""
    page.wait_for_timeout(400)  # a toolbar fades in
    box = control.bounding_box()
    assert box
    for across in (0.5, 0.9):
        for down in (0.1, 0.5, 0.9):
            at = [box["x"] + across * box["width"], box["y"] + down * box["height"]]
            on_top = "([x, y]) => !!document.elementFromPoint(x, y)?.closest('[data-testid=stElementToolbar]')"
            assert not page.evaluate(on_top, at), (across, down)


def open_first(page: Page, settled: Settled) -> Locator:
    """Opens the first row of the table by its key."""
    page.goto("/curate?selection=s1")
    settled(page)
    drawer = open_first_row(page, settled)
    expect(drawer.get_by_text("This row", exact=True)).to_be_visible()
    settled(page)
    return drawer


def drawer_of_only_row(page: Page, settled: Settled) -> int:
    page.locator(".dvn-scroller").first.click(position={"x": 15, "y": 33 + 16})
    settled(page)
    page.keyboard.press("o")
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("This row", exact=True)).to_be_visible()
    return line_of(drawer)


def line_of(drawer: Locator) -> int:
    """The line of the row that the drawer shows."""
    named = re.search(r"This row · row (\d+)", drawer.inner_text())
    assert named
    return int(named.group(1))
