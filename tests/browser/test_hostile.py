"""Hostile rows, names, tags and notes on every page, in a real Chromium: shown, and never obeyed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from delift_core.data.loading import load_file
from tests.browser.conftest import reader_of
from tests.browser.hostile_rows import EVIL, make_hostile_workspace

Settled = Callable[[Page], None]
Visit = Callable[[Page, str], None]
# What must not be in the page: anything that leads to the attacker or runs what he wrote. Text of his is no element.
LEADS_OUT = """evil => {
    const found = [];
    for (const element of document.querySelectorAll('*')) {
        for (const attribute of element.attributes) {
            const value = attribute.value.toLowerCase();
            const leads = ['src', 'href', 'srcset', 'action', 'data', 'poster', 'xlink:href', 'style'];
            if (attribute.name.startsWith('on')) found.push(element.outerHTML.slice(0, 200));
            else if (leads.includes(attribute.name) && (value.includes(evil) || value.startsWith('javascript:')))
                found.push(element.outerHTML.slice(0, 200));
        }
    }
    for (const script of document.querySelectorAll('script')) {
        if (script.textContent.includes('alert(')) found.push(script.outerHTML.slice(0, 200));
    }
    return found;
}"""
NOT_TOO_WIDE = "() => document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture(scope="module")
def server_workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace full of hostile rows, made before the server opens it."""
    folder = tmp_path_factory.mktemp("hostile") / "workspace"
    make_hostile_workspace(folder)
    yield folder


@pytest.fixture
def dialogs(page: Page) -> list[str]:
    """What the browser was made to ask or say."""
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return said


def harmless(page: Page, name: str) -> None:
    """Fails where the page holds an element of the attacker's, an error of ours, or is wider than the window."""
    assert page.evaluate(LEADS_OUT, EVIL) == [], name
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, name
    assert page.title().endswith("DELIFT Studio"), name


def harmless_at_both_widths(page: Page, name: str) -> None:
    """As `harmless`, on a wide screen and on a phone's, without asking the server again."""
    for width in (400, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(NOT_TOO_WIDE, timeout=10_000)  # charts and tables take their new width after a moment
        harmless(page, f"{name}, {width} px")


def open_what_opens(page: Page, name: str, settled: Settled) -> None:
    """Everything that is folded away: expanders stay open, popovers are looked at and closed."""
    closed = page.locator("[data-testid=stExpander] details:not([open]) > summary").filter(visible=True)
    for _ in range(closed.count()):
        closed.first.click()
        page.wait_for_timeout(100)  # it opens, and then is none of them any more
    settled(page)
    for place in page.locator("[data-testid=stPopover] button:enabled").filter(visible=True).all():
        place.click()
        harmless(page, f"{name}, {place.inner_text()}")
        page.keyboard.press("Escape")


@pytest.mark.parametrize(
    "names",
    [("", "data", "score", "select"), ("explore", "curate", "compare"), ("evaluate", "export", "health")],
    ids="-".join,
)
def test_every_page_shows_hostile_rows_as_text(
    page: Page,
    settled: Settled,
    visit: Visit,
    external_requests: list[str],
    dialogs: list[str],
    names: tuple[str, ...],
) -> None:
    for name in names:
        visit(page, f"/{name}?run=r1&selection=s1")
        harmless_at_both_widths(page, name)
        for tab in page.get_by_role("tab").all():
            tab.click()
            settled(page)
            harmless(page, f"{name}, {tab.inner_text()}")
        open_what_opens(page, name, settled)
        harmless_at_both_widths(page, f"{name}, opened")
    assert dialogs == [] and external_requests == []


def test_what_the_pages_show_of_it(page: Page, visit: Visit) -> None:
    """The pages are about the hostile workspace: a report, two selections side by side, a written file."""
    for name, words in (
        ("evaluate", "Fine-tuned on the subset"),
        ("compare", "Only in"),
        ("export", "Publish"),
    ):
        visit(page, f"/{name}?run=r1&selection=s1")
        expect(page.get_by_text(words).first).to_be_visible()


@pytest.mark.parametrize(("tab", "frames"), [("Rows", 2), ("Skipped", 3)])
def test_a_row_of_data_read_in_full_is_text(
    page: Page, settled: Settled, external_requests: list[str], dialogs: list[str], tab: str, frames: int
) -> None:
    page.goto("/data?run=r1&selection=s1")
    settled(page)
    page.get_by_role("tab", name=tab).click()
    settled(page)
    tables = page.get_by_test_id("stDataFrame").filter(visible=True)
    assert tables.count() == frames, tables.count()
    box = tables.last.bounding_box()
    assert box
    page.mouse.click(box["x"] + 18, box["y"] + 54)  # the mark at the left of its first row
    expect(page.get_by_role("dialog")).to_be_visible()
    settled(page)
    harmless_at_both_widths(page, tab)
    assert dialogs == [] and external_requests == []


def test_rows_read_in_full_are_text(
    page: Page, visit: Visit, external_requests: list[str], dialogs: list[str], server_workspace: Path
) -> None:
    (pool,) = server_workspace.parent.glob("*hostile.jsonl")
    for name in [sample.id for sample in load_file(pool).samples][::6]:
        visit(page, f"/curate?run=r1&selection=s1&row={name}")
        expect(reader_of(page)).to_be_visible()
        harmless(page, name)
    assert dialogs == [] and external_requests == []


def test_hovering_hostile_points_runs_nothing(
    page: Page, settled: Settled, external_requests: list[str], dialogs: list[str]
) -> None:
    page.goto("/explore?run=r1&selection=s1")
    settled(page)
    for plot in page.locator(".js-plotly-plot").all():
        box = plot.bounding_box()
        if box is None:
            continue
        for step in range(1, 10):
            page.mouse.move(box["x"] + box["width"] * step / 10, box["y"] + box["height"] * step / 10)
            harmless(page, "explore")
    assert dialogs == [] and external_requests == []
