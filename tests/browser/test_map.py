"""Picking on the map with the mouse, in a real Chromium: an area replaces, Shift adds, Ctrl removes."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import AppServer
from tests.browser.worked import COLUMNS, lay_out_as_a_grid
from tests.scored import make_scored_workspace

Settled = Callable[[Page], None]
LEFT, TOP, BOTTOM, MARGIN = 8, 44, 48, 0.04  # the chart's grid, and the room around its points


def test_an_area_picks_what_is_inside_shift_adds_and_ctrl_removes(
    page: Page, app_server: AppServer, settled: Settled, external_requests: list[str]
) -> None:
    make_scored_workspace(app_server.workspace, app_server.workspace.parent / "model")
    lines = lay_out_as_a_grid(app_server.workspace)
    page.set_viewport_size({"width": 1500, "height": 950})  # below 520 px the chart has another margin
    page.goto("/explore?view=Map")
    canvas = page.locator(".st-key-map_chart canvas").first
    expect(canvas).to_be_visible(timeout=60_000)
    settled(page)
    box = canvas.bounding_box()
    assert box
    page.mouse.click(box["x"] + 25, box["y"] + 25)
    picked = page.locator(".st-key-picked_rows")
    drag(page, canvas, 0, 1)
    expect(picked).to_contain_text(f"Rows {lines[0]}, {lines[1]}")
    settled(page)
    page.keyboard.down("Shift")
    drag(page, canvas, 4, 5)
    page.keyboard.up("Shift")
    expect(picked).to_contain_text(f"Rows {lines[0]}, {lines[1]}, {lines[4]}, {lines[5]}")
    settled(page)
    page.keyboard.down("Control")
    drag(page, canvas, 0, 0)  # not inside the area drawn last, which the mouse would move
    page.keyboard.up("Control")
    expect(picked).to_contain_text(f"Rows {lines[1]}, {lines[4]}, {lines[5]}")
    settled(page)
    drag(page, canvas, 2, 3)
    expect(picked).to_contain_text(f"Rows {lines[2]}, {lines[3]}")
    settled(page)
    assert (marked(page), areas(page)) == (2, 1)
    picks_by_line_are_marked_and_cleared(page, lines, settled)
    drag(page, canvas, 2, 3)  # with the tool that was taken at the start
    expect(picked).to_contain_text(f"Rows {lines[2]}, {lines[3]}")
    settled(page)
    zoom_lasts(page, canvas, settled)
    assert external_requests == []


OPTION = """() => {
    const chart = document.querySelector(".st-key-map_chart [data-testid=stEChartsChart]");
    let fiber = chart[Object.keys(chart).find(key => key.startsWith("__reactFiber$"))];
    for (; fiber; fiber = fiber.return)
        for (let hook = fiber.memoizedState; hook?.next !== undefined; hook = hook.next)
            if (hook.memoizedState?.getOption) {
                const {legend, series} = hook.memoizedState.getOption();
                return {areas: hook.memoizedState.getModel().getComponent("brush").areas.length, legend: legend[0].data,
                        rings: series.filter(one => one.id === "picked").length};
            }
}"""


def marked(page: Page) -> int:
    """How many rows the legend of the map says are ringed."""
    option = page.evaluate(OPTION)
    (words,) = [words for words in option["legend"] if words.startswith("picked")] or ["picked (0)"]
    assert option["rings"] == (words != "picked (0)")
    return int(words.strip("picked ()"))


def areas(page: Page) -> int:
    """How many areas are drawn on the map."""
    count: int = page.evaluate(OPTION)["areas"]
    return count


def picks_by_line_are_marked_and_cleared(page: Page, lines: list[int], settled: Settled) -> None:
    """Rows picked by line are ringed like those in an area, which then goes; *Clear* leaves neither."""
    page.get_by_role("textbox", name="Pick by row number").fill(str(lines[7]))
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-picked_rows")).to_contain_text("3 rows")
    settled(page)
    assert (marked(page), areas(page)) == (3, 0)
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator(".st-key-picked_rows")).to_contain_text("No rows picked")
    settled(page)
    assert (marked(page), areas(page)) == (0, 0)


ZOOM = """() => {
    const chart = document.querySelector(".st-key-map_chart [data-testid=stEChartsChart]");
    let fiber = chart[Object.keys(chart).find(key => key.startsWith("__reactFiber$"))];
    for (; fiber; fiber = fiber.return)
        for (let hook = fiber.memoizedState; hook?.next !== undefined; hook = hook.next)
            if (hook.memoizedState?.getOption)
                return hook.memoizedState.getOption().dataZoom.map(zoom => [zoom.start, zoom.end]);
}"""


def zoom_lasts(page: Page, canvas: Locator, settled: Settled) -> None:
    """The wheel's zoom outlives other colours and an edit, and ends where another part of the map is asked for."""
    box = canvas.bounding_box()
    assert box and page.evaluate(ZOOM) == [[0, 100], [0, 100]]
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_timeout(500)  # the wheel scrolls the page until the mouse rests on the chart
    for _ in range(4):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(100)
    zoomed = page.evaluate(ZOOM)
    assert all(end - start < 90 for start, end in zoomed)
    page.get_by_role("combobox", name="Colours").click()
    page.get_by_role("option", name="Cluster").click()
    settled(page)
    page.keyboard.press("d")
    settled(page)
    page.get_by_role("combobox", name="Colours").fill("State")
    page.keyboard.press("Enter")
    settled(page)
    assert page.evaluate(ZOOM) == zoomed
    page.get_by_role("button", name="Zoom in", exact=True).click()
    settled(page)
    assert page.evaluate(ZOOM) == [[0, 100], [0, 100]]


def drag(page: Page, canvas: Locator, first: int, last: int) -> None:
    """Draws a box around two neighbouring points of the grid, which has 4 columns and 4 rows."""
    box = canvas.bounding_box()
    assert box

    def at(point: int) -> tuple[float, float]:
        across, up = ((part + 3 * MARGIN) / (3 * (1 + 2 * MARGIN)) for part in (point % COLUMNS, point // COLUMNS))
        width, height = box["width"] - 2 * LEFT, box["height"] - TOP - BOTTOM
        return box["x"] + LEFT + across * width, box["y"] + TOP + (1 - up) * height

    (x0, y0), (x1, y1) = at(first), at(last)
    page.mouse.move(x0 - 15, y0 - 15)
    page.mouse.down()
    page.mouse.move(x1 + 15, y1 + 15, steps=8)
    page.mouse.up()
