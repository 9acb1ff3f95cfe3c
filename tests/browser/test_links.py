"""A view is a link: what was set on a page is there again where its address is opened by somebody else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.worked import Worked

Settled = Callable[[Page], None]
Visit = Callable[[Page, str], None]
# What can be set on a page, and what it says of it: fields, chosen buttons and tabs, headings, labels, an open row.
STATE = """() => {
    const seen = element => element.offsetParent !== null || element.getClientRects().length > 0;
    const words = element => element.textContent.trim().replace(/\\s+/g, ' ');
    const all = selector => [...document.querySelectorAll(selector)].filter(seen);
    return [
        ...all('input:not([type=file])').map(field => `${field.getAttribute('aria-label')}: ${field.value}`),
        ...all('[data-selected=true], [aria-selected=true], [aria-checked=true]').map(words),
        ...all('h1, h2, h3, label, [role=dialog]').map(words),
    ];
}"""


@pytest.fixture(scope="module")
def server_workspace(worked: Worked) -> Path:
    """Made before the server opens it."""
    return worked.folder


def data(page: Page) -> None:
    """The second data set, and its health."""
    page.locator(".dvn-scroller").first.click(position={"x": 15, "y": 33 + 16 + 33})
    expect(page.get_by_role("heading", name=re.compile("^Target"))).to_be_visible()
    page.get_by_role("tab", name="Health").click()


def select(page: Page) -> None:
    """Another stage, another unit, another number."""
    page.get_by_role("radio", name="Continual").click()
    page.get_by_role("radio", name="rows").click()


def explore(page: Page) -> None:
    """Another order, another pair, another use of the mouse."""
    page.get_by_role("spinbutton", name="Helped").fill("3")
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="Zoom to a box").click()


def explore_map(page: Page) -> None:
    """The map, by other colours, adding to what is picked."""
    page.get_by_role("radio", name="Map").click()
    page.get_by_role("combobox", name="Colours").click()
    page.get_by_role("option", name="Cluster").click()
    page.get_by_role("radio", name="Add").click()


def curate(page: Page) -> None:
    """Another selection, rows left out that hold a word, in file order."""
    page.get_by_role("combobox", name="Selection").click()
    page.get_by_role("option", name=re.compile("^first")).click()
    page.get_by_role("radio", name=re.compile("^Not in subset")).click()
    page.get_by_role("searchbox", name="Search").fill("capital")
    page.keyboard.press("Enter")


def compare(page: Page) -> None:
    """The first selection against itself, by another facet."""
    page.get_by_role("combobox", name="Selection B").click()
    page.get_by_role("option", name="first · s1").click()
    page.get_by_role("radiogroup", name="Facet").get_by_role("radio").nth(1).click()


def evaluate(page: Page) -> None:
    """One more seed."""
    page.get_by_role("slider", name="Seeds").focus()
    page.keyboard.press("ArrowRight")


def export(page: Page) -> None:
    """Another format in another kind of file."""
    page.get_by_role("combobox", name="Format").click()
    page.get_by_role("option", name="ShareGPT").click()
    page.get_by_role("radio", name="Parquet").click()


@pytest.mark.parametrize("change", [data, select, explore, explore_map, curate, compare, evaluate, export])
def test_what_was_set_is_there_where_the_address_is_opened(
    lasting_page: Page, somebody_else: Page, settled: Settled, visit: Visit, change: Callable[[Page], None]
) -> None:
    visit(lasting_page, f"/{change.__name__.split('_')[0]}")
    usual = lasting_page.evaluate(STATE)
    change(lasting_page)
    settled(lasting_page)
    lasting_page.mouse.move(0, 0)
    wanted = lasting_page.evaluate(STATE)
    assert wanted != usual
    somebody_else.goto(lasting_page.url)
    settled(somebody_else)
    assert somebody_else.evaluate(STATE) == wanted
    assert somebody_else.url == lasting_page.url


def test_what_a_link_points_at_is_kept_on_the_way_through_the_pages(lasting_page: Page, settled: Settled) -> None:
    lasting_page.goto("/?selection=s1")  # which is not the newest
    settled(lasting_page)
    for name in ("Data", "Curate", "Export"):
        lasting_page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
        settled(lasting_page)
        expect(lasting_page).to_have_url(re.compile("selection=s1"))
