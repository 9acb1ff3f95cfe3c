"""Every page for people who do not see well or use no mouse: names, contrast and order by axe-core, and the Tab key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.worked import Worked

Settled = Callable[[Page], None]
Visit = Callable[[Page, str], None]
VIEWS = (
    "",
    "data",
    "score",
    "select",
    "explore",
    "explore?view=Map",
    "curate",
    "curate?row={row}",
    "compare",
    "evaluate",
    "export",
    "health",
)
# What Streamlit itself draws and no page can change.
NOT_OURS = {
    "presentation-role-conflict": "the file uploader's drop zone: its button beside it has the name and the Tab stop",
    "empty-table-header": "the corner of a table over the names of its rows",
}
# The text of a chosen segment and of a slider's thumb has the primary colour, that of a primary button is always white:
# in the dark no colour has 4.5 to 1 for both. White has it; the primary colour keeps the 3 to 1 asked of controls, and
# the chosen segment is told by its border and fill as well.
IN_PRIMARY = "rgb(26, 131, 138)"
LEAST_IN_PRIMARY = 3.0
MOST_STOPS = 150
# The Tab key starts at the top of the page, and has reached nothing.
FROM_THE_TOP = """() => {
    document.querySelectorAll('[data-reached]').forEach(element => delete element.dataset.reached);
    const first = document.createElement('button');
    document.body.prepend(first);
    first.focus();
    first.remove();
}"""
# Marks what the Tab key has reached; a group such as radio buttons is one stop, whose members the arrow keys reach.
REACHED = """() => {
    const at = document.activeElement;
    if (!at || at === document.body || at.dataset.reached) return false;
    at.dataset.reached = "yes";
    return true;
}"""
PASSED_OVER = """() => {
    const controls = 'a[href], button, input, select, textarea, [role=slider], [role=tab], [role=grid], [role=radio]';
    const groups = '[role=radiogroup], [role=tablist], [role=grid], [role=toolbar]';
    const inside = document.querySelector('[role=dialog]') ?? document;
    const is_there = element => {
        const box = element.getBoundingClientRect(), style = getComputedStyle(element);
        return box.width > 1 && box.height > 1 && style.visibility !== 'hidden' && !element.disabled
            && !element.closest('[aria-hidden=true], [inert]') && element.type !== 'file'
            && !element.matches('[tabindex="-1"][aria-haspopup=listbox]');  // the field beside it opens the same list
    };
    const is_reached = element => element.dataset.reached || element.querySelector('[data-reached]')
        || element.closest('[data-reached]') || element.closest(groups)?.querySelector('[data-reached]');
    return [...inside.querySelectorAll(controls)].filter(e => is_there(e) && !is_reached(e))
        .map(e => e.outerHTML.slice(0, 250));
}"""


@pytest.fixture(scope="module")
def server_workspace(worked: Worked) -> Path:
    """Made before the server opens it."""
    return worked.folder


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view or "home")
def test_names_order_contrast_and_keyboard(
    lasting_page: Page, settled: Settled, visit: Visit, worked: Worked, view: str
) -> None:
    lasting_page.emulate_media(color_scheme="light")
    visit(lasting_page, f"/{view.format(row=worked.row)}")
    expect(lasting_page.locator(".st-key-reading")).to_have_count(int(view.startswith("curate")))
    found = faults(lasting_page, settled)
    assert not found, "\n".join(found)


def faults(page: Page, settled: Settled) -> list[str]:
    """What is wrong with names, order and contrast in both themes, and what the Tab key passes over."""
    found = violations(page)
    page.evaluate(FROM_THE_TOP)
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if not page.evaluate(REACHED):
            break
    found += [f"not reached with the Tab key: {control}" for control in page.evaluate(PASSED_OVER)]
    page.emulate_media(color_scheme="dark")
    settled(page)
    return found + [f"in the dark: {line}" for line in violations(page)]


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, without what Streamlit alone could change."""
    report = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{rule['id']}: {node['html'][:200]} {[check['message'] for check in node['any']]}"
        for rule in report["violations"]
        if rule["id"] not in NOT_OURS
        for node in rule["nodes"]
        if not (rule["id"] == "color-contrast" and is_in_primary(page, node))
    ]


def is_in_primary(page: Page, node: dict[str, Any]) -> bool:
    """Whether a text is in the primary colour of the dark theme and has the contrast that is asked of controls."""
    colour = page.locator(node["target"][0]).evaluate("element => getComputedStyle(element).color")
    return colour == IN_PRIMARY and all(check["data"]["contrastRatio"] >= LEAST_IN_PRIMARY for check in node["any"])
