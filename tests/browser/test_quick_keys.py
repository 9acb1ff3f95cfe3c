"""Reading rows by the keyboard in a real Chromium: keys in quick succession, similar rows, the tick in the list."""

import os
import re
import signal
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from benchmarks.large_workspace import build, select
from benchmarks.workbench import PRESS
from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.workspace import Workspace
from tests.browser.conftest import AppServer, open_first_row, reader_of

Settled = Callable[[Page], None]
ROWS, BURST = 200, 30
NEXT_ROW_MS = 150


@pytest.fixture(scope="module", autouse=True)
def order(app_server: AppServer) -> list[int]:
    """Fills the workspace before the first visitor makes the server open it; lines of the rows in pick order."""
    run = build(app_server.workspace, ROWS)
    select(app_server.workspace, run.id)
    return lines(app_server, lambda curated: curated.record.selection.greedy.order)


def lines(app_server: AppServer, positions: Callable[[CuratedSelection], np.ndarray]) -> list[int]:
    """The lines of some rows of the selection on disk; the server has closed the file by then, or not opened it yet."""
    with Workspace.open(app_server.workspace) as workspace:
        curated = open_selection(workspace, "s1")
        return [curated.samples[position].line for position in positions(curated)]


def test_a_burst_of_keys_is_carried_out_in_order_each_for_the_row_on_the_screen(
    page: Page, app_server: AppServer, settled: Settled, order: list[int]
) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    keys = ("k", "d", "n")
    for press in range(BURST):
        assert line_of(reader_of(page)) == order[press]  # also slows the burst down, so that runs overlap
        page.keyboard.press(keys[press % 3])
    assert line_of(reader_of(page)) == order[BURST]
    settled(page)
    assert line_of(reader_of(page)) == order[BURST]
    expect(page.get_by_text(f"{BURST + 1} of {ROWS} read")).to_be_visible()
    expect(page.get_by_text(f"Edit history ({BURST * 2 // 3})")).to_be_visible()
    page.keyboard.press("u")
    settled(page)
    assert line_of(reader_of(page)) == order[BURST - 2]  # the last row that was decided
    page.keyboard.press("y")
    settled(page)
    app_server.stop()
    kept, dropped = (
        lines(app_server, lambda curated, name=name: getattr(curated.subset, name)) for name in ("pinned", "banned")
    )
    app_server.start()
    assert (sorted(kept), sorted(dropped)) == (sorted(order[:BURST:3]), sorted(order[1:BURST:3]))


def test_a_click_elsewhere_comes_after_the_keys_before_it(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1&show=dropped")
    settled(page)
    for _ in range(3):
        page.keyboard.press("d")
    page.get_by_role("link", name="Export", exact=True).click()
    expect(page.get_by_role("heading", name="Export")).to_be_visible()
    settled(page)
    page.get_by_role("link", name="Curate", exact=True).click()
    expect(page.get_by_text(f"Edit history ({BURST * 2 // 3 + 3})")).to_be_visible()


def test_the_next_row_is_there_at_once(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    for press in ("n", "d", "p", "k"):
        assert page.evaluate(PRESS, press) < NEXT_ROW_MS
    settled(page)


def test_rows_are_turned_back_as_fast_as_they_were_turned_over(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    first = line_of(reader_of(page))
    for press in [*"n" * BURST, *"p" * BURST]:
        page.keyboard.press(press)
    settled(page)
    assert line_of(reader_of(page)) == first


def test_steps_that_are_asked_for_before_their_rows_arrive_are_all_made(
    page: Page, settled: Settled, app_server: AppServer
) -> None:
    """The browser holds a few of the rows behind the one that is read; the server sends the others when it can."""
    page.goto("/curate?selection=s1")
    settled(page)
    first = line_of(reader_of(page))
    for press in "n" * BURST:
        page.keyboard.press(press)
    settled(page)
    assert app_server.process is not None
    os.kill(app_server.process.pid, signal.SIGSTOP)
    try:
        for press in "p" * BURST:
            page.keyboard.press(press)
        assert line_of(reader_of(page)) != first
    finally:
        os.kill(app_server.process.pid, signal.SIGCONT)
    settled(page)
    page.wait_for_function(f"document.querySelector('.st-key-reading').textContent.includes('Row {first}')")
    assert line_of(reader_of(page)) == first


def test_the_ticked_row_follows_the_row_that_is_read(page: Page, settled: Settled, order: list[int]) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    reader = open_first_row(page, settled)
    assert line_of(reader) == order[0]
    for _ in range(3):
        page.keyboard.press("n")
    settled(page)
    expect(page.get_by_text("1 row ticked")).to_be_visible()
    page.get_by_test_id("stBottom").get_by_role("button", name="Reset").click()
    expect(page.get_by_text("Reset: 1 row")).to_be_visible()
    settled(page)
    assert line_of(reader) == order[3]


def test_a_chosen_row_that_is_kept_says_that_it_is_pinned(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1&show=chosen")
    settled(page)
    reader = reader_of(page)
    page.keyboard.press("n")
    first = line_of(reader)
    page.keyboard.press("k")
    expect(reader.get_by_role("status")).to_have_text(re.compile(rf"^Kept: row {first}, pinned: it was chosen already"))
    page.keyboard.press("p")
    expect(reader.get_by_text("Kept by hand", exact=True)).to_be_visible()
    settled(page)
    expect(reader.get_by_text("Kept by hand", exact=True)).to_be_visible()


def test_a_question_mark_lists_the_keys(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    for visible in (True, False):
        page.keyboard.press("?")
        expect(reader_of(page).get_by_text("Keep the row and go on")).to_be_visible(visible=visible)


def test_a_row_that_a_reason_names_opens_at_a_click(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1&show=dropped")
    settled(page)
    reader = reader_of(page)
    for _ in range(BURST):
        if reader.get_by_text("Does the same job as:").count():
            break
        page.keyboard.press("n")  # a row that was dropped by hand is one that the optimiser chose
        settled(page)
    named = reader.get_by_label("Why").get_by_role("button").first
    prompt = named.inner_text().strip("“”…")
    named.click()
    expect(reader.locator(".turn").first).to_contain_text(prompt)
    settled(page)
    expect(reader.locator(".turn").first).to_contain_text(prompt)
    assert "row=" in page.url
    reader.get_by_text("Numbers", exact=True).click()
    expect(reader.get_by_text("to the coverage")).to_be_visible()


def test_similar_rows_are_listed_first(page: Page, settled: Settled) -> None:
    page.goto("/curate?selection=s1")
    settled(page)
    first = line_of(reader_of(page))
    reader_of(page).get_by_role("button", name="Similar rows").click()
    expect(page.get_by_text(f"Most similar to row {first} first")).to_be_visible()
    settled(page)
    assert "similar=" in page.url and line_of(reader_of(page)) == first


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


def line_of(reader: Locator) -> int:
    """The line of the row that the reader shows."""
    return int(reader.get_by_role("heading", level=2).inner_text().removeprefix("Row "))
