"""How long the curator's pages take with 100,000 rows and a sparse matrix, in a real Chromium.

    python -m benchmarks.workbench [--rows 100000] [--folder FOLDER]
    python -m benchmarks.workbench --rows 10000 --views export

A workspace is made without a model (see `large_workspace`), with its utilities put together, its map laid out, a
selection of 10 % (s2) and one of all rows (s3), as a finished run and visits to Select and to the map leave them.

"First view": a new server has shown the same page for another run, of 200 rows, so that libraries are loaded and no
page of the large run was drawn; then the time from the address to the end of the page's script and the first table or
chart on the screen. Every other time is from the visitor's click or key to the end of the script in the browser (of an
area on the map: until the panel lists the rows), median and slowest of some.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Page

from benchmarks.large_workspace import build, keep_layout, select
from benchmarks.machine import machine
from benchmarks.served import answer_seconds, served, visitor, watch

SMALL_ROWS = 200
ROUNDS = 5
READ, PAUSE_MS = 50, 300
FIRST_ROW = {"x": 60, "y": 33 + 16}
# Presses a key; milliseconds until the frame in which another row is on the screen.
PRESS = """key => new Promise(done => {
    const title = () => document.querySelector(".reader h2").textContent, before = title(), began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const look = () => title() !== before ? done(performance.now() - began) : requestAnimationFrame(look);
    requestAnimationFrame(look);
})"""
TABLE = '[data-testid="stDataFrame"] canvas'
MAP = ".st-key-map_chart canvas"
_LEFT, _RIGHT, _TOP, _BOTTOM, _MARGIN = 8, 8, 44, 48, 0.04  # of the map's grid, and the room around its points


def note(what: str, figure: str) -> None:
    """Prints a row of the table."""
    print(f"| {what} | {figure} |", flush=True)


def first_view(page: Page, address: str, drawn: str) -> float:
    """Seconds from the address to a page that has drawn something and whose script has run to its end."""
    began = time.monotonic()
    page.goto(address)
    page.locator(drawn).first.wait_for(timeout=120_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
    seconds = time.monotonic() - began
    watch(page)
    return seconds


@contextmanager
def opened(workspace: Path, log: Path, view: str, drawn: str, selection: str = "s2") -> Iterator[Page]:
    """A new server with a page at its first view of the large run; notes the time and the memory."""
    path, _, query = view.partition("?")
    with served(workspace, log) as (address, process), visitor(f"{address}/{path}?run=r1&selection=s1&{query}") as page:
        page.locator(drawn).first.wait_for(timeout=120_000)
        seconds = first_view(page, f"{address}/{path}?run=r2&selection={selection}&{query}", drawn)
        note(f"{view.replace('?view=', ', ').capitalize() or 'Home'}: first view", f"{seconds:.2f} s")
        yield page
        memory = psutil.Process(process.pid).memory_info().rss / (1 << 30)
        note("memory of the server after this", f"{memory:.2f} GiB")


def timed(page: Page, what: str, acts: Iterable[Callable[[], object]]) -> None:
    """Notes the answer times of some actions of one kind."""
    seconds = [answer_seconds(page, act) for act in acts]
    note(what, f"{statistics.median(seconds):.2f} s (slowest of {len(seconds)}: {max(seconds):.2f} s)")


def curate(page: Page) -> None:
    """Times status, filter, paging, search and sorting on Curate, and reading rows."""
    pills = page.locator(".st-key-curate_show")
    states = ["Not in subset", "In subset", "All", "Not in subset", "All"]
    timed(page, "state", [lambda s=s: pills.get_by_text(re.compile(f"^{s} ")).first.click() for s in states])  # type: ignore[misc]
    pages = page.get_by_test_id("stPagination")
    turns = [lambda n=n: pages.get_by_text(str(n), exact=True).first.click() for n in (2, 3, 2, 3, 2)]  # type: ignore[misc]
    timed(page, "page turn", turns)
    page.get_by_role("button", name="Filter", exact=False).first.click()
    wanted = page.get_by_role("combobox", name="category").first
    wanted.wait_for()
    timed(page, "filter", _choices(page))
    timed(page, "filter taken back", [lambda: _clear(page)])
    page.keyboard.press("Escape")
    field = page.get_by_role("searchbox").or_(page.get_by_placeholder("Search the texts")).first
    words = ("garden and the river", "question 4711", "zebra of a willow", "winter", "")
    timed(page, "search", [lambda w=w: _search(field, w) for w in words])  # type: ignore[misc]
    reading(page)


def _choices(page: Page) -> Iterator[Callable[[], object]]:
    """Yields actions that choose one category after the other in the filter's list."""
    field = page.get_by_role("combobox", name="category").first
    for number in range(1, 4):
        field.click()
        field.fill(f"category {number}")
        option = page.get_by_role("option", name=f"category {number}").first
        option.wait_for()
        yield option.click


def _clear(page: Page) -> None:
    page.get_by_test_id("stMultiSelect").filter(has_text="category").get_by_role("button", name="Clear all").click()


def _search(field: object, words: str) -> None:
    field.fill(words)  # type: ignore[attr-defined]
    field.press("Enter")  # type: ignore[attr-defined]


def reading(page: Page) -> None:
    """Times reading rows by the keyboard: until the next row is on the screen, and until the list has followed."""
    page.wait_for_timeout(1_000)
    page.locator(".reader h2").wait_for()
    timed(page, "a row opened by a click", [lambda: page.locator(".dvn-scroller").first.click(position=FIRST_ROW)])
    for what, key in (("next row", "n"), ("previous row", "p"), ("dropped, and the next row", "d")):
        waits = [page.evaluate(PRESS, key) for _ in range(ROUNDS)]
        note(f"{what}, on the screen", f"{statistics.median(waits):.0f} ms (slowest of {ROUNDS}: {max(waits):.0f} ms)")
        page.wait_for_timeout(3_000)
    timed(page, "undone, to the end of the run", [lambda: page.keyboard.press("u")] * 2)
    waits = []
    for _ in range(READ):
        waits.append(page.evaluate(PRESS, "k"))
        page.wait_for_timeout(PAUSE_MS)
    mean, slowest = statistics.mean(waits), max(waits)
    note(
        f"{READ} rows read, one kept every {PAUSE_MS} ms", f"{mean:.0f} ms of waiting a row (slowest: {slowest:.0f} ms)"
    )


def area(page: Page, tool: int, wanted: int, rows: int) -> tuple[float, int]:
    """Seconds from the end of a drag on the map until the panel lists the rows inside, and how many these are.

    Args:
        tool: 0 is the box, 1 the lasso, which is drawn as a lozenge.
    """
    canvas = page.locator(MAP).first
    box = canvas.bounding_box()
    assert box
    page.mouse.click(box["x"] + 25 + 29.5 * tool, box["y"] + 25)
    share = (wanted / rows * (2 if tool else 1)) ** 0.5 / (1 + 2 * _MARGIN) / 2
    half_width = (box["width"] - _LEFT - _RIGHT) * share
    half_height = (box["height"] - _TOP - _BOTTOM) * share
    x, y = box["x"] + box["width"] / 2, box["y"] + _TOP + (box["height"] - _TOP - _BOTTOM) / 2
    corners = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, 0)] if tool else [(-1, -1), (1, 1)]
    path = [(x + across * half_width, y + down * half_height) for across, down in corners]
    picked = page.locator(".st-key-picked_rows")
    before = picked.inner_text()
    page.mouse.move(*path[0])
    page.mouse.down()
    for place in path[1:]:
        page.mouse.move(*place, steps=4)
    began = time.monotonic()
    page.mouse.up()
    changed = "before => document.querySelector('.st-key-picked_rows')?.innerText !== before"
    page.wait_for_function(changed, arg=before, timeout=120_000)
    picked.get_by_text(re.compile(r"^[\d,]+ rows")).wait_for(timeout=120_000)
    picked.locator("canvas").first.wait_for(timeout=120_000)
    seconds = time.monotonic() - began
    found = re.search(r"([\d,]+) rows", picked.inner_text())
    page.wait_for_timeout(2_000)
    return seconds, int(found.group(1).replace(",", "")) if found else 0


def explore_map(page: Page, rows: int) -> None:
    """Times a box and a lasso of 5 % of the points, and a change of colours."""
    for tool, name in enumerate(("box", "lasso")):
        seconds, found = area(page, tool, rows // 20, rows)
        note(f"a {name} around {found:,} points, to the table", f"{seconds:.2f} s")
    page.get_by_role("combobox", name="Colours").click()
    timed(page, "other colours", [lambda: page.get_by_role("option", name="Source").first.click()])
    page.locator(".st-key-picked_rows").get_by_text(
        re.compile(r"^[\d,]+ rows")
    ).click()  # out of the field, for the keys
    timed(page, "picked rows dropped", [lambda: page.keyboard.press("d")])
    timed(page, "and undone", [lambda: page.keyboard.press("u")])


def explore_matrix(page: Page) -> None:
    """Times another order of the rows."""
    page.get_by_role("button", name="Order").first.click()
    orders = ("Most helped first", "File order", "Sorted by similarity")
    timed(page, "other order", [lambda name=name: page.get_by_text(name).first.click() for name in orders])  # type: ignore[misc]


def home(page: Page) -> None:
    """Times the way from Home to Curate and on, with nothing of the large run drawn before."""
    for name in ("Curate", "Select", "Export"):
        link = page.get_by_test_id("stSidebarNavLink").filter(has_text=name)
        timed(page, f"Home, then {name}", [link.click])


def export(page: Page) -> None:
    """Times the choices of Export for the file of every row, the file itself, and the page after an edit."""
    kinds = [page.get_by_role("radio", name=name) for name in ("CSV", "JSONL", "CSV", "JSONL")]
    timed(page, "other file type", [kind.click for kind in kinds])
    for name, times in (("Messages", 1), ("ShareGPT", 1), ("Messages", 1)):
        page.get_by_role("combobox", name="Format").click()
        timed(page, f"format {name}", [page.get_by_role("option", name=name).first.click] * times)
    field = page.get_by_role("spinbutton", name="Max length")
    timed(page, "max length", [lambda n=n: _search(field, n) for n in ("512", "1024")])  # type: ignore[misc]
    timed(page, "file written", [page.get_by_role("button", name="Export", exact=True).click])
    timed(page, "other file type, beside the written file", [kinds[0].click, kinds[1].click])
    for name in ("Curate", "Export"):
        link = page.get_by_test_id("stSidebarNavLink").filter(has_text=name)
        timed(page, f"to {name}", [link.click])
        if name == "Curate":
            page.locator(".dvn-scroller").first.click(position={"x": 15, "y": 33 + 16})
            page.get_by_text("1 row ticked").wait_for()
            page.wait_for_timeout(1_000)
            timed(page, "row dropped", [lambda: page.keyboard.press("d")])


VIEWS: dict[str, tuple[str, str, Callable[[Page, int], None]]] = {
    "home": ("", TABLE, lambda page, rows: home(page)),
    "curate": ("curate", TABLE, lambda page, rows: curate(page)),
    "matrix": ("explore?view=Matrix", ".js-plotly-plot", lambda page, rows: explore_matrix(page)),
    "map": ("explore?view=Map", MAP, explore_map),
    "export": ("export", TABLE, lambda page, rows: export(page)),
}
"""What each visit opens, what must be drawn there, and what is then timed."""


def measure(workspace: Path, log: Path, rows: int, views: Iterable[str]) -> None:
    """Prints the measurements of some visits."""
    for name in views:
        view, drawn, walk = VIEWS[name]
        with opened(workspace, log, view, drawn, "s3" if name == "export" else "s2") as page:
            walk(page, rows)


def make(folder: Path, rows: int) -> None:
    """A workspace with a small run r1 and a large run r2, selections s1 and s2, s3 of all rows, and maps."""
    for count in (SMALL_ROWS, rows):
        run = build(folder, count)
        select(folder, run.id)
        if count == rows:
            select(folder, run.id, percent=100)
        keep_layout(folder, run.id)


def main() -> None:
    """Prints a table of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the workspace there, or take the one that is there")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=["home", "curate", "matrix", "map"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "workspace"
        if not (folder / "delift.duckdb").exists():
            make(folder, options.rows)
        print(f"Machine: {machine()}\n\n| {options.rows:,} rows | |\n| --- | --- |")
        measure(folder, Path(name) / "server.log", options.rows, options.views)


if __name__ == "__main__":
    main()
